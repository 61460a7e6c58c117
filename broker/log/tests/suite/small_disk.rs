//! A disk that another program fills to its last byte. Needs root, for a small tmpfs.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use foz_log::{LogConfig, PartitionLog};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::support::{World, read_from};

const FILLER: &str = "another-program";

/// A disk with a world on it.
pub(crate) struct Disk {
    pub(crate) world: World,
}

impl Disk {
    pub(crate) fn new(config: LogConfig) -> Self {
        Self::with(config, c"size=512k")
    }

    pub(crate) fn with(config: LogConfig, options: &CStr) -> Self {
        let world = World::new(config);
        // Not by a child process: that would hold the locks of other tests' directories until it has begun.
        let (path, none) = (world.dir.path(), MountFlags::empty());
        let mounted = rustix::mount::mount("tmpfs", path, "tmpfs", none, options);
        mounted.expect("a tmpfs must be mounted, which needs root");
        Self { world }
    }

    fn filler(&self, number: usize) -> PathBuf {
        let name = format!("{FILLER}-{number}");
        self.world.dir.path().join(name)
    }

    pub(crate) fn fill(&self) {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(self.filler(0))
            .unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }

    /// As many files as there can be, of a disk `with` a number of them.
    pub(crate) fn fill_with_files(&self) {
        let made = (0..).map(|number| File::create(self.filler(number)));
        assert!(made.take_while(Result::is_ok).count() > 0);
    }

    pub(crate) fn free(&self) {
        for entry in fs::read_dir(self.world.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(FILLER)
            {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

/// The next file that is to take the place of this one in the data directory finds no room, once.
pub(crate) fn no_room_once(world: &World, name: &str) {
    let temporary = world.data().join(format!("{name}.tmp"));
    std::os::unix::fs::symlink("/dev/full", temporary).unwrap();
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.world.dir.path(), UnmountFlags::DETACH);
    }
}

/// So long that a page holds few.
pub(crate) fn value(number: i64) -> Vec<u8> {
    let mut value = number.to_string().into_bytes();
    value.resize(700, b'.');
    value
}

pub(crate) fn is_whole(log: &PartitionLog, start: i64, end: i64, why: &str) {
    let found = (log.log_start_offset(), log.log_end_offset());
    assert_eq!(found, (start, end), "{why}");
    let expected: Vec<_> = (start..end).map(|n| (n, value(n))).collect();
    assert_eq!(read_from(log, start), expected, "{why}");
}
