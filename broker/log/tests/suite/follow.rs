use std::fs;
use std::sync::Arc;

use foz_log::{AppendError, EpochEnd, Finding, LogConfig, LogDirectory, PartitionLog};
use foz_protocol::error::ErrorCode;

use crate::support::*;

struct Replica {
    world: World,
    directory: LogDirectory,
    log: Arc<PartitionLog>,
}

impl Replica {
    fn new(config: LogConfig) -> Self {
        let world = World::new(config);
        let (directory, log) = world.log();
        Self {
            world,
            directory,
            log,
        }
    }

    fn append(&self, epoch: i32, mut bytes: Vec<u8>) {
        self.log
            .append_as_leader(&mut bytes, epoch, NOW_MS)
            .unwrap();
    }

    fn append_numbers(&self, epoch: i32, count: i64) {
        for _ in 0..count {
            let value = self.log.log_end_offset().to_string();
            self.append(epoch, batch(&[value.as_bytes()]));
        }
    }

    /// What a follower whose log ends at `offset` gets.
    fn answer(&self, offset: i64) -> Vec<u8> {
        self.log.read(offset, 400, i64::MAX, true).unwrap().to_vec()
    }

    fn follow(&self, leader: &Self) {
        while self.log.log_end_offset() < leader.log.log_end_offset() {
            let bytes = leader.answer(self.log.log_end_offset());
            self.log.append_as_follower(&bytes, LEADER, NOW_MS).unwrap();
        }
    }

    fn refused(&self, bytes: &[u8]) -> AppendError {
        let before = (self.log.log_end_offset(), self.log.size_bytes());
        let error = self
            .log
            .append_as_follower(bytes, LEADER, NOW_MS)
            .unwrap_err();
        let after = (self.log.log_end_offset(), self.log.size_bytes());
        assert_eq!(before, after, "{error}");
        error
    }

    fn kill(self) -> Self {
        let Self {
            world,
            directory,
            log,
        } = self;
        drop((directory, log));
        let (directory, log) = world.log();
        Self {
            world,
            directory,
            log,
        }
    }
}

#[test]
fn a_follower_becomes_the_same_log() {
    let leader = Replica::new(small_segments(500));
    for n in 0..30 {
        leader.append(n / 10, idempotent(7, 0, n, &[n.to_string().as_bytes()]));
    }
    let follower = Replica::new(small_segments(500));
    follower.follow(&leader);
    assert_numbers(&follower.log, 0, 30);
    assert_eq!(follower.log.latest_epoch(), Some(2));
    for epoch in 0..3 {
        let end = follower.log.end_offset_for_epoch(epoch);
        assert_eq!(end, leader.log.end_offset_for_epoch(epoch));
    }
    assert!(follower.log.segment_count() > 2);
    assert_eq!(follower.log.flushed_offset(), 0);
    World::stop(leader.directory, leader.log);
    let Replica {
        world,
        directory,
        log,
    } = follower;
    World::stop(directory, log);
    let names = files(&leader.world.partition_dir(), "");
    assert_eq!(files(&world.partition_dir(), ""), names);
    for name in names {
        let read = |world: &World| fs::read(world.partition_dir().join(&name)).unwrap();
        assert!(read(&leader.world) == read(&world), "{name}");
    }
    // When it leads it knows what the producer sent.
    let (_directory, log) = world.log();
    let mut again = idempotent(7, 0, 29, &[b"29"]);
    assert!(
        log.append_as_leader(&mut again, 3, NOW_MS)
            .unwrap()
            .duplicate
    );
}

#[test]
fn an_answer_larger_than_a_segment_is_spread_over_several() {
    let leader = Replica::new(LogConfig::default());
    leader.append_numbers(0, 40);
    let follower = Replica::new(small_segments(250));
    let bytes = leader.log.read(0, 1 << 20, i64::MAX, true).unwrap();
    let appended = follower
        .log
        .append_as_follower(&bytes, LEADER, NOW_MS)
        .unwrap();
    assert_eq!(
        (appended.first_offset, appended.last_offset, appended.rolled),
        (0, 39, true)
    );
    assert!(follower.log.segment_count() > 10);
    assert_numbers(&follower.log, 0, 40);
    let follower = follower.kill();
    assert_numbers(&follower.log, 0, 40);
}

