//! How large the disk is, and how much of it is free.

use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskRoom {
    pub(crate) bytes_total: i64,
    /// For who is not root.
    pub(crate) bytes_free: i64,
    /// A file can be made: file systems that number their files beforehand run out of numbers.
    pub(crate) has_inodes: bool,
}

impl DiskRoom {
    /// Of two disks.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            bytes_total: self.bytes_total.saturating_add(other.bytes_total),
            bytes_free: self.bytes_free.saturating_add(other.bytes_free),
            has_inodes: self.has_inodes || other.has_inodes,
        }
    }
}

/// Of the disk that the directory is on. It blocks for as long as that does not answer.
pub(crate) fn disk_room(directory: &Path) -> Result<DiskRoom, rustix::io::Errno> {
    let found = rustix::fs::statvfs(directory)?;
    let bytes = |blocks: u64| {
        let bytes = blocks.saturating_mul(found.f_frsize);
        i64::try_from(bytes).unwrap_or(i64::MAX)
    };
    Ok(DiskRoom {
        bytes_total: bytes(found.f_blocks),
        bytes_free: bytes(found.f_bavail),
        // 0 of 0: it numbers them as they come.
        has_inodes: found.f_files == 0 || found.f_favail > 0,
    })
}
