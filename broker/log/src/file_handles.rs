//! Open files, bounded for the whole process.
//!
//! A log opens its files when it needs them and keeps none itself, so that an idle partition costs
//! no descriptor. Closing a file that has unflushed pages loses nothing: they belong to the inode,
//! and a write-back error is reported to the first descriptor that was opened or flushed after it
//! (Linux errseq_t, since 4.16), so a later flush through a new descriptor still sees it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::atomic_file;
use crate::disk_operations::DiskOperations;
use crate::error::StorageError;

const EMFILE: i32 = 24;

/// The least recently used of these files are closed when there are too many.
#[derive(Debug)]
pub struct FileHandles {
    open_max: usize,
    operations: DiskOperations,
    state: Mutex<State>,
    #[cfg(test)]
    pub(crate) flushes: Flushes,
}

/// Of the files of logs, as tests see them.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    /// Since the last [`Flushes::take`].
    seen: Mutex<Vec<PathBuf>>,
    /// What else belongs to a log: directories, and small files.
    pub(crate) beside: Mutex<Vec<PathBuf>>,
    /// Those of files whose names end so are refused, as by a disk that failed.
    pub(crate) failing: Mutex<Option<&'static str>>,
    /// Who flushes waits here until somebody has seen which file it is.
    pub(crate) shown: Mutex<Option<std::sync::mpsc::SyncSender<PathBuf>>>,
}

#[cfg(test)]
impl Flushes {
    fn see(&self, path: &Path) -> io::Result<()> {
        self.seen.lock().push(path.to_path_buf());
        let shown = self.shown.lock().clone();
        if let Some(shown) = shown {
            // Nobody looks any more.
            let _ = shown.send(path.to_path_buf());
        }
        let failing = *self.failing.lock();
        match failing.is_some_and(|it| path.to_string_lossy().ends_with(it)) {
            true => Err(rustix::io::Errno::IO.into()),
            false => Ok(()),
        }
    }

    pub(crate) fn take(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.seen.lock())
    }
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    next_tick: u64,
    /// Ticks below this one were given out before the last call of `close_idle`.
    idle_below_tick: u64,
    by_id: HashMap<u64, Handle>,
    id_by_tick: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Handle {
    file: Arc<File>,
    tick: u64,
}

impl FileHandles {
    /// At most `open_max` files stay open between uses; those in use at the moment come on top.
    #[must_use]
    pub fn new(open_max: usize) -> Arc<Self> {
        Arc::new(Self {
            open_max: open_max.max(1),
            operations: DiskOperations::default(),
            state: Mutex::default(),
            #[cfg(test)]
            flushes: Flushes::default(),
        })
    }

    /// What is being written and flushed.
    #[must_use]
    pub fn operations(&self) -> &DiskOperations {
        &self.operations
    }

    /// Files held open now.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.state.lock().by_id.len()
    }

    /// Makes the names in the directory of a log durable, or those of logs.
    pub(crate) fn flush_directory(&self, directory: &Path) -> Result<(), StorageError> {
        #[cfg(test)]
        self.flushes.beside.lock().push(directory.to_path_buf());
        atomic_file::flush_directory(directory)
    }

    /// Makes a small file beside the segments of a log durable.
    pub(crate) fn flush_file(&self, path: &Path) -> Result<(), StorageError> {
        #[cfg(test)]
        self.flushes.beside.lock().push(path.to_path_buf());
        atomic_file::flush_file(path)
    }

    /// Closes the files that nobody used since the last call. Returns how many.
    pub fn close_idle(&self) -> usize {
        let mut state = self.state.lock();
        let idle_below_tick = state.idle_below_tick;
        let used_since = state.id_by_tick.split_off(&idle_below_tick);
        let idle = std::mem::replace(&mut state.id_by_tick, used_since);
        for id in idle.values() {
            state.by_id.remove(id);
        }
        state.idle_below_tick = state.next_tick;
        if state.by_id.is_empty() {
            state.by_id.shrink_to_fit();
        }
        idle.len()
    }

    fn new_id(&self) -> u64 {
        let mut state = self.state.lock();
        state.next_id += 1;
        state.next_id
    }

    fn get(&self, id: u64, open: impl Fn() -> io::Result<File>) -> io::Result<Arc<File>> {
        if let Some(file) = self.state.lock().touch(id) {
            return Ok(file);
        }
        let opened = match open() {
            Err(error) if error.raw_os_error() == Some(EMFILE) => {
                self.close_least_recently_used(self.open_max / 2);
                open()
            }
            other => other,
        };
        let file = Arc::new(opened?);
        let mut state = self.state.lock();
        // Another thread may have opened it meanwhile; all must share one.
        if let Some(file) = state.touch(id) {
            return Ok(file);
        }
        state.insert(id, Arc::clone(&file));
        while state.by_id.len() > self.open_max {
            state.remove_oldest();
        }
        Ok(file)
    }

    fn close_least_recently_used(&self, count: usize) {
        let mut state = self.state.lock();
        for _ in 0..count.max(1) {
            state.remove_oldest();
        }
    }

    fn forget(&self, id: u64) {
        let mut state = self.state.lock();
        if let Some(handle) = state.by_id.remove(&id) {
            state.id_by_tick.remove(&handle.tick);
        }
    }
}

impl State {
    fn touch(&mut self, id: u64) -> Option<Arc<File>> {
        let tick = self.next_tick;
        let handle = self.by_id.get_mut(&id)?;
        self.next_tick += 1;
        self.id_by_tick.remove(&handle.tick);
        handle.tick = tick;
        self.id_by_tick.insert(tick, id);
        Some(Arc::clone(&handle.file))
    }