#[test]
fn a_cut_answer_is_taken_as_far_as_it_is_whole() {
    let leader = Replica::new(LogConfig::default());
    leader.append_numbers(0, 3);
    let bytes = leader.log.read(0, 1 << 20, i64::MAX, true).unwrap();
    let follower = Replica::new(LogConfig::default());
    let third = bytes.len() / 3;
    let taken = |from: usize, to: usize| {
        let appended = follower
            .log
            .append_as_follower(&bytes[from..to], LEADER, NOW_MS)
            .unwrap();
        (appended.first_offset, appended.last_offset)
    };
    assert_eq!(taken(0, 0), (0, -1));
    assert_eq!(taken(0, third - 1), (0, -1));
    assert_eq!(taken(0, 2 * third - 1), (0, 0));
    assert_eq!(taken(third, third), (1, 0));
    assert_eq!(taken(third, 3 * third), (1, 2));
    assert_numbers(&follower.log, 0, 3);
}

#[test]
fn what_does_not_follow_is_refused() {
    let leader = Replica::new(LogConfig::default());
    leader.append_numbers(4, 6);
    let follower = Replica::new(LogConfig::default());
    follower
        .log
        .append_as_follower(&leader.answer(0), LEADER, NOW_MS)
        .unwrap();
    let end = follower.log.log_end_offset();
    assert!((2..6).contains(&end), "{end}");
    for from in [0, end - 1] {
        let error = follower.refused(&leader.answer(from));
        assert!(
            matches!(error, AppendError::NotNext { expected, found } if (expected, found) == (end, from)),
            "{error}"
        );
    }
    let mut damaged = leader.answer(end);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let error = follower.refused(&damaged);
    assert_eq!(error.error_code(), ErrorCode::CorruptMessage);
    assert!(
        error.to_string().contains("offset 5 is damaged: CRC-32C"),
        "{error}"
    );

    let older = Replica::new(LogConfig::default());
    older.append_numbers(3, 6);
    let error = follower.refused(&older.answer(end));
    assert!(
        matches!(
            error,
            AppendError::StaleLeaderEpoch {
                current: 4,
                found: 3
            }
        ),
        "{error}"
    );
    follower.follow(&leader);
    assert_numbers(&follower.log, 0, 6);
}

#[test]
fn a_follower_that_parted_is_truncated_and_agrees_again() {
    let leader = Replica::new(small_segments(300));
    leader.append_numbers(1, 10);
    let follower = Replica::new(small_segments(300));
    follower.follow(&leader);
    // It led in epoch 2, alone; the other one leads in epoch 3.
    follower.log.assign_leader_epoch(2, NOW_MS);
    for n in 10..14 {
        follower.append(2, batch(&[format!("other {n}").as_bytes()]));
    }
    leader.log.assign_leader_epoch(3, NOW_MS);
    leader.append_numbers(3, 8);

    let parted = leader.log.divergence(2, 14).unwrap();
    assert_eq!(
        parted,
        EpochEnd {
            epoch: 1,
            end_offset: 10
        }
    );
    let (_, local_end) = follower.log.end_offset_for_epoch(1).unwrap();
    let to = local_end.min(parted.end_offset);
    follower
        .directory
        .truncate(&follower.log, to, NOW_MS)
        .unwrap();
    assert_eq!(follower.log.latest_epoch(), Some(1));
    assert_eq!(leader.log.divergence(1, 10), None);
    follower.follow(&leader);
    assert_numbers(&follower.log, 0, 18);
    assert_eq!(follower.log.end_offset_for_epoch(1), Some((1, 10)));
    let follower = follower.kill();
    assert_eq!(follower.log.end_offset_for_epoch(1), Some((1, 10)));
    assert_numbers(&follower.log, 0, 18);
}

