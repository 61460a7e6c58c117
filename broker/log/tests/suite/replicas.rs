//! Random lives of two replicas that lead in turn: whoever follows becomes the same log.

use std::fs;
use std::sync::Arc;

use foz_log::{LogConfig, LogDirectory, PartitionLog};
use proptest::prelude::*;

use crate::support::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        producer: i64,
        /// Bytes of each record.
        lengths: Vec<usize>,
    },
    /// With at most so many bytes.
    Fetch {
        bytes: usize,
    },
    /// The other one leads from now on, whatever it has.
    Switch,
    Flush {
        replica: usize,
    },
    Checkpoint {
        replica: usize,
    },
    Stop {
        replica: usize,
    },
    Kill {
        replica: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..4_i64, proptest::collection::vec(0..40_usize, 1..4))
            .prop_map(|(producer, lengths)| Step::Append { producer, lengths }),
        8 => (1..900_usize).prop_map(|bytes| Step::Fetch { bytes }),
        2 => Just(Step::Switch),
        1 => (0..2_usize).prop_map(|replica| Step::Flush { replica }),
        1 => (0..2_usize).prop_map(|replica| Step::Checkpoint { replica }),
        1 => (0..2_usize).prop_map(|replica| Step::Stop { replica }),
        2 => (0..2_usize).prop_map(|replica| Step::Kill { replica }),
    ]
}

struct Replica {
    world: World,
    open: Option<(LogDirectory, Arc<PartitionLog>)>,
    /// What it should hold: base offset, epoch, producer, sequence, records.
    batches: Vec<(i64, i32, i64, i32, i64)>,
}

impl Replica {
    fn new(config: &LogConfig) -> Self {
        let world = World::new(config.clone());
        let open = Some(world.log());
        Self {
            world,
            open,
            batches: Vec::new(),
        }
    }

    fn log(&self) -> &PartitionLog {
        &self.open.as_ref().unwrap().1
    }

    fn directory(&self) -> &LogDirectory {
        &self.open.as_ref().unwrap().0
    }

    fn stop(&mut self) {
        let (directory, log) = self.open.take().unwrap();
        World::stop(directory, log);
    }

    fn check(&self) {
        let log = self.log();
        let end = self.batches.last().map_or(0, |last| last.0 + last.4);
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, end));
        assert!(log.flushed_offset() <= end && log.high_watermark() <= end);
        for (base, epoch, ..) in &self.batches {
            assert_eq!(log.leader_epoch_at(*base), Some(*epoch), "at {base}");
        }
    }
}

struct Pair {
    replicas: [Replica; 2],
    leader: usize,
    epoch: i32,
}

impl Pair {
    fn take(&mut self, step: Step) {
        match step {
            Step::Append { producer, lengths } => self.append(producer, &lengths),
            Step::Fetch { bytes } => self.fetch(bytes),
            Step::Switch => {
                self.leader = 1 - self.leader;
                self.epoch += 1;
                self.leader().log().assign_leader_epoch(self.epoch, NOW_MS);
            }
            Step::Flush { replica } => {
                self.replicas[replica].log().flush().unwrap();
            }
            Step::Checkpoint { replica } => {
                self.replicas[replica].directory().checkpoint().unwrap()
            }
            Step::Stop { replica } => {
                let it = &mut self.replicas[replica];
                it.stop();
                it.open = Some(it.world.log());
                self.lead_again(replica);
            }
            Step::Kill { replica } => {
                let it = &mut self.replicas[replica];
                it.open = None;
                it.open = Some(it.world.log());
                self.lead_again(replica);
            }
        }
        self.replicas.iter().for_each(Replica::check);
    }

    fn leader(&self) -> &Replica {
        &self.replicas[self.leader]
    }

    /// A leader that restarts leads in a new epoch.
    fn lead_again(&mut self, replica: usize) {
        if replica == self.leader {
            self.epoch += 1;
            self.leader().log().assign_leader_epoch(self.epoch, NOW_MS);
        }
    }

    fn append(&mut self, producer: i64, lengths: &[usize]) {
        let epoch = self.epoch;
        let leader = &mut self.replicas[self.leader];
        let last = leader.batches.iter().rfind(|batch| batch.2 == producer);
        let sequence = last.map_or(0, |batch| batch.3 + batch.4 as i32);
        let values: Vec<&[u8]> = lengths
            .iter()
            .map(|length| &[b'x'; 40][..*length])
            .collect();
        let mut bytes = if producer == 0 {
            batch(&values)
        } else {
            idempotent(producer, 0, sequence, &values)
        };
        let appended = leader.log().append_as_leader(&mut bytes, epoch, NOW_MS);
        let base = appended.unwrap().first_offset;
        let records = values.len() as i64;
        leader
            .batches
            .push((base, epoch, producer, sequence, records));
    }

