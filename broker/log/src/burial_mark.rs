//! The mark in the directory of a log that was taken out of service for a while: what the checkpoints would say of it.
//!
//! It is written when everything else is durable, and is gone before anything is appended again. So a log with a mark is
//! as the mark says, whatever its directory is called.

use std::path::Path;

use crate::atomic_file;
use crate::error::{OpenError, StorageError};
use crate::recovery::{OpenState, PageCache};

const BURIAL_MARK_FILE: &str = "deleted-topic-checkpoint";
const VERSION_LINE: &str = "version: 0";

/// What is known of a buried log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BurialMark {
    /// It was closed and flushed as a clean stop does it.
    pub is_clean: bool,
    /// Everything below was flushed.
    pub recovery_point: i64,
    /// Everything below was checked; `None`: as far as it was flushed.
    pub checked_offset: Option<i64>,
    /// First offset that may be read.
    pub log_start_offset: i64,
    /// As it was known here.
    pub high_watermark: i64,
    /// Up to here it was compacted.
    pub compacted_offset: i64,
    /// By the clock of the controller.
    pub grace_ends_at_ms: i64,
}

impl BurialMark {
    /// What it is to be opened with.
    pub(crate) fn open_state(self, page_cache: PageCache) -> OpenState {
        OpenState {
            clean_shutdown: self.is_clean,
            page_cache,
            recovery_point: self.recovery_point,
            checked_offset: self.checked_offset,
            log_start_offset: self.log_start_offset,
            high_watermark: self.high_watermark,
            compacted_offset: self.compacted_offset,
            keep_damaged: false,
        }
    }

    /// Of a log that could not be opened.
    pub(crate) fn of_unopened(state: OpenState) -> Self {
        Self {
            is_clean: false,
            recovery_point: state.recovery_point,
            checked_offset: state.checked_offset,
            log_start_offset: state.log_start_offset,
            high_watermark: state.high_watermark,
            compacted_offset: state.compacted_offset,
            grace_ends_at_ms: i64::MAX,
        }
    }

    /// Durable when this returns.
    pub(crate) fn write(self, directory: &Path) -> Result<(), StorageError> {
        let Self {
            is_clean,
            recovery_point,
            checked_offset,
            log_start_offset,
            high_watermark,
            compacted_offset,
            grace_ends_at_ms,
        } = self;
        let checked = checked_offset.map(|offset| format!("checked_offset: {offset}\n"));
        let checked = checked.unwrap_or_default();
        let text = format!(
            "{VERSION_LINE}\nclean: {is_clean}\nrecovery_point: {recovery_point}\nlog_start_offset: {log_start_offset}\n\
             high_watermark: {high_watermark}\ncompacted_offset: {compacted_offset}\n\
             grace_ends_at_ms: {grace_ends_at_ms}\n{checked}"
        );
        atomic_file::replace(&directory.join(BURIAL_MARK_FILE), text.as_bytes())
    }

    /// `None` where there is no mark.
    ///
    /// # Errors
    /// [`OpenError::Malformed`]: the mark says nothing that could be gone by.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, OpenError> {
        let path = directory.join(BURIAL_MARK_FILE);
        let Some(contents) = atomic_file::read_small(&path)? else {
            return Ok(None);
        };
        match str::from_utf8(&contents).ok().and_then(parse) {
            Some(mark) => Ok(Some(mark)),
            None => Err(OpenError::Malformed {
                file: path,
                reason: "it is not the checkpoint of one log".to_owned(),
            }),
        }
    }

    pub(crate) fn exists(directory: &Path) -> bool {
        directory.join(BURIAL_MARK_FILE).exists()
    }

    /// Not durable before the directory is flushed. It is fine when there is none.
    pub(crate) fn remove(directory: &Path) -> Result<(), StorageError> {
        atomic_file::remove_if_exists(&directory.join(BURIAL_MARK_FILE))
    }
}

fn parse(text: &str) -> Option<BurialMark> {
    let mut lines = text.lines();
    if lines.next()? != VERSION_LINE {
        return None;
    }
    let is_clean = lines.next()?.strip_prefix("clean: ")?.parse().ok()?;
    let mut offset = |name: &str| offset_in(lines.next()?, name);
    let mark = BurialMark {
        is_clean,
        recovery_point: offset("recovery_point")?,
        checked_offset: None,
        log_start_offset: offset("log_start_offset")?,
        high_watermark: offset("high_watermark")?,
        compacted_offset: offset("compacted_offset")?,
        grace_ends_at_ms: offset("grace_ends_at_ms")?,
    };
    match lines.next() {
        None => Some(mark),
        Some(line) => Some(BurialMark {
            checked_offset: Some(offset_in(line, "checked_offset")?),
            ..mark
        }),
    }
}

fn offset_in(line: &str, name: &str) -> Option<i64> {
    let value = line.strip_prefix(name)?.strip_prefix(": ")?;
    value.parse().ok().filter(|offset| *offset >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_there_until_it_is_removed_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(BurialMark::read(dir.path()).unwrap(), None);
        let mark = BurialMark {
            is_clean: true,
            recovery_point: 9,
            checked_offset: None,
            log_start_offset: 2,
            high_watermark: 7,
            compacted_offset: 5,
            grace_ends_at_ms: i64::MAX,
        };
        for checked_offset in [Some(6), None] {
            let mark = BurialMark {
                checked_offset,
                ..mark
            };
            mark.write(dir.path()).unwrap();
            assert_eq!(BurialMark::read(dir.path()).unwrap(), Some(mark));
        }
        let path = dir.path().join(BURIAL_MARK_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let more = text.clone() + "checked_offset: -6\n";
        for damaged in [
            &text[..30],
            "version: 1\n",
            "",
            &text.replace('9', "-9"),
            &more,
        ] {
            std::fs::write(&path, damaged).unwrap();
            let error = BurialMark::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(BURIAL_MARK_FILE), "{error}");
        }
        BurialMark::remove(dir.path()).unwrap();
        assert_eq!(BurialMark::read(dir.path()).unwrap(), None);
        BurialMark::remove(dir.path()).unwrap();
    }
}
