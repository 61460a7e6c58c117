//! Written before it has to be.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::{PAGE_BYTES, Segment};

/// Less is left to the kernel, which writes what is half a minute old.
const WRITEBACK_BYTES_MIN: u64 = 16 << 10;

impl Segment {
    /// Has the kernel begin to write what was appended since the last time, where that is worth it; nobody waits for it.
    /// Only whole pages, each of them once: those that are being written stay in memory for who reads them, though the
    /// advice is the one for pages that need not. (`sync_file_range(2)` would say it more plainly; nothing safe calls it.)
    pub(crate) fn begin_writeback(&self) {
        let begun = self.writeback_begun.load(Ordering::Acquire);
        let Some(range) = worth_writing(begun, self.size()) else {
            return;
        };
        if let Ok(file) = self.file() {
            let length = NonZeroU64::new(range.end - range.start);
            let advice = rustix::fs::Advice::DontNeed;
            let _ = rustix::fs::fadvise(&*file, range.start, length, advice);
        }
        self.writeback_begun.store(range.end, Ordering::Release);
    }
}

/// The bytes to begin to write of a file of `size` bytes, when that was last begun up to `begun`. A log that was cut since
/// has nothing to write before it is as long as it was.
fn worth_writing(begun: u64, size: u64) -> Option<Range<u64>> {
    let end = size / PAGE_BYTES * PAGE_BYTES;
    (end.saturating_sub(begun) >= WRITEBACK_BYTES_MIN).then_some(begun..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_are_written_early_once_there_are_some() {
        for (begun, size, range) in [
            (0, 0, None),
            (0, WRITEBACK_BYTES_MIN - 1, None),
            (0, WRITEBACK_BYTES_MIN, Some(0..16_384)),
            (0, 20_479, Some(0..16_384)),
            (16_384, 20_480, None),
            (16_384, 40_000, Some(16_384..36_864)),
            // Opened with bytes that no page ends with.
            (100, 20_000, None),
            (100, 20_480, Some(100..20_480)),
            (1 << 30, 4_096, None),
        ] {
            assert_eq!(worth_writing(begun, size), range, "{begun} {size}");
        }
    }
}
