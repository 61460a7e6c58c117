//! What compaction and moves do to files, one step at a time: each can be the last one before a crash.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::atomic_file::remove_if_exists;
use crate::disk_operations::{DiskOperation, DiskOperations};
use crate::error::{StorageContext, StorageError};

/// Of a [`FileSteps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileStep {
    Create,
    Write,
    Flush,
    Rename,
    Remove,
    FlushDirectory,
}

/// Asked before each step, with the file as it is called before. What it refuses is not done.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(FileStep, &Path) -> io::Result<()>;

/// Takes the steps, so that a hanging disk is seen and tests can let the process die before any of them.
pub(crate) struct FileSteps<'a> {
    operations: &'a DiskOperations,
    watch: Option<Watch<'a>>,
}

impl std::fmt::Debug for FileSteps<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSteps").finish_non_exhaustive()
    }
}

impl<'a> FileSteps<'a> {
    pub(crate) fn new(operations: &'a DiskOperations) -> Self {
        Self {
            operations,
            watch: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn watched(operations: &'a DiskOperations, watch: Watch<'a>) -> Self {
        Self {
            operations,
            watch: Some(watch),
        }
    }

    /// A new file, or the same one empty.
    pub(crate) fn create(&mut self, path: &Path) -> Result<File, StorageError> {
        self.announce(FileStep::Create, "create", path)?;
        OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .at("create", path)
    }

    pub(crate) fn write(
        &mut self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        at: u64,
    ) -> Result<(), StorageError> {
        self.announce(FileStep::Write, "write", path)?;
        let _under_way = self.operations.begin(DiskOperation::Write);
        file.write_all_at(bytes, at).at("write", path)
    }

    /// Not called a flush where it fails: nothing that anybody counts on is lost with a file that is not part
    /// of the log yet.
    pub(crate) fn flush(&mut self, file: &File, path: &Path) -> Result<(), StorageError> {
        self.announce(FileStep::Flush, "flush what was compacted into", path)?;
        file.sync_all().at("flush what was compacted into", path)
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.announce(FileStep::Rename, "rename", from)?;
        let _under_way = self.operations.begin(DiskOperation::Flush);
        fs::rename(from, to).at("rename", from)
    }

    /// It is fine when it is gone already.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), StorageError> {
        self.announce(FileStep::Remove, "remove", path)?;
        let _under_way = self.operations.begin(DiskOperation::Flush);
        remove_if_exists(path)
    }

    pub(crate) fn flush_directory(&mut self, directory: &Path) -> Result<(), StorageError> {
        self.announce(FileStep::FlushDirectory, "flush", directory)?;
        let _under_way = self.operations.begin(DiskOperation::Flush);
        crate::atomic_file::flush_directory(directory)
    }

    /// As above, where too many open files must not come between.
    pub(crate) fn flush_opened(
        &mut self,
        opened: &File,
        directory: &Path,
    ) -> Result<(), StorageError> {
        self.announce(FileStep::FlushDirectory, "flush", directory)?;
        let _under_way = self.operations.begin(DiskOperation::Flush);
        opened.sync_all().at("flush", directory)
    }

    /// A step that somebody else takes.
    pub(crate) fn announce(
        &mut self,
        step: FileStep,
        action: &'static str,
        path: &Path,
    ) -> Result<(), StorageError> {
        match &mut self.watch {
            Some(watch) => watch(step, path).at(action, path),
            None => Ok(()),
        }
    }
}