/// Otherwise it would say with each fetch that it is at an epoch of which the leader knows nothing, and be
/// told to truncate for ever.
#[test]
fn a_leader_that_wrote_nothing_is_forgotten_by_a_truncation_to_the_end() {
    let leader = Replica::new(LogConfig::default());
    leader.append_numbers(1, 5);
    let follower = Replica::new(LogConfig::default());
    follower.follow(&leader);
    follower.log.assign_leader_epoch(2, NOW_MS);
    leader.append_numbers(1, 3);
    leader.append_numbers(3, 3);
    assert_eq!(follower.log.latest_epoch(), Some(2));
    let parted = leader.log.divergence(2, 5).unwrap();
    assert_eq!((parted.epoch, parted.end_offset), (1, 8));
    follower
        .directory
        .truncate(&follower.log, 5, NOW_MS)
        .unwrap();
    assert_eq!(follower.log.latest_epoch(), Some(1));
    assert_eq!(leader.log.divergence(1, 5), None);
    follower.follow(&leader);
    assert_numbers(&follower.log, 0, 11);
}

#[test]
fn epochs_of_what_was_cut_off_do_not_come_back_with_a_crash() {
    let leader = Replica::new(LogConfig::default());
    leader.append_numbers(1, 20);
    let follower = Replica::new(LogConfig::default());
    follower.follow(&leader);
    follower.append(2, batch(&[b"only here"]));
    // On disk: epoch 2 begins at 20.
    let world = {
        let Replica {
            world,
            directory,
            log,
        } = follower;
        World::stop(directory, log);
        world
    };
    let (directory, log) = world.log();
    let follower = Replica {
        world,
        directory,
        log,
    };
    follower
        .directory
        .truncate(&follower.log, 20, NOW_MS)
        .unwrap();
    leader.append_numbers(1, 5);
    follower.follow(&leader);
    let follower = follower.kill();
    assert_numbers(&follower.log, 0, 25);
    assert_eq!(follower.log.latest_epoch(), Some(1));
    assert_eq!(follower.log.end_offset_for_epoch(1), Some((1, 25)));
}

/// The second crash finds a recovery point behind the batches that tell where an epoch begins.
#[test]
fn epochs_survive_two_crashes() {
    let replica = Replica::new(small_segments(200));
    replica.append_numbers(0, 1);
    let Replica {
        world,
        directory,
        log,
    } = replica;
    World::stop(directory, log);
    let (directory, log) = world.log();
    let replica = Replica {
        world,
        directory,
        log,
    };
    replica.append_numbers(1, 4);
    assert!(replica.log.segment_count() > 1);
    let replica = replica.kill();
    replica.directory.checkpoint().unwrap();
    let replica = replica.kill();
    assert_eq!(replica.log.end_offset_for_epoch(0), Some((0, 1)));
}

/// A batch goes as a whole, so the log ends before the offset; what had been flushed ends there too.
#[test]
fn a_crash_after_a_truncation_within_a_batch_is_no_loss() {
    let replica = Replica::new(LogConfig::default());
    replica.append(0, batch(&[b"0", b"1"]));
    replica.append(0, batch(&[b"2", b"3", b"4"]));
    replica.log.flush().unwrap();
    replica.directory.checkpoint().unwrap();
    replica.directory.truncate(&replica.log, 3, NOW_MS).unwrap();
    let replica = replica.kill();
    assert_numbers(&replica.log, 0, 2);
}

#[test]
fn start_and_high_watermark_follow_the_leader() {
    let leader = Replica::new(LogConfig::default());
    leader.append_numbers(0, 10);
    let follower = Replica::new(LogConfig::default());
    follower.follow(&leader);
    assert_eq!(
        follower.log.set_high_watermark(99),
        10,
        "never above the end"
    );
    assert_eq!(follower.log.advance_log_start_offset_to(4), 4);
    assert_eq!(follower.log.advance_log_start_offset_to(3), 4);
    assert_eq!(follower.log.advance_log_start_offset_to(99), 10);
    assert_eq!(follower.log.set_high_watermark(5), 10);
}

