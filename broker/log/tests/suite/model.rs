//! Random lives of a log against a list of records.

use std::sync::Arc;

use foz_log::{Appended, LogConfig, LogDirectory, PageCache, PartitionLog};
use proptest::prelude::*;

use crate::support::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        values: Vec<Vec<u8>>,
        producer: i64,
    },
    Repeat,
    Flush,
    FlushClosed,
    Commit,
    Checkpoint,
    Stop,
    Kill,
    KillInWrite {
        written: f64,
        allocated: usize,
    },
    PowerLoss {
        garbage: Vec<u8>,
    },
    Retain {
        bytes: u64,
    },
    Truncate {
        back: i64,
        kill: bool,
    },
    DeleteRecords {
        back: i64,
    },
    Reset {
        offset: i64,
        kill: bool,
    },
    NextEpoch,
    CloseIdle,
    /// What a kill left unchecked.
    Check {
        bytes: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let value = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        10 => (proptest::collection::vec(value, 1..4), 0..3_i64)
            .prop_map(|(values, producer)| Step::Append { values, producer }),
        2 => Just(Step::Repeat),
        2 => Just(Step::Flush),
        2 => Just(Step::FlushClosed),
        2 => Just(Step::Commit),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
        1 => (0.0..1.0_f64, 0..200_usize)
            .prop_map(|(written, allocated)| Step::KillInWrite { written, allocated }),
        1 => proptest::collection::vec(any::<u8>(), 1..80)
            .prop_map(|garbage| Step::PowerLoss { garbage }),
        1 => (0..2000_u64).prop_map(|bytes| Step::Retain { bytes }),
        3 => (0..9_i64, any::<bool>()).prop_map(|(back, kill)| Step::Truncate { back, kill }),
        1 => (0..9_i64).prop_map(|back| Step::DeleteRecords { back }),
        1 => (0..60_i64, any::<bool>()).prop_map(|(offset, kill)| Step::Reset { offset, kill }),
        2 => Just(Step::NextEpoch),
        1 => Just(Step::CloseIdle),
        3 => (0..500_u64).prop_map(|bytes| Step::Check { bytes }),
    ]
}

#[derive(Debug, Clone)]
struct Batch {
    first_offset: i64,
    epoch: i32,
    producer: i64,
    sequence: i32,
    values: Vec<Vec<u8>>,
}

/// What the log should hold.
#[derive(Default)]
struct Model {
    /// Also those that retention removed: producers are known by them.
    batches: Vec<Batch>,
    start: i64,
    end: i64,
    epoch: i32,
}

impl Batch {
    fn bytes(&self) -> Vec<u8> {
        let values: Vec<&[u8]> = self.values.iter().map(Vec::as_slice).collect();
        idempotent(self.producer, 0, self.sequence, &values)
    }
}

impl Model {
    fn next_sequence(&self, producer: i64) -> i32 {
        let last = self
            .batches
            .iter()
            .rfind(|batch| batch.producer == producer);
        last.map_or(0, |batch| batch.sequence + batch.values.len() as i32)
    }
}

struct Life {
    world: World,
    open: Option<(LogDirectory, Arc<PartitionLog>)>,
    model: Model,
}

