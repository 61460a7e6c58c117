//! The rules for what a follower appends: batches as the leader stores them. Pure.

use foz_protocol::batch::{BatchError, BatchHeader, Batches};

use crate::error::AppendError;
use crate::segment::BATCH_BYTES_MAX;

/// Looks at everything that `bytes` alone tell. Returns the headers and how many bytes they cover: a
/// batch that is not there as a whole is left off, for answers to a fetch may be cut anywhere.
pub(crate) fn check(bytes: &[u8]) -> Result<(Vec<BatchHeader>, usize), AppendError> {
    let mut headers: Vec<BatchHeader> = Vec::new();
    let mut whole = 0;
    for parsed in Batches::new(bytes) {
        let (header, batch) = match parsed {
            Ok(parsed) => parsed,
            Err(BatchError::Truncated { needed, .. }) if needed <= BATCH_BYTES_MAX => break,
            Err(source) => {
                // A header that cannot be read does not say where it is.
                let offset = headers.last().map(BatchHeader::next_offset);
                return Err(AppendError::CorruptFromLeader { offset, source });
            }
        };
        check_batch(&header, batch).map_err(|source| AppendError::CorruptFromLeader {
            offset: Some(header.base_offset),
            source,
        })?;
        whole += batch.len();
        headers.push(header);
    }
    Ok((headers, whole))
}

/// The leader that batches came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowedLeader {
    /// In which it leads.
    pub epoch: i32,
    /// As its answer said.
    pub high_watermark: i64,
}

/// Looks at whether batches go on where the log ends. `leader_epoch` is the newest that it knows. Compaction leaves
/// gaps, and they stay when a topic is compacted no more; but there are none from the high watermark on. A gap there is
/// a loss. What earlier epochs wrote the leader had when it began, and its high watermark may be less than it was: what
/// it knew before it was started again, and no more until enough replicas are in sync.
pub(crate) fn check_follows(
    headers: &[BatchHeader],
    log_end_offset: i64,
    leader_epoch: Option<i32>,
    leader: FollowedLeader,
) -> Result<(), AppendError> {
    let mut expected = log_end_offset;
    let mut epoch = leader_epoch.unwrap_or(-1);
    for header in headers {
        let is_gap = header.base_offset > expected;
        let may_be_compacted = header.base_offset < leader.high_watermark
            || header.partition_leader_epoch < leader.epoch;
        if header.base_offset < expected || (is_gap && !may_be_compacted) {
            return Err(AppendError::NotNext {
                expected,
                found: header.base_offset,
            });
        }
        if header.partition_leader_epoch < epoch {
            return Err(AppendError::StaleLeaderEpoch {
                current: epoch,
                found: header.partition_leader_epoch,
            });
        }
        expected = header.next_offset();
        epoch = header.partition_leader_epoch;
    }
    Ok(())
}

