//! A disk that another program fills to the last byte. Needs root, for a small tmpfs.

use std::fs;
use std::path::{Path, PathBuf};

/// Half a MiB, until this is dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn on(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        // Not by a child process: that would hold the locks of other tests' directories until it has begun.
        let none = rustix::mount::MountFlags::empty();
        let mounted = rustix::mount::mount("tmpfs", path, "tmpfs", none, c"size=512k");
        mounted.expect("a tmpfs must be mounted, which needs root");
        Self(path.to_owned())
    }

    pub(crate) fn fill(&self) {
        fs::write(self.filler(), vec![7; 1 << 20]).unwrap_err();
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("another-program")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