impl Life {
    fn log(&self) -> &Arc<PartitionLog> {
        &self.open.as_ref().unwrap().1
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Append { values, producer } => self.append(values, producer),
            Step::Repeat => {
                if let Some(batch) = self.model.batches.last() {
                    let again = self.append_to_log(batch);
                    assert_eq!(
                        (again.duplicate, again.first_offset),
                        (true, batch.first_offset)
                    );
                }
            }
            Step::Flush => assert_eq!(self.log().flush().unwrap(), self.model.end),
            Step::FlushClosed => {
                let flushed = self.log().flush_backlog().unwrap();
                assert_eq!(flushed, self.log().flushed_offset());
                assert!(!self.log().has_backlog());
            }
            Step::Commit => {
                self.log().set_high_watermark(self.model.end);
            }
            Step::Checkpoint => self.open.as_ref().unwrap().0.checkpoint().unwrap(),
            Step::Stop => {
                let (directory, log) = self.open.take().unwrap();
                World::stop(directory, log);
                self.open = Some(self.world.log());
            }
            Step::Kill => self.kill(),
            Step::KillInWrite { written, allocated } => self.kill_in_write(written, allocated),
            Step::PowerLoss { garbage } => self.lose_power(&garbage),
            Step::Retain { bytes } => self.retain(bytes),
            Step::Truncate { back, kill } => self.truncate(self.model.end - back, kill),
            Step::DeleteRecords { back } => self.delete_records(self.model.end - back),
            Step::Reset { offset, kill } => self.reset(offset, kill),
            Step::NextEpoch => self.model.epoch += 1,
            Step::CloseIdle => {
                self.world.handles.close_idle();
            }
            Step::Check { bytes } => {
                let before = self.log().has_unchecked_batches();
                let checked = self.log().check_next(bytes).unwrap();
                assert!(before || checked.is_done);
            }
        }
        self.check();
    }

    fn append(&mut self, values: Vec<Vec<u8>>, producer: i64) {
        let sequence = self.model.next_sequence(producer);
        let batch = Batch {
            first_offset: self.model.end,
            epoch: self.model.epoch,
            producer,
            sequence,
            values,
        };
        let appended = self.append_to_log(&batch);
        assert_eq!(
            (appended.first_offset, appended.duplicate),
            (self.model.end, false)
        );
        self.model.end += batch.values.len() as i64;
        self.model.batches.push(batch);
    }

    fn append_to_log(&self, batch: &Batch) -> Appended {
        self.log()
            .append_as_leader(&mut batch.bytes(), self.model.epoch, NOW_MS)
            .unwrap()
    }

    fn kill(&mut self) {
        self.open = None;
        let (directory, report) = self.world.open_after(PageCache::Survived);
        assert!(
            report.offline.is_empty() && report.lost.is_empty(),
            "{report:?}"
        );
        let log = directory.get(&partition()).unwrap();
        self.open = Some((directory, log));
    }

    /// One write was under way: its first bytes are there, and perhaps space that was allocated.
    fn kill_in_write(&mut self, written: f64, allocated: usize) {
        let mut bytes = batch(&[b"one", b"two"]);
        foz_protocol::batch::assign(&mut bytes, self.model.end, self.model.epoch);
        // Its last byte is a zero, as what is allocated: all that matters comes before.
        bytes.truncate(((bytes.len() - 1) as f64 * written) as usize);
        bytes.resize(bytes.len() + allocated, 0);
        self.append_to_file(&bytes);
        self.kill();
    }

    /// Of what was written last there is anything.
    fn lose_power(&mut self, garbage: &[u8]) {
        self.append_to_file(garbage);
        self.open = None;
        self.open = Some(self.world.log());
    }

    /// Behind what is in the log.
    fn append_to_file(&self, bytes: &[u8]) {
        let last = files(&self.world.partition_dir(), ".log").pop().unwrap();
        let path = self.world.partition_dir().join(last);
        let before = std::fs::read(&path).unwrap();
        let length = foz_protocol::batch::Batches::new(&before)
            .map_while(|batch| Some(batch.ok()?.1.len()))
            .sum();
        std::fs::write(&path, [&before[..length], bytes].concat()).unwrap();
    }

    fn retain(&mut self, bytes: u64) {
        self.log().set_high_watermark(self.model.end);
        let config = LogConfig {
            retention_bytes: Some(bytes),
            ..self.world.config.clone()
        };
        self.log().set_config(config);
        self.log().apply_retention(NOW_MS).unwrap();
        self.log().set_config(self.world.config.clone());
        self.model.start = self.log().log_start_offset();
        assert!(self.model.start <= self.model.end);
    }

    fn truncate(&mut self, offset: i64, kill: bool) {
        let (directory, log) = self.open.as_ref().unwrap();
        directory.truncate(log, offset, NOW_MS).unwrap();
        let offset = offset.max(self.model.start);
        let holds = |batch: &Batch| batch.first_offset + batch.values.len() as i64 > offset;
        if let Some(at) = self.model.batches.iter().position(holds) {
            let end = self.model.batches[at].first_offset;
            self.model.batches.truncate(at);
            self.model.end = end.max(self.model.start);
            if end < self.model.start {
                // The log began within that batch: it begins anew.
                self.model.batches.clear();
            }
        }
        if kill {
            self.kill();
        }
    }

    fn delete_records(&mut self, before: i64) {
        let (directory, log) = self.open.as_ref().unwrap();
        log.set_high_watermark(self.model.end);
        log.advance_log_start_offset(before.max(0)).unwrap();
        directory.checkpoint().unwrap();
        self.model.start = self.model.start.max(before);
    }

    fn reset(&mut self, offset: i64, kill: bool) {
        let (directory, log) = self.open.as_ref().unwrap();
        directory.reset(log, offset, NOW_MS).unwrap();
        self.model.batches.clear();
        (self.model.start, self.model.end) = (offset, offset);
        if kill {
            self.kill();
        }
    }

    fn check(&self) {
        let (log, model) = (self.log(), &self.model);
        assert_eq!(
            (log.log_start_offset(), log.log_end_offset()),
            (model.start, model.end)
        );
        assert!(log.flushed_offset() <= model.end);
        assert!((model.start..=model.end).contains(&log.high_watermark()));
        for batch in model
            .batches
            .iter()
            .filter(|b| b.first_offset >= model.start)
        {
            assert_eq!(log.leader_epoch_at(batch.first_offset), Some(batch.epoch));
        }
        let expected: Vec<_> = model
            .batches
            .iter()
            .flat_map(|batch| (batch.first_offset..).zip(batch.values.iter().cloned()))
            .filter(|(offset, _)| *offset >= model.start)
            .collect();
        assert_eq!(read_from(log, model.start), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_log_holds_what_was_appended_whatever_happens(
        steps in proptest::collection::vec(step(), 1..40),
        segment_bytes in 200_u64..2000,
        flush_before_acknowledge in any::<bool>(),
    ) {
        let world = World::new(LogConfig {
            flush_before_acknowledge,
            retention_ms: None,
            ..small_segments(segment_bytes)
        });
        let open = Some(world.log());
        let mut life = Life { world, open, model: Model::default() };
        life.check();
        for step in steps {
            life.take(step);
        }
    }
}