/// Fewer rules than for what a client sends: the leader has checked those, and it writes control
/// batches itself.
fn check_batch(header: &BatchHeader, batch: &[u8]) -> Result<(), BatchError> {
    if batch.len() > BATCH_BYTES_MAX {
        return Err(BatchError::Length(header.batch_length));
    }
    header.check_crc(batch)?;
    let contradiction = |field, value, rule| Err(BatchError::Contradiction { field, value, rule });
    if header.base_offset < 0 || header.next_offset() == i64::MAX {
        return contradiction(
            "base_offset",
            header.base_offset,
            "offsets lie between 0 and the greatest 64-bit number",
        );
    }
    if header.last_offset_delta < 0 {
        return contradiction(
            "last_offset_delta",
            i64::from(header.last_offset_delta),
            "it must not be negative",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use foz_protocol::batch::assign;
    use foz_protocol::codec::Compression;
    use foz_protocol::record::{BatchBuilder, RecordToWrite};

    fn batch(base_offset: i64, epoch: i32) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None).at(base_offset, epoch);
        builder.push(&RecordToWrite {
            value: Some(b"value"),
            ..RecordToWrite::default()
        });
        builder.build().unwrap()
    }

    fn follows(batches: &[(i64, i32)], end: i64, epoch: Option<i32>) -> Result<(), AppendError> {
        let bytes: Vec<u8> = batches.iter().flat_map(|(o, e)| batch(*o, *e)).collect();
        let leader = FollowedLeader {
            epoch: 0,
            high_watermark: 0,
        };
        check_follows(&check(&bytes).unwrap().0, end, epoch, leader)
    }

    #[test]
    fn a_cut_answer_is_taken_as_far_as_it_is_whole() {
        let (first, second) = (batch(7, 1), batch(8, 1));
        let both = [first.clone(), second].concat();
        for cut in 0..=both.len() {
            let (headers, whole) = check(&both[..cut]).unwrap();
            let expected = cut / first.len();
            assert_eq!((headers.len(), whole), (expected, expected * first.len()));
        }
    }

    #[test]
    fn damage_is_refused_and_its_offset_named() {
        let good = batch(7, 1);
        for at in 0..good.len() {
            let mut bad = batch(8, 1);
            bad[at] ^= 0x40;
            let bytes = [good.clone(), bad].concat();
            let checked = check(&bytes);
            match at {
                // The base offset and the epoch are not in the CRC: whether they follow is seen later.
                // A length that is greater than what came is a cut answer.
                0..=7 | 12..=15 => assert_eq!(checked.unwrap().0.len(), 2, "byte {at}"),
                9..=11 => assert_eq!(checked.unwrap().0.len(), 1, "byte {at}"),
                _ => {
                    let error = checked.unwrap_err().to_string();
                    assert!(error.contains("offset 8"), "byte {at}: {error}");
                }
            }
        }
    }

    #[test]
    fn batches_follow_one_another_without_gaps() {
        assert!(follows(&[(5, 1), (6, 1), (7, 3)], 5, Some(1)).is_ok());
        assert!(follows(&[], 5, None).is_ok());
        assert!(follows(&[(5, 0)], 5, None).is_ok());
        for (batches, expected, found) in [
            (&[(4, 1)][..], 5, 4),
            (&[(6, 1)], 5, 6),
            (&[(5, 1), (5, 1)], 6, 5),
            (&[(5, 1), (7, 1)], 6, 7),
        ] {
            let refused = follows(batches, 5, Some(1)).unwrap_err();
            assert!(
                matches!(refused, AppendError::NotNext { expected: e, found: f } if (e, f) == (expected, found)),
                "{refused}"
            );
        }
    }

    #[test]
    fn below_the_high_watermark_are_gaps_and_nothing_goes_back() {
        let follows = |batches: &[(i64, i32)], leader_high_watermark| {
            let bytes: Vec<u8> = batches.iter().flat_map(|(o, e)| batch(*o, *e)).collect();
            let leader = FollowedLeader {
                epoch: 1,
                high_watermark: leader_high_watermark,
            };
            check_follows(&check(&bytes).unwrap().0, 5, Some(1), leader)
        };
        assert!(follows(&[(5, 1), (7, 1), (90, 2)], 91).is_ok());
        assert!(follows(&[(5, 1), (7, 1), (8, 2)], 8).is_ok());
        assert!(follows(&[(6, 1)], 7).is_ok());
        for (batches, leader_high_watermark) in [
            (&[(4, 1)][..], 100),
            (&[(7, 1), (7, 1)], 100),
            (&[(7, 1), (6, 1)], 100),
            (&[(6, 1)], 6),
            (&[(5, 1), (7, 1)], 7),
            (&[(7, 1), (9, 1)], 8),
        ] {
            let refused = follows(batches, leader_high_watermark).unwrap_err();
            assert!(matches!(refused, AppendError::NotNext { .. }), "{refused}");
        }
    }

    /// A leader that was started again knows the high watermark as it was some seconds before.
    #[test]
    fn gaps_in_what_earlier_epochs_wrote_are_taken_above_the_high_watermark_too() {
        let bytes = [batch(5, 1), batch(9, 1), batch(12, 2)].concat();
        let (headers, _) = check(&bytes).unwrap();
        let leader = |epoch| FollowedLeader {
            epoch,
            high_watermark: 7,
        };
        assert!(check_follows(&headers, 5, Some(1), leader(3)).is_ok());
        assert!(check_follows(&headers[..2], 5, Some(1), leader(2)).is_ok());
        let refused = check_follows(&headers, 5, Some(1), leader(2)).unwrap_err();
        assert!(
            matches!(
                refused,
                AppendError::NotNext {
                    expected: 10,
                    found: 12
                }
            ),
            "{refused}"
        );
    }

    #[test]
    fn epochs_never_fall() {
        for (batches, known) in [(&[(5, 1)][..], Some(2)), (&[(5, 3), (6, 2)], Some(2))] {
            let refused = follows(batches, 5, known).unwrap_err();
            assert!(
                matches!(refused, AppendError::StaleLeaderEpoch { .. }),
                "{refused}"
            );
        }
    }

    #[test]
    fn the_last_offset_there_is_stays_free() {
        let mut last = batch(0, 0);
        assign(&mut last, i64::MAX - 1, 0);
        assert!(check(&last).is_err());
        assign(&mut last, i64::MAX - 2, 0);
        assert!(check(&last).is_ok());
    }
}
