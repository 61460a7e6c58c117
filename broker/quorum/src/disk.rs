//! The few steps with which files are made so that a crash leaves the old state or the new one.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Files with this ending were being made when the process ended; nobody refers to them.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Makes `directory` and its parents, each one durable in the one above it.
pub(crate) fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().unwrap_or(Path::new("/"));
    create_directory(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(parent),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    allows(Step::SyncDirectory)?;
    File::open(directory)?.sync_all()
}

/// A file that was not replaced.
#[derive(Debug)]
pub(crate) struct NotReplaced {
    pub(crate) source: io::Error,
    /// There was no room, and the old file is there as it was. Never where the new one may have its name already.
    pub(crate) is_shortage: bool,
}

impl From<io::Error> for NotReplaced {
    fn from(source: io::Error) -> Self {
        Self {
            source,
            is_shortage: false,
        }
    }
}

/// Writes a file under a temporary name, makes it durable, and gives it its name.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), NotReplaced> {
    let temporary = temporary_name(path);
    let made = make_file(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(source) = made {
        // What is half written takes room that others need.
        let _ = fs::remove_file(&temporary);
        let is_shortage = says_no_room(&source);
        return Err(NotReplaced {
            source,
            is_shortage,
        });
    }
    Ok(sync_directory(path.parent().unwrap_or(Path::new("/")))?)
}

/// Cuts off what follows `end`, where the next write goes.
pub(crate) fn cut_back(file: &mut File, end: u64) -> io::Result<()> {
    allows(Step::CutBack)?;
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(())
}

/// Makes what was written to it durable.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    allows(Step::SyncData)?;
    file.sync_data()
}

/// False where there is no room even for that: on a file system that copies on write.
pub(crate) fn remove_file(path: &Path) -> io::Result<bool> {
    match allows(Step::Remove).and_then(|()| fs::remove_file(path)) {
        Err(error) if says_no_room(&error) => {
            tracing::warn!(%error, path = %path.display(), "no room to remove a file; it is tried again");
            Ok(false)
        }
        removed => removed.map(|()| true),
    }
}

/// ENOSPC, EDQUOT.
pub(crate) fn says_no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

fn make_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a whole file that is at most `bytes_max` long.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let message = format!("larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(bytes)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    PathBuf::from(name)
}

/// What a test can have refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    CutBack,
    SyncData,
    SyncDirectory,
    Remove,
}

#[cfg(not(test))]
fn allows(_: Step) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use refusal::allows;

/// Steps that find no room, on the thread of a test.
#[cfg(test)]
pub(crate) mod refusal {
    use std::cell::Cell;
    use std::io;

    use super::Step;

    const ENOSPC: i32 = 28;

    thread_local! {
        static REFUSED: Cell<Option<Step>> = const { Cell::new(None) };
    }

    /// From now on; `None`: no step.
    pub(crate) fn refuse(step: Option<Step>) {
        REFUSED.set(step);
    }

    pub(super) fn allows(step: Step) -> io::Result<()> {
        match REFUSED.get() {
            Some(refused) if refused == step => Err(io::Error::from_raw_os_error(ENOSPC)),
            _ => Ok(()),
        }
    }
}