    /// One round of a follower, as KIP-595 has it.
    fn fetch(&mut self, bytes: usize) {
        let follower = 1 - self.leader;
        let (leader, follower) = (&self.replicas[self.leader], &self.replicas[follower]);
        let (from, to) = (leader.log(), follower.log());
        let offset = to.log_end_offset();
        let last_epoch = to.latest_epoch().unwrap_or(-1);
        if let Some(parted) = from.divergence(last_epoch, offset) {
            let local = to.end_offset_for_epoch(parted.epoch);
            let end = local.map_or(0, |(_, end)| end).min(parted.end_offset);
            let (directory, log) = follower.open.as_ref().unwrap();
            directory.truncate(log, end, NOW_MS).unwrap();
            let end = log.log_end_offset();
            self.replicas[1 - self.leader]
                .batches
                .retain(|batch| batch.0 < end);
            return;
        }
        let read = from.read(offset, 1 << 20, i64::MAX, true).unwrap();
        let cut = bytes.min(read.len());
        to.append_as_follower(&read[..cut], LEADER, NOW_MS).unwrap();
        let end = to.log_end_offset();
        let taken: Vec<_> = leader
            .batches
            .iter()
            .filter(|batch| (offset..end).contains(&batch.0))
            .copied()
            .collect();
        self.replicas[1 - self.leader].batches.extend(taken);
    }

    fn catch_up(&mut self) {
        for _ in 0..10_000 {
            let follower = self.replicas[1 - self.leader].log();
            let leader = self.leader().log();
            let offset = follower.log_end_offset();
            let epoch = follower.latest_epoch().unwrap_or(-1);
            if offset == leader.log_end_offset() && leader.divergence(epoch, offset).is_none() {
                return;
            }
            self.fetch(usize::MAX);
        }
        panic!("they never agree");
    }

    /// What the producers sent last is known to both, and both would refuse a gap.
    fn check_producers(&self) {
        for producer in 1..4 {
            let last = self.leader().batches.iter().rfind(|b| b.2 == producer);
            let Some((base, _, _, sequence, records)) = last.copied() else {
                continue;
            };
            let values = vec![&b""[..]; records as usize];
            for replica in &self.replicas {
                let log = replica.log();
                let mut again = idempotent(producer, 0, sequence, &values);
                let appended = log
                    .append_as_leader(&mut again, self.epoch, NOW_MS)
                    .unwrap();
                assert_eq!((appended.duplicate, appended.first_offset), (true, base));
                let mut gap = idempotent(producer, 0, sequence + records as i32 + 1, &[b"x"]);
                assert!(log.append_as_leader(&mut gap, self.epoch, NOW_MS).is_err());
            }
        }
    }

    /// The end of both lives: the same on disk.
    fn compare_files(mut self) {
        let end = self.leader().log().log_end_offset();
        self.replicas.iter_mut().for_each(Replica::stop);
        let [one, other] = &self.replicas;
        let whole_log = |replica: &Replica| -> Vec<u8> {
            let dir = replica.world.partition_dir();
            let logs = files(&dir, ".log").into_iter();
            logs.flat_map(|name| fs::read(dir.join(name)).unwrap())
                .collect()
        };
        assert!(whole_log(one) == whole_log(other), "the bytes are the same");
        for name in [
            format!("{end:020}.snapshot"),
            "leader-epoch-checkpoint".into(),
        ] {
            let read = |replica: &Replica| fs::read(replica.world.partition_dir().join(&name)).ok();
            assert_eq!(read(one), read(other), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn who_follows_becomes_the_same_log(
        steps in proptest::collection::vec(step(), 1..80),
        segment_bytes in 200_u64..2000,
        flush_before_acknowledge in any::<bool>(),
    ) {
        let config = LogConfig {
            flush_before_acknowledge,
            retention_ms: None,
            ..small_segments(segment_bytes)
        };
        let mut pair = Pair {
            replicas: [Replica::new(&config), Replica::new(&config)],
            leader: 0,
            epoch: 0,
        };
        for step in steps {
            pair.take(step);
        }
        // So that the last epoch has a record, which is how followers hear of it.
        pair.append(0, &[4]);
        pair.catch_up();
        pair.replicas.iter().for_each(Replica::check);
        pair.check_producers();
        pair.compare_files();
    }
}
