//! A file that only takes room, to be removed when somebody else has filled the disk to its last byte: what it frees is
//! enough for checkpoints, `meta.properties` and the mark of a clean stop.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

const NAME: &str = ".foz-spare";
/// A checkpoint of a hundred thousand partitions takes some MiB.
const BYTES_MAX: i64 = 16 << 20;
/// Of the reserve.
const PART: i64 = 8;

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// How long it is to be. `reserve_bytes` is what is to stay free of the disk besides.
pub(crate) fn wanted_bytes(reserve_bytes: i64) -> u64 {
    u64::try_from((reserve_bytes / PART).min(BYTES_MAX)).unwrap_or(0)
}

/// Makes it as long as [`wanted_bytes`], or removes it where that is 0.
///
/// # Errors
/// Where files cannot be allocated, there is none.
pub(crate) fn make(data_dir: &Path, reserve_bytes: i64) -> io::Result<()> {
    let bytes = wanted_bytes(reserve_bytes);
    if length(data_dir) == bytes {
        return Ok(());
    }
    let path = path(data_dir);
    if bytes == 0 {
        return fs::remove_file(&path);
    }
    // It may be there with another length, or empty: the process ended before it was allocated.
    let file = File::create(&path)?;
    let allocated = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes);
    if allocated.is_err() {
        fs::remove_file(&path)?;
    }
    Ok(allocated?)
}

/// What its removal gives.
pub(crate) fn length(data_dir: &Path) -> u64 {
    fs::metadata(path(data_dir)).map_or(0, |file| file.len())
}

/// True when it was there.
pub(crate) fn release(data_dir: &Path) -> bool {
    fs::remove_file(path(data_dir)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_reserve_is_taken_until_it_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!release(dir.path()));
        make(dir.path(), 7).unwrap();
        assert!(!path(dir.path()).exists(), "there is nothing to spare");
        File::create(path(dir.path())).unwrap();
        for _ in 0..2 {
            for (reserve_bytes, expected) in [(800_000, 100_000), (8_000, 1_000), (80_000, 10_000)]
            {
                for _ in 0..2 {
                    make(dir.path(), reserve_bytes).unwrap();
                    assert_eq!(length(dir.path()), expected);
                }
            }
            assert!(release(dir.path()) && !release(dir.path()));
        }
        make(dir.path(), 8_000).unwrap();
        make(dir.path(), 0).unwrap();
        assert!(!path(dir.path()).exists(), "nobody wants a reserve");
        make(dir.path(), i64::MAX).unwrap();
        let length = fs::metadata(path(dir.path())).unwrap().len();
        assert_eq!(i64::try_from(length).unwrap(), BYTES_MAX);
    }
}
