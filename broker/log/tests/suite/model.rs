//! Random lives of a log against a list of records.

use std::sync::Arc;

use foz_log::{LogConfig, LogDirectory, PartitionLog};
use proptest::prelude::*;

use crate::support::*;

#[derive(Debug, Clone)]
enum Step {
    Append { values: Vec<Vec<u8>>, producer: i64 },
    Repeat,
    Flush,
    Checkpoint,
    Stop,
    Kill,
    KillTorn { garbage: Vec<u8> },
    Retain { bytes: u64 },
    Truncate { back: i64 },
    CloseIdle,
}

fn step() -> impl Strategy<Value = Step> {
    let value = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        10 => (proptest::collection::vec(value, 1..4), 0..3_i64)
            .prop_map(|(values, producer)| Step::Append { values, producer }),
        2 => Just(Step::Repeat),
        2 => Just(Step::Flush),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
        1 => proptest::collection::vec(any::<u8>(), 1..80)
            .prop_map(|garbage| Step::KillTorn { garbage }),
        1 => (0..2000_u64).prop_map(|bytes| Step::Retain { bytes }),
        1 => (0..5_i64).prop_map(|back| Step::Truncate { back }),
        1 => Just(Step::CloseIdle),
    ]
}

#[derive(Debug, Clone)]
struct Batch {
    first_offset: i64,
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
                    let again = append(self.log(), batch.bytes());
                    assert_eq!(
                        (again.duplicate, again.first_offset),
                        (true, batch.first_offset)
                    );
                }
            }
            Step::Flush => assert_eq!(self.log().flush().unwrap(), self.model.end),
            Step::Checkpoint => self.open.as_ref().unwrap().0.checkpoint().unwrap(),
            Step::Stop => {
                let (directory, log) = self.open.take().unwrap();
                World::stop(directory, log);
                self.open = Some(self.world.log());
            }
            Step::Kill => {
                self.open = None;
                self.open = Some(self.world.log());
            }
            Step::KillTorn { garbage } => self.kill_torn(&garbage),
            Step::Retain { bytes } => self.retain(bytes),
            Step::Truncate { back } => self.truncate(back),
            Step::CloseIdle => {
                self.world.handles.close_idle();
            }
        }
        self.check();
    }

    fn append(&mut self, values: Vec<Vec<u8>>, producer: i64) {
        let sequence = self.model.next_sequence(producer);
        let batch = Batch {
            first_offset: self.model.end,
            producer,
            sequence,
            values,
        };
        let appended = append(self.log(), batch.bytes());
        assert_eq!(
            (appended.first_offset, appended.duplicate),
            (self.model.end, false)
        );
        self.model.end += batch.values.len() as i64;
        self.model.batches.push(batch);
    }

    fn kill_torn(&mut self, garbage: &[u8]) {
        self.open = None;
        let last = files(&self.world.partition_dir(), ".log").pop().unwrap();
        let path = self.world.partition_dir().join(last);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(garbage);
        std::fs::write(&path, bytes).unwrap();
        self.open = Some(self.world.log());
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

    fn truncate(&mut self, back: i64) {
        let at = self.model.batches.len().saturating_sub(back as usize);
        let Some(first) = self.model.batches.get(at) else {
            return;
        };
        if first.first_offset < self.model.start {
            return;
        }
        let (directory, log) = self.open.as_ref().unwrap();
        directory.truncate(log, first.first_offset, NOW_MS).unwrap();
        self.model.end = first.first_offset;
        self.model.batches.truncate(at);
    }

    fn check(&self) {
        let (log, model) = (self.log(), &self.model);
        assert_eq!(
            (log.log_start_offset(), log.log_end_offset()),
            (model.start, model.end)
        );
        assert!(log.flushed_offset() <= model.end);
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
