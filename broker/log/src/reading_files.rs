//! Reads files at a position; in tests from disks that do not give all of them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(crate) fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    #[cfg(test)]
    bad_sectors::check(file, at, bytes.len())?;
    file.read_exact_at(bytes, at)
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

    /// By device and inode: a file keeps them whatever it is called.
    static ALL: Mutex<Vec<(u64, u64, Range<u64>)>> = Mutex::new(Vec::new());

    /// Until the file is cut before it.
    pub(crate) fn add(path: &Path, bytes: Range<u64>) {
        let metadata = fs::metadata(path).unwrap();
        ALL.lock().push((metadata.dev(), metadata.ino(), bytes));
    }

    /// As when the disk gives it after all.
    pub(crate) fn mend(path: &Path) {
        let metadata = fs::metadata(path).unwrap();
        let of_it = |it: &(u64, u64, _)| (it.0, it.1) == (metadata.dev(), metadata.ino());
        ALL.lock().retain(|it| !of_it(it));
    }

    pub(crate) fn check(file: &File, at: u64, length: usize) -> io::Result<()> {
        let all = ALL.lock();
        if all.is_empty() {
            return Ok(());
        }
        let metadata = file.metadata()?;
        let end = at.saturating_add(length as u64).min(metadata.len());
        let is_bad = all.iter().any(|(device, inode, bytes)| {
            let is_it = (*device, *inode) == (metadata.dev(), metadata.ino());
            is_it && bytes.start < end && at < bytes.end
        });
        match is_bad {
            true => Err(rustix::io::Errno::IO.into()),
            false => Ok(()),
        }
    }
}
