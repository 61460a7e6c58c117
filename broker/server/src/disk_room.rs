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

/// Of several disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AllRoom {
    pub(crate) together: DiskRoom,
    /// The one with the smallest part free.
    pub(crate) fullest: DiskRoom,
    /// The one with most bytes free: a log is in one of them.
    pub(crate) roomiest: DiskRoom,
}

impl AllRoom {
    /// `None` of none.
    pub(crate) fn of(disks: &[DiskRoom]) -> Option<Self> {
        let part =
            |one: &DiskRoom, of: &DiskRoom| i128::from(one.bytes_free) * i128::from(of.bytes_total);
        let together = disks.iter().copied().reduce(DiskRoom::and)?;
        let fullest = disks.iter().filter(|it| it.bytes_total > 0);
        let fullest = fullest.min_by(|one, other| part(one, other).cmp(&part(other, one)));
        let roomiest = disks.iter().copied().max_by_key(|it| it.bytes_free)?;
        Some(Self {
            together,
            roomiest,
            fullest: fullest.copied().unwrap_or(together),
        })
    }
}

impl DiskRoom {
    /// Of two disks.
    fn and(self, other: Self) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_disks_the_fullest_and_the_roomiest_are_found() {
        let room = |bytes_total, bytes_free| DiskRoom {
            bytes_total,
            bytes_free,
            has_inodes: true,
        };
        assert_eq!(AllRoom::of(&[]), None);
        for (disks, together, fullest, roomiest) in [
            (vec![room(10, 3)], room(10, 3), room(10, 3), room(10, 3)),
            // It has more bytes free, and less of what it has.
            (
                vec![room(10, 3), room(1_000, 20)],
                room(1_010, 23),
                room(1_000, 20),
                room(1_000, 20),
            ),
            (
                vec![room(1_000, 20), room(0, 0), room(10, 0)],
                room(1_010, 20),
                room(10, 0),
                room(1_000, 20),
            ),
            (
                vec![room(i64::MAX, 1), room(i64::MAX, 0)],
                room(i64::MAX, 1),
                room(i64::MAX, 0),
                room(i64::MAX, 1),
            ),
            (vec![room(0, 0)], room(0, 0), room(0, 0), room(0, 0)),
        ] {
            let all = AllRoom::of(&disks).unwrap();
            let found = (all.together, all.fullest, all.roomiest);
            assert_eq!(found, (together, fullest, roomiest));
        }
    }
}
