//! What a crash may have taken, and what it may not.
//!
//! Everything below the recovery point was flushed: nothing takes it. What else must be there depends on
//! how the process before this one ended.
//!
//! - **The kernel went down too** (power, another boot): every page that was not flushed may be missing,
//!   in any order. The checkpoint of high watermarks is flushed when the log is not, so a log may end
//!   below it. Whatever comes first that is not a whole batch is where the log ends.
//! - **Only the process ended** (kill -9, out of memory): all that it had written is in the page cache.
//!   Offsets are published after `pwrite` has returned, a high watermark is at most the published end,
//!   and what shortens a log lowers the checkpoints first: so the log goes at least as far as the
//!   checkpointed high watermark. Beyond that, at most one write was under way, at the end of the file.
//!   The kernel writes in order and a kill stops it between pages, so that write left a prefix of its
//!   bytes: whole batches, and then one that the end of the file cuts short, or the zeros of space
//!   allocated ahead. Anything else that is not a whole batch is damage, wherever it lies.
//!
//! Damage is not cut off: others may have read it or count on it, and copies are to be kept.
//!
//! Where only the process ended, nothing can be torn but the last batch, so nobody waits until gigabytes are read: the headers
//! are walked, which tell where the log ends, its epochs and its producers, the last batch is checked, and the others are when
//! the log is in service (ADR 0026). Then, too, it is flushed. Until that is done the recovery point stays where it was, so a
//! failure of power finds what it would have found without the kill.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use foz_protocol::batch::HEADER_LENGTH;

use super::OpenState;
#[cfg(doc)]
use super::Recovered;
use crate::batch_scanner::CHECK_CHUNK_BYTES;
use crate::segment::BATCH_BYTES_MAX;

/// What became of what had been written and not flushed, when the process before this one ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PageCache {
    /// The same kernel and the same mount: all of it is there.
    Survived,
    /// It may be gone, or nobody knows.
    #[default]
    Lost,
}

impl OpenState {
    /// Everything that the process before this one wrote must be there.
    pub(crate) fn is_all_written_there(&self) -> bool {
        // A clean stop has flushed everything.
        self.clean_shutdown || self.page_cache == PageCache::Survived
    }

    /// Whether a batch that ends with this offset is checked before the log is opened, whatever follows it. The last one of the log
    /// is, where it is not flushed: where only the process ended no other can be torn, and what is not checked now is
    /// [checked soon after](Recovered::unchecked).
    pub(super) fn is_checked_first(&self, last_offset: i64) -> bool {
        // Where there is one damage there may be more.
        self.keep_damaged
            || !self.is_flushed(last_offset)
                && (self.page_cache == PageCache::Lost || self.clean_shutdown)
    }

    /// Whether what the opening finds is flushed when the log is in service: where only the process ended it is in no more danger
    /// than it was before, and a disk that is busy takes seconds for it.
    pub(super) fn is_flushed_later(&self) -> bool {
        self.page_cache == PageCache::Survived && !self.clean_shutdown && !self.keep_damaged
    }

    pub(super) fn is_flushed(&self, last_offset: i64) -> bool {
        last_offset < self.recovery_point
    }

    /// Batches below were checked by an earlier process, or nobody had to. What was flushed is there whoever has looked at it:
    /// so this says nothing of what a tail is.
    pub(super) fn checked_to(&self) -> i64 {
        let flushed = self.recovery_point;
        self.checked_offset
            .map_or(flushed, |checked| checked.min(flushed))
    }

    /// Everything below this offset must be there.
    pub(super) fn known_offset(&self) -> i64 {
        if self.is_all_written_there() {
            self.recovery_point.max(self.high_watermark)
        } else {
            self.recovery_point
        }
    }
}

/// Whether a write that was under way can have left what begins at `position`, where a batch should: fewer
/// bytes than the batch has, and nothing behind them but zeros.
pub(super) fn may_be_unfinished(file: &File, position: u64) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let left = length.saturating_sub(position);
    if left < HEADER_LENGTH as u64 {
        return Ok(true);
    }
    // The base offset and the length of what follows.
    let mut begin = [0; 12];
    file.read_exact_at(&mut begin, position)?;
    let [.., a, b, c, d] = begin;
    let claimed = i32::from_be_bytes([a, b, c, d]).max(0) as u64;
    let batch = (begin.len() as u64 + claimed).max(HEADER_LENGTH as u64);
    if batch > BATCH_BYTES_MAX as u64 {
        // Nobody wrote such a batch.
        return Ok(false);
    }
    if batch > left {
        return Ok(true);
    }
    // Its last byte at least is not written yet. One that is a zero anyway tells nothing: in doubt it is
    // a tail.
    is_zeroed(file, position + batch - 1, length)
}

/// Whether there are only zeros from `from` to `to`.
pub(super) fn is_zeroed(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let mut buffer = vec![0; CHECK_CHUNK_BYTES];
    let mut at = from;
    while at < to {
        let length = (to - at).min(CHECK_CHUNK_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..length], at)?;
        if buffer[..length].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}