    fn insert(&mut self, id: u64, file: Arc<File>) {
        let tick = self.next_tick;
        self.next_tick += 1;
        self.by_id.insert(id, Handle { file, tick });
        self.id_by_tick.insert(tick, id);
    }

    fn remove_oldest(&mut self) {
        if let Some((_, id)) = self.id_by_tick.pop_first() {
            self.by_id.remove(&id);
        }
    }
}

/// One file that is opened when it is used.
#[derive(Debug)]
pub(crate) struct LazyFile {
    handles: Arc<FileHandles>,
    id: u64,
    path: Box<Path>,
    /// Stays open whatever its name becomes.
    pinned: Mutex<Option<Arc<File>>>,
}

impl LazyFile {
    /// The file should exist; nothing is opened yet.
    pub(crate) fn new(handles: &Arc<FileHandles>, path: PathBuf) -> Self {
        Self {
            handles: Arc::clone(handles),
            id: handles.new_id(),
            path: path.into_boxed_path(),
            pinned: Mutex::new(None),
        }
    }

    /// This file, which is about to get the name `path`.
    pub(crate) fn pinned(handles: &Arc<FileHandles>, path: PathBuf, file: File) -> Self {
        let lazy = Self::new(handles, path);
        *lazy.pinned.lock() = Some(Arc::new(file));
        lazy
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file. Never creates one: a reader must not bring back what retention removed.
    pub(crate) fn open(&self) -> io::Result<Arc<File>> {
        if let Some(file) = self.pinned_file() {
            return Ok(file);
        }
        let opened = self.handles.get(self.id, || {
            OpenOptions::new().read(true).write(true).open(&self.path)
        });
        // The name may have become another file's in the meantime: it was pinned before that.
        match self.pinned_file() {
            Some(file) => Ok(file),
            None => opened,
        }
    }

    /// Makes its contents durable.
    pub(crate) fn flush(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.handles.flushes.see(&self.path)?;
        file.sync_data()
    }

    /// Keeps it open for as long as this lives, before its name becomes another file's.
    pub(crate) fn pin(&self) -> io::Result<()> {
        let file = self.open()?;
        *self.pinned.lock() = Some(file);
        Ok(())
    }

    /// It has its name.
    pub(crate) fn unpin(&self) {
        *self.pinned.lock() = None;
    }

    fn pinned_file(&self) -> Option<Arc<File>> {
        self.pinned.lock().clone()
    }
}

impl Drop for LazyFile {
    fn drop(&mut self) {
        self.handles.forget(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(count: usize, handles: &Arc<FileHandles>, dir: &Path) -> Vec<LazyFile> {
        (0..count)
            .map(|n| {
                let path = dir.join(n.to_string());
                std::fs::write(&path, n.to_string()).unwrap();
                LazyFile::new(handles, path)
            })
            .collect()
    }

    #[test]
    fn the_least_recently_used_is_closed_first() {
        let dir = tempfile::tempdir().unwrap();
        let handles = FileHandles::new(2);
        let files = files(3, &handles, dir.path());
        let first = files[0].open().unwrap();
        files[1].open().unwrap();
        assert!(Arc::ptr_eq(&first, &files[0].open().unwrap()));
        files[2].open().unwrap();
        assert_eq!(handles.open_count(), 2);
        assert!(
            Arc::ptr_eq(&first, &files[0].open().unwrap()),
            "1 was older and went"
        );
    }

    #[test]
    fn idle_files_close_and_open_again() {
        let dir = tempfile::tempdir().unwrap();
        let handles = FileHandles::new(10);
        let files = files(2, &handles, dir.path());
        files[0].open().unwrap();
        assert_eq!(handles.close_idle(), 0, "used since the last call");
        files[1].open().unwrap();
        assert_eq!(handles.close_idle(), 1);
        assert_eq!(handles.close_idle(), 1);
        assert_eq!(handles.open_count(), 0);
        files[0].open().unwrap();
        drop(files);
        assert_eq!(handles.open_count(), 0, "a dropped file is forgotten");
    }

    #[test]
    fn a_pinned_file_is_the_same_whatever_its_name_becomes() {
        use std::os::unix::fs::FileExt;
        let dir = tempfile::tempdir().unwrap();
        let handles = FileHandles::new(10);
        let old = files(1, &handles, dir.path()).remove(0);
        let read = |file: &LazyFile| {
            let mut byte = [0];
            file.open().unwrap().read_exact_at(&mut byte, 0).unwrap();
            byte[0]
        };
        let other = dir.path().join("other");
        std::fs::write(&other, "x").unwrap();
        let other_file = OpenOptions::new().read(true).open(&other).unwrap();
        let new = LazyFile::pinned(&handles, old.path().to_path_buf(), other_file);
        assert_eq!((read(&old), read(&new)), (b'0', b'x'));
        old.pin().unwrap();
        std::fs::rename(&other, old.path()).unwrap();
        handles.close_idle();
        handles.close_idle();
        new.unpin();
        assert_eq!((read(&old), read(&new)), (b'0', b'x'));
        drop((old, new));
        assert_eq!(handles.open_count(), 0);
    }

    #[test]
    fn a_removed_file_stays_removed() {
        let dir = tempfile::tempdir().unwrap();
        let handles = FileHandles::new(10);
        let files = files(1, &handles, dir.path());
        std::fs::remove_file(files[0].path()).unwrap();
        assert_eq!(files[0].open().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!files[0].path().exists());
    }
}
