//! Small files that are replaced as a whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{StorageContext, StorageError, says_no_handle, says_no_room};
use crate::names::TEMPORARY_SUFFIX;
use crate::reading_files::read_all;

/// What is read of a small file at most: a checkpoint of a million partitions stays below.
const SMALL_FILE_BYTES_MAX: u64 = 512 << 20;

/// Replaces `path` by a file with `contents`: written beside it, flushed, renamed, and the
/// directory flushed, so that after a crash the old or the new contents are there.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> Result<(), StorageError> {
    replace_in_directory(path, contents)?;
    flush_directory(parent(path))
}

/// Like [`replace`], but not durable before the caller has flushed the directory.
pub(crate) fn replace_in_directory(path: &Path, contents: &[u8]) -> Result<(), StorageError> {
    let temporary = with_suffix(path, TEMPORARY_SUFFIX);
    let made = make(&temporary, contents)
        .and_then(|()| fs::rename(&temporary, path).at("rename", &temporary));
    removed_unless_made(made, &temporary)
}

/// A file system may notice only when it flushes that there is no room (delayed allocation). That is no failed flush:
/// the file goes, and the contents are still here.
fn make(temporary: &Path, contents: &[u8]) -> Result<(), StorageError> {
    let mut file = File::create(temporary).at("create", temporary)?;
    file.write_all(contents).at("write", temporary)?;
    let flushed = file.sync_all();
    let late = flushed.as_ref().is_err_and(says_no_room);
    flushed.at(if late { "write" } else { "flush" }, temporary)
}

/// What is half written takes room that others need.
fn removed_unless_made(
    made: Result<(), StorageError>,
    temporary: &Path,
) -> Result<(), StorageError> {
    if made.is_err() {
        let _ = fs::remove_file(temporary);
    }
    made
}

/// Like [`replace`], but not durable before the caller has flushed the file and the directory.
pub(crate) fn replace_unflushed(path: &Path, contents: &[u8]) -> Result<(), StorageError> {
    let temporary = with_suffix(path, TEMPORARY_SUFFIX);
    let made = fs::write(&temporary, contents)
        .at("write", &temporary)
        .and_then(|()| fs::rename(&temporary, path).at("rename", &temporary));
    removed_unless_made(made, &temporary)
}

/// Makes the contents of a file durable.
pub(crate) fn flush_file(path: &Path) -> Result<(), StorageError> {
    open_to_flush(path)?.sync_data().at("flush", path)
}

/// Makes creations, renames and removals in `directory` durable.
pub(crate) fn flush_directory(directory: &Path) -> Result<(), StorageError> {
    open_to_flush(directory)?.sync_all().at("flush", directory)
}

/// What is not there, or not readable, was not flushed. Who has no open files left has tried nothing, and dropped nothing.
pub(crate) fn open_to_flush(path: &Path) -> Result<File, StorageError> {
    File::open(path).map_err(|source| {
        let action = match says_no_handle(&source) {
            true => "open",
            false => "flush",
        };
        let path = path.to_path_buf();
        StorageError {
            action,
            path,
            source,
        }
    })
}

/// The whole of a small file; `None` when it does not exist.
pub(crate) fn read_small(path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("open", path),
    };
    let contents = read_all(&file, SMALL_FILE_BYTES_MAX).at("read", path)?;
    Ok(Some(contents))
}

/// Removes a file; it is fine when it is gone already.
pub(crate) fn remove_if_exists(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
