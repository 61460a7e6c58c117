//! Which segments are compacted, and which of them become one. Pure.

use std::ops::Range;

use crate::config::LogConfig;

/// What the choice needs to know of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentSummary {
    pub(crate) base_offset: i64,
    pub(crate) size_bytes: u64,
    pub(crate) offset_index_bytes: u64,
    pub(crate) time_index_bytes: u64,
    /// The greatest timestamp; when the file was last written where there is none.
    pub(crate) newest_ms: i64,
}

/// What the choice needs to know of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSummary<'a> {
    /// Those that nothing is appended to any more, by base offset.
    pub(crate) closed: &'a [SegmentSummary],
    /// Where the segment begins that is appended to: no other ends behind it.
    pub(crate) active_base_offset: i64,
    pub(crate) log_start_offset: i64,
    /// Up to here the log was compacted.
    pub(crate) compacted_offset: i64,
    /// Neither a truncation nor the end of a transaction changes anything below.
    pub(crate) stable_offset: i64,
}

/// The part of a log that may be compacted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cleanable {
    /// The first offset that was never compacted.
    pub(crate) first_dirty_offset: i64,
    /// Where a segment ends.
    pub(crate) end_offset: i64,
    pub(crate) clean_bytes: u64,
    pub(crate) dirty_bytes: u64,
}

impl Cleanable {
    /// Bytes that were never compacted, of all that may be.
    #[must_use]
    pub(crate) fn dirty_ratio(&self) -> f64 {
        let all = self.clean_bytes + self.dirty_bytes;
        if all == 0 {
            0.0
        } else {
            self.dirty_bytes as f64 / all as f64
        }
    }
}

impl LogSummary<'_> {
    /// `None` when there is nothing to compact.
    pub(crate) fn cleanable(&self, config: &LogConfig, now_ms: i64) -> Option<Cleanable> {
        let first_dirty_offset = self.first_dirty_offset();
        let (mut clean_bytes, mut dirty_bytes, mut end_offset) = (0, 0, first_dirty_offset);
        for (n, segment) in self.closed.iter().enumerate() {
            let end = self.end_of(n);
            if end > self.stable_offset {
                break;
            }
            if end <= first_dirty_offset {
                clean_bytes += segment.size_bytes;
                continue;
            }
            // As in Kafka: the lag is asked of segments that were never compacted only.
            let lag_ms = config.min_compaction_lag_ms;
            if lag_ms > 0 && segment.newest_ms > now_ms.saturating_sub(lag_ms) {
                break;
            }
            dirty_bytes += segment.size_bytes;
            end_offset = end;
        }
        (dirty_bytes > 0).then_some(Cleanable {
            first_dirty_offset,
            end_offset,
            clean_bytes,
            dirty_bytes,
        })
    }

    pub(crate) fn first_dirty_offset(&self) -> i64 {
        self.compacted_offset.max(self.log_start_offset)
    }

    /// The segments that hold anything below `end_offset`, by their places in `closed`, in groups of which
    /// each becomes one segment.
    pub(crate) fn groups(&self, config: &LogConfig, end_offset: i64) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut sum = Sum::default();
        for (n, segment) in self.closed.iter().enumerate() {
            if segment.base_offset >= end_offset || self.end_of(n) > self.active_base_offset {
                break;
            }
            match groups.last_mut() {
                Some(group)
                    if sum.fits(segment, config)
                        && self.end_of(n) - 1 - self.closed[group.start].base_offset
                            <= i64::from(i32::MAX) =>
                {
                    group.end = n + 1;
                }
                _ => {
                    sum = Sum::default();
                    groups.push(n..n + 1);
                }
            }
            sum.add(segment);
        }
        groups
    }

    fn end_of(&self, n: usize) -> i64 {
        self.closed
            .get(n + 1)
            .map_or(self.active_base_offset, |next| next.base_offset)
    }
}

/// What the segments of a group have together.
#[derive(Debug, Default)]
struct Sum {
    size: u64,
    offset_index: u64,
    time_index: u64,
}

impl Sum {
    fn fits(&self, segment: &SegmentSummary, config: &LogConfig) -> bool {
        let index_bytes_max = u64::from(config.segment_index_bytes);
        self.size + segment.size_bytes <= config.segment_bytes
            && self.offset_index + segment.offset_index_bytes <= index_bytes_max
            && self.time_index + segment.time_index_bytes <= index_bytes_max
    }

    fn add(&mut self, segment: &SegmentSummary) {
        self.size += segment.size_bytes;
        self.offset_index += segment.offset_index_bytes;
        self.time_index += segment.time_index_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base_offset: i64, size_bytes: u64, newest_ms: i64) -> SegmentSummary {
        SegmentSummary {
            base_offset,
            size_bytes,
            offset_index_bytes: 8,
            time_index_bytes: 12,
            newest_ms,
        }
    }

    fn closed() -> [SegmentSummary; 3] {
        [
            segment(0, 100, 1_000),
            segment(10, 200, 2_000),
            segment(20, 300, 3_000),
        ]
    }