#[test]
fn a_log_begins_anew_at_any_offset() {
    for offset in [0, 3, 7, 10, 25] {
        let replica = Replica::new(small_segments(250));
        for n in 0..10 {
            replica.append(n / 3, idempotent(7, 0, n, &[n.to_string().as_bytes()]));
        }
        replica.log.set_high_watermark(10);
        replica.log.advance_log_start_offset(4).unwrap();
        replica.log.flush().unwrap();
        replica.directory.checkpoint().unwrap();
        replica
            .directory
            .reset(&replica.log, offset, NOW_MS)
            .unwrap();
        let check = |replica: &Replica| {
            assert_numbers(&replica.log, offset, offset);
            assert_eq!(replica.log.high_watermark(), offset);
            assert_eq!(replica.log.flushed_offset(), offset);
            assert_eq!(replica.log.latest_epoch(), None);
            assert_eq!(
                (replica.log.producer_count(), replica.log.segment_count()),
                (0, 1)
            );
            let log = format!("{offset:020}.log");
            assert_eq!(
                files(&replica.world.partition_dir(), ""),
                [&log, "leader-epoch-checkpoint", "partition.metadata"]
            );
        };
        check(&replica);
        let replica = replica.kill();
        check(&replica);
        replica.append_numbers(9, 5);
        assert_numbers(&replica.log, offset, offset + 5);
        let replica = replica.kill();
        assert_numbers(&replica.log, offset, offset + 5);
        assert_eq!(replica.log.end_offset_for_epoch(9), Some((9, offset + 5)));
    }
}

/// The mark is what counts: with it the new log is there, without it the old one.
#[test]
fn a_reset_is_finished_after_a_crash_at_any_point() {
    for offset in [0, 3, 25] {
        for files_gone in (0..20).step_by(3) {
            for stopped_cleanly in [false, true] {
                let replica = Replica::new(small_segments(250));
                replica.append_numbers(2, 10);
                replica.log.set_high_watermark(10);
                replica.log.advance_log_start_offset(4).unwrap();
                replica.log.flush().unwrap();
                replica.directory.checkpoint().unwrap();
                let Replica {
                    world,
                    directory,
                    log,
                } = replica;
                if stopped_cleanly {
                    World::stop(directory, log);
                } else {
                    drop((directory, log));
                }
                let dir = world.partition_dir();
                let mark = dir.join("reset-offset-checkpoint");
                fs::write(&mark, format!("0\n1\n{offset}\n")).unwrap();
                let mut names = files(&dir, "");
                names.retain(|name| name.starts_with('0'));
                for name in names.iter().take(files_gone) {
                    fs::remove_file(dir.join(name)).unwrap();
                }
                let (directory, report) = world.open();
                assert!(
                    matches!(&report.findings[..], [(_, Finding::Reset { log_start_offset, .. })] if *log_start_offset == offset),
                    "{report:?}"
                );
                assert!(!mark.exists());
                drop(directory);
                let (directory, log) = world.log();
                assert_numbers(&log, offset, offset);
                assert_eq!(log.latest_epoch(), None);
                drop((directory, log));
                if files_gone > names.len() {
                    break;
                }
            }
        }
    }
}

/// DeleteRecords moves the start of the leader's log into a batch: a follower that begins there gets the
/// whole batch.
#[test]
fn a_follower_can_begin_within_a_batch() {
    let leader = Replica::new(LogConfig::default());
    leader.append(0, batch(&[b"0", b"1", b"2", b"3"]));
    leader.append_numbers(0, 2);
    leader.log.set_high_watermark(6);
    leader.log.advance_log_start_offset(2).unwrap();
    let follower = Replica::new(LogConfig::default());
    follower.directory.reset(&follower.log, 2, NOW_MS).unwrap();
    let bytes = leader.answer(2);
    let AppendError::NotNext {
        expected: 2,
        found: 0,
    } = follower.refused(&bytes)
    else {
        panic!("the batch begins at 0")
    };
    follower.directory.reset(&follower.log, 0, NOW_MS).unwrap();
    follower
        .log
        .append_as_follower(&bytes, LEADER, NOW_MS)
        .unwrap();
    follower.follow(&leader);
    follower.log.set_high_watermark(6);
    assert_eq!(follower.log.advance_log_start_offset_to(2), 2);
    assert_numbers(&follower.log, 2, 6);
    follower.directory.checkpoint().unwrap();
    let follower = follower.kill();
    assert_numbers(&follower.log, 2, 6);
}
