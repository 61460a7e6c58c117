//! A directory of the quorum that nobody needs any more is kept for people, not deleted.

use std::fs;
use std::io;
use std::path::Path;

use super::StorageError;
use crate::disk;

/// Gives `quorum` the name `aside`, in the place of what was set aside before.
pub(crate) fn set_aside(quorum: &Path, aside: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StorageError::io(aside, "remove")(error));
        }
        _ => {}
    }
    fs::rename(quorum, aside).map_err(StorageError::io(quorum, "rename"))?;
    let parent = quorum.parent().unwrap_or(Path::new("/"));
    disk::sync_directory(parent).map_err(StorageError::io(parent, "sync"))
}