    fn log(closed: &[SegmentSummary]) -> LogSummary<'_> {
        LogSummary {
            closed,
            active_base_offset: 30,
            log_start_offset: 0,
            compacted_offset: 0,
            stable_offset: 40,
        }
    }

    fn found(log: LogSummary<'_>, lag_ms: i64) -> Option<(i64, i64, u64, u64)> {
        let config = LogConfig {
            min_compaction_lag_ms: lag_ms,
            ..LogConfig::default()
        };
        let cleanable = log.cleanable(&config, 3_500)?;
        Some((
            cleanable.first_dirty_offset,
            cleanable.end_offset,
            cleanable.clean_bytes,
            cleanable.dirty_bytes,
        ))
    }

    #[test]
    fn closed_segments_that_are_stable_and_old_enough_are_cleanable() {
        let closed = closed();
        let all = log(&closed);
        assert_eq!(found(all, 0), Some((0, 30, 0, 600)));
        for (stable_offset, expected) in [
            (30, Some((0, 30, 0, 600))),
            (29, Some((0, 20, 0, 300))),
            (10, Some((0, 10, 0, 100))),
            (9, None),
            (0, None),
        ] {
            let log = LogSummary {
                stable_offset,
                ..all
            };
            assert_eq!(found(log, 0), expected, "stable {stable_offset}");
        }
        for (lag_ms, expected) in [
            (500, Some((0, 30, 0, 600))),
            (501, Some((0, 20, 0, 300))),
            (2_500, Some((0, 10, 0, 100))),
            (2_501, None),
            (i64::MAX, None),
        ] {
            assert_eq!(found(all, lag_ms), expected, "lag {lag_ms}");
        }
        for (compacted_offset, expected) in [
            (10, Some((10, 30, 100, 500))),
            (15, Some((15, 30, 100, 500))),
            (20, Some((20, 30, 300, 300))),
            (30, None),
            (99, None),
        ] {
            let log = LogSummary {
                compacted_offset,
                ..all
            };
            assert_eq!(found(log, 0), expected, "compacted {compacted_offset}");
        }
        let started = LogSummary {
            log_start_offset: 12,
            ..all
        };
        assert_eq!(found(started, 0), Some((12, 30, 100, 500)));
        assert_eq!(found(log(&[]), 0), None);
    }

    #[test]
    fn what_was_compacted_is_not_too_young_to_be_compacted_again() {
        let closed = [segment(0, 100, 9_000), segment(10, 200, 1_000)];
        let log = LogSummary {
            compacted_offset: 10,
            ..log(&closed)
        };
        assert_eq!(found(log, 1_000), Some((10, 30, 100, 200)));
    }

    /// The first segment of each group, and the one behind its last.
    fn grouped(log: LogSummary<'_>, config: &LogConfig, end_offset: i64) -> Vec<(usize, usize)> {
        let groups = log.groups(config, end_offset).into_iter();
        groups.map(|group| (group.start, group.end)).collect()
    }

    #[test]
    fn groups_stay_below_every_limit() {
        let closed = closed();
        let default = LogConfig::default();
        for (end_offset, expected) in [
            (30, &[(0, 3)][..]),
            (20, &[(0, 2)]),
            // A segment is not cut.
            (11, &[(0, 2)]),
            (0, &[]),
        ] {
            assert_eq!(grouped(log(&closed), &default, end_offset), expected);
        }
        for (segment_bytes, expected) in [
            (600, &[(0, 3)][..]),
            (599, &[(0, 2), (2, 3)]),
            (299, &[(0, 1), (1, 2), (2, 3)]),
            // Larger than allowed now, but there.
            (50, &[(0, 1), (1, 2), (2, 3)]),
        ] {
            let config = LogConfig {
                segment_bytes,
                ..default.clone()
            };
            assert_eq!(
                grouped(log(&closed), &config, 30),
                expected,
                "{segment_bytes}"
            );
        }
        for (segment_index_bytes, expected) in [
            (36, &[(0, 3)][..]),
            (35, &[(0, 2), (2, 3)]),
            (23, &[(0, 1), (1, 2), (2, 3)]),
        ] {
            let config = LogConfig {
                segment_index_bytes,
                ..default.clone()
            };
            assert_eq!(
                grouped(log(&closed), &config, 30),
                expected,
                "{segment_index_bytes}"
            );
        }
    }

    #[test]
    fn offsets_in_a_group_fit_into_32_bits() {
        let far = i64::from(i32::MAX);
        let closed = [segment(5, 1, 0), segment(10, 1, 0), segment(5 + far, 1, 0)];
        for (active_base_offset, expected) in
            [(6 + far, &[(0, 3)][..]), (7 + far, &[(0, 2), (2, 3)])]
        {
            let log = LogSummary {
                active_base_offset,
                ..log(&closed)
            };
            let groups = grouped(log, &LogConfig::default(), i64::MAX);
            assert_eq!(groups, expected, "{active_base_offset}");
        }
    }

    #[test]
    fn the_ratio_is_of_what_may_be_compacted() {
        let cleanable = |clean_bytes, dirty_bytes| Cleanable {
            first_dirty_offset: 0,
            end_offset: 0,
            clean_bytes,
            dirty_bytes,
        };
        assert!((cleanable(100, 300).dirty_ratio() - 0.75).abs() < 1e-9);
        assert!(cleanable(0, 0).dirty_ratio().abs() < 1e-9);
    }
}
