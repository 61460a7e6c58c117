//! Reads files at a position; in tests from disks that do not give all of them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(crate) fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    #[cfg(test)]
    bad_sectors::check(file, at, bytes.len())?;
    file.read_exact_at(bytes, at)
}

/// All of it, at most `bytes_max`.
pub(crate) fn read_all(file: &File, bytes_max: u64) -> io::Result<Vec<u8>> {
    #[cfg(test)]
    bad_sectors::check(file, 0, usize::MAX)?;
    let mut contents = Vec::new();
    file.take(bytes_max).read_to_end(&mut contents)?;
    Ok(contents)
}

/// As fast as the file system can: some share the bytes.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    bad_sectors::check(&File::open(from)?, 0, usize::MAX)?;
    fs::copy(from, to).map(|_| ())
}

/// EIO where a test says so.
#[cfg(test)]
pub(crate) mod bad_sectors {
    use std::ops::Range;
    use std::os::unix::fs::MetadataExt;

    use parking_lot::Mutex;

    use super::*;

    struct BadSectors {
        /// A file keeps them whatever it is called.
        device_and_inode: (u64, u64),
        bytes: Range<u64>,
        /// So that no other file gets its inode when it is deleted, that of another test for example.
        _open: File,
    }

    static ALL: Mutex<Vec<BadSectors>> = Mutex::new(Vec::new());

    /// Until the file is cut before it.
    pub(crate) fn add(path: &Path, bytes: Range<u64>) {
        let file = File::open(path).unwrap();
        ALL.lock().push(BadSectors {
            device_and_inode: device_and_inode(&file.metadata().unwrap()),
            bytes,
            _open: file,
        });
    }

    /// As when the disk gives it after all.
    pub(crate) fn mend(path: &Path) {
        let mended = device_and_inode(&fs::metadata(path).unwrap());
        ALL.lock().retain(|it| it.device_and_inode != mended);
    }

    pub(crate) fn check(file: &File, at: u64, length: usize) -> io::Result<()> {
        let all = ALL.lock();
        if all.is_empty() {
            return Ok(());
        }
        let metadata = file.metadata()?;
        let end = at.saturating_add(length as u64).min(metadata.len());
        let read = device_and_inode(&metadata);
        let is_bad = all
            .iter()
            .any(|it| it.device_and_inode == read && it.bytes.start < end && at < it.bytes.end);
        match is_bad {
            true => Err(rustix::io::Errno::IO.into()),
            false => Ok(()),
        }
    }

    fn device_and_inode(metadata: &fs::Metadata) -> (u64, u64) {
        (metadata.dev(), metadata.ino())
    }
}
