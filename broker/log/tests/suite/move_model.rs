//! Random lives of a log that moves from one directory to the other and back: it is the same wherever it is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use foz_log::{
    CompactionLimits, LogConfig, LogDirectory, LogMove, OpenReport, PageCache, PartitionLog,
};
use foz_protocol::batch::Batches;
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite, Records, record_bytes};
use proptest::prelude::*;

use crate::moves::{Disks, finish};
use crate::support::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        keys: Vec<(i64, bool)>,
    },
    NextEpoch,
    Cut {
        back: i64,
    },
    Reset {
        offset: i64,
    },
    DeleteRecords {
        back: i64,
    },
    Retain {
        bytes: u64,
    },
    Compact,
    Commit,
    Flush,
    FlushCopy,
    Checkpoint,
    Copy {
        bytes: usize,
    },
    Leave,
    GiveUp,
    Time {
        ms: i64,
    },
    Kill,
    /// A start without the other directory, in which the log is compacted this often.
    StartWithoutTarget {
        passes: i64,
    },
    LoseTail,
    Finish,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = proptest::collection::vec((0..9_i64, proptest::bool::weighted(0.8)), 1..4);
    prop_oneof![
        14 => keys.prop_map(|keys| Step::Append { keys }),
        2 => Just(Step::NextEpoch),
        2 => (0..12_i64).prop_map(|back| Step::Cut { back }),
        1 => (0..60_i64).prop_map(|offset| Step::Reset { offset }),
        2 => (0..20_i64).prop_map(|back| Step::DeleteRecords { back }),
        1 => (0..2000_u64).prop_map(|bytes| Step::Retain { bytes }),
        3 => Just(Step::Compact),
        3 => Just(Step::Commit),
        2 => Just(Step::Flush),
        1 => Just(Step::FlushCopy),
        2 => Just(Step::Checkpoint),
        9 => (1..600_usize).prop_map(|bytes| Step::Copy { bytes }),
        2 => Just(Step::Leave),
        1 => Just(Step::GiveUp),
        3 => (1..40_i64).prop_map(|ms| Step::Time { ms }),
        2 => Just(Step::Kill),
        1 => (0..4_i64).prop_map(|passes| Step::StartWithoutTarget { passes }),
        2 => Just(Step::LoseTail),
        2 => Just(Step::Finish),
    ]
}

/// Offset, key, value.
pub(crate) type Seen = (i64, i64, Option<Vec<u8>>);

/// One batch of a producer that writes once.
pub(crate) fn append_keyed(log: &PartitionLog, epoch: i32, producer: i64, keys: &[(i64, bool)]) {
    let mut batch = keyed(producer, keys);
    log.append_as_leader(&mut batch, epoch, NOW_MS).unwrap();
}

fn keyed(producer: i64, keys: &[(i64, bool)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None).idempotent(producer, 0, 0);
    for (key, is_value) in keys {
        let value = format!("of {producer}");
        builder.push(&RecordToWrite {
            timestamp_ms: NOW_MS,
            key: Some(&key.to_be_bytes()),
            value: is_value.then_some(value.as_bytes()),
            ..RecordToWrite::default()
        });
    }
    builder.build().unwrap()
}

fn batches(log: &PartitionLog) -> Vec<Vec<u8>> {
    let (mut offset, mut found) = (log.log_start_offset(), Vec::new());
    loop {
        let bytes = log.read(offset, 700, i64::MAX, true).unwrap();
        if bytes.is_empty() {
            return found;
        }
        for parsed in Batches::new(&bytes) {
            let (header, batch) = parsed.unwrap();
            header.check_crc(batch).unwrap();
            offset = header.next_offset();
            found.push(batch.to_vec());
        }
    }
}

pub(crate) fn records(log: &PartitionLog) -> Vec<Seen> {
    let start = log.log_start_offset();
    let mut seen = Vec::new();
    for batch in batches(log) {
        let (header, _) = Batches::new(&batch).next().unwrap().unwrap();
        let bytes = record_bytes(&header, &batch, 1 << 20).unwrap();
        for record in Records::new(&header, &bytes) {
            let record = record.unwrap();
            let key = i64::from_be_bytes(record.key.unwrap().try_into().unwrap());
            seen.push((
                record.offset(&header),
                key,
                record.value.map(<[u8]>::to_vec),
            ));
        }
    }
    seen.retain(|it| it.0 >= start);
    seen
}

/// Of each key that is not deleted the newest value.
fn table(records: &[Seen]) -> BTreeMap<i64, Vec<u8>> {
    let mut table = BTreeMap::new();
    for (_, key, value) in records {
        match value {
            Some(value) => drop(table.insert(*key, value.clone())),
            None => drop(table.remove(key)),
        }
    }
    table
}

struct Life {
    disks: Disks,
    directories: Vec<LogDirectory>,
    log: Arc<PartitionLog>,
    it: Option<LogMove>,
    now_ms: i64,
    /// Where the log is.
    place: usize,
    epoch: i32,
    producer: i64,
    /// Since the copy was begun: it may have more then.
    was_compacted: bool,
    /// Up to here, though a crash may have it forgotten.
    compacted_to: i64,
    moves: usize,
}

impl Life {
    fn new(config: LogConfig) -> Self {
        let disks = Disks::new(config);
        let (directories, _) = disks.open(PageCache::Lost);
        let log = directories[0].create(partition(), TOPIC_ID, disks.config.clone(), NOW_MS);
        Self {
            disks,
            directories,
            log: log.unwrap(),
            it: None,
            now_ms: NOW_MS,
            place: 0,
            epoch: 0,
            producer: 0,
            was_compacted: false,
            compacted_to: 0,
            moves: 0,
        }
    }

    fn source(&self) -> &LogDirectory {
        &self.directories[self.place]
    }

    fn target(&self) -> &LogDirectory {
        &self.directories[1 - self.place]
    }

    fn take(&mut self, step: Step) {
        let end = self.log.log_end_offset();
        match step {
            Step::Append { keys } => {
                append_keyed(&self.log, self.epoch, self.producer, &keys);
                self.producer += 1;
            }
            Step::NextEpoch => {
                self.epoch += 1;
                self.log.assign_leader_epoch(self.epoch, NOW_MS);
            }
            Step::Cut { back } => {
                // Records have gone for those before it: nobody cuts these off but after an unclean election, and then the
                // copy may have what the log has no more.
                let offset = (end - back).max(self.compacted_to);
                self.source().truncate(&self.log, offset, NOW_MS).unwrap();
                self.epoch += 1;
            }
            Step::Reset { offset } => {
                self.source().reset(&self.log, offset, NOW_MS).unwrap();
                self.compacted_to = 0;
                self.epoch += 1;
            }
            Step::DeleteRecords { back } => {
                self.log.set_high_watermark(end);
                let before = (end - back).max(0);
                self.log.advance_log_start_offset(before).unwrap();
            }
            Step::Retain { bytes } => self.retain(bytes),
            Step::Compact => self.compact(),
            Step::Commit => drop(self.log.set_high_watermark(end)),
            Step::Flush => drop(self.log.flush().unwrap()),
            Step::FlushCopy => {
                if let Some(it) = &self.it {
                    it.flush().unwrap();
                }
            }
            Step::Checkpoint => self
                .directories
                .iter()
                .for_each(|it| it.checkpoint().unwrap()),
            Step::Copy { bytes } => {
                self.begin();
                self.it
                    .as_ref()
                    .unwrap()
                    .copy(self.target(), bytes, NOW_MS)
                    .unwrap();
            }
            Step::Leave => self.it = None,
            Step::Time { ms } => self.now_ms += ms,
            Step::StartWithoutTarget { passes } => self.start_without_target(passes),
            Step::GiveUp => {
                self.it = None;
                self.target().give_up_future(&partition()).unwrap();
            }
            Step::Kill => self.kill(false),
            Step::LoseTail => self.kill(true),
            Step::Finish => self.finish(),
        }
    }

    fn begin(&mut self) {
        if self.it.is_none() {
            self.was_compacted &= self.target().future(&partition()).is_some();
            self.it = Some(self.target().begin_move(&self.log, NOW_MS).unwrap());
        }
    }

    fn retain(&mut self, bytes: u64) {
        self.log.set_high_watermark(self.log.log_end_offset());
        self.log.set_config(LogConfig {
            retention_bytes: Some(bytes),
            ..self.disks.config.clone()
        });
        self.log.apply_retention(NOW_MS).unwrap();
        self.log.set_config(self.disks.config.clone());
    }

    fn compact(&mut self) {
        if !self.disks.config.cleanup_compact {
            return;
        }
        self.log.flush().unwrap();
        let limits = CompactionLimits { map_bytes: 1 << 16 };
        let done = self
            .log
            .compact(limits, self.now_ms, &mut |_| ControlFlow::Continue(()));
        let done = done.unwrap();
        self.was_compacted |= done.segments_before > 0;
        self.compacted_to = self.compacted_to.max(done.compacted_offset);
    }

    /// The copy is where nobody can look, and what compaction takes meanwhile it does not hear of.
    fn start_without_target(&mut self, passes: i64) {
        self.it = None;
        self.directories.clear();
        let here = self.disks.paths().swap_remove(self.place);
        let (directory, report) = self.disks.open_one(&here, PageCache::Survived);
        assert!(report.offline.is_empty(), "{report:?}");
        self.log = directory.get(&partition()).unwrap();
        for n in 0..passes {
            let end = self.log.log_end_offset();
            append_keyed(&self.log, self.epoch, self.producer, &[(n, n % 2 == 0)]);
            self.producer += 1;
            self.log.set_high_watermark(end);
            self.now_ms += 20;
            self.compact();
        }
        directory.checkpoint().unwrap();
        drop(directory);
        self.kill(false);
    }

    /// With the power goes what was not flushed, as far as it is in the last segment.
    fn kill(&mut self, loses_tail: bool) {
        let copy = self.target_of_kill();
        let mut ends = vec![(
            self.log.directory().to_path_buf(),
            self.log.flushed_offset(),
        )];
        ends.extend(copy);
        self.it = None;
        self.directories.clear();
        let page_cache = match loses_tail {
            false => PageCache::Survived,
            true => PageCache::Lost,
        };
        if loses_tail {
            for (directory, flushed) in ends {
                let last = directory.join(files(&directory, ".log").pop().unwrap());
                let bytes = std::fs::read(&last).unwrap();
                let whole = Batches::new(&bytes).map_while(Result::ok);
                let kept = whole.take_while(|(header, _)| header.base_offset < flushed);
                let length: usize = kept.map(|(_, batch)| batch.len()).sum();
                std::fs::write(&last, &bytes[..length]).unwrap();
            }
            self.epoch += 1;
        }
        let (directories, reports) = self.disks.open(page_cache);
        let is_well = |it: &OpenReport| it.offline.is_empty();
        assert!(reports.iter().all(is_well), "{reports:?}");
        self.directories = directories;
        self.log = self.source().get(&partition()).unwrap();
        // What a leader without records was called is known after a clean stop only.
        self.epoch += 1;
        self.log.assign_leader_epoch(self.epoch, NOW_MS);
        // To go on with, unless it was damaged with the rest.
        if self.target().future(&partition()).is_some() {
            self.begin();
        }
    }

    /// Where the copy is, and up to where it is flushed.
    fn target_of_kill(&self) -> Option<(std::path::PathBuf, i64)> {
        let target = self.directories.get(1 - self.place)?;
        let future = target.future(&partition())?;
        let is_copy = |name: &String| name.ends_with("-future");
        let name = files(target.path(), "").into_iter().find(is_copy)?;
        Some((target.path().join(name), future.flushed_offset()))
    }

    fn finish(&mut self) {
        self.begin();
        let it = self.it.take().unwrap();
        let before = Snapshot::of(&self.log, self.epoch);
        let moved = finish(self.source(), self.target(), &it);
        let after = Snapshot::of(&moved, self.epoch);
        assert_eq!(after.marks, before.marks);
        assert_eq!(after.epochs, before.epochs);
        if self.was_compacted {
            assert!(before.records.iter().all(|it| after.records.contains(it)));
        } else {
            assert_eq!(after.batches, before.batches);
        }
        assert_eq!(table(&after.records), table(&before.records));
        for batch in before.batches.iter().rev().take(4) {
            let (header, _) = Batches::new(batch).next().unwrap().unwrap();
            let mut again = batch.clone();
            // What compaction has made anew no client sends.
            let is_whole = header.record_count == header.last_offset_delta + 1;
            if is_whole && !header.has_delete_horizon() {
                let appended = moved
                    .append_as_leader(&mut again, self.epoch, NOW_MS)
                    .unwrap();
                let place = (appended.duplicate, appended.first_offset);
                assert_eq!(place, (true, header.base_offset));
            }
        }
        drop(it);
        self.log = moved;
        self.place = 1 - self.place;
        self.was_compacted = false;
        self.moves += 1;
    }
}

#[derive(Debug)]
struct Snapshot {
    /// Start, end, high watermark, newest epoch.
    marks: (i64, i64, i64, Option<i32>),
    epochs: Vec<Option<(i32, i64)>>,
    batches: Vec<Vec<u8>>,
    records: Vec<Seen>,
}

impl Snapshot {
    fn of(log: &PartitionLog, epoch: i32) -> Self {
        Self {
            marks: (
                log.log_start_offset(),
                log.log_end_offset(),
                log.high_watermark(),
                log.latest_epoch(),
            ),
            epochs: (0..=epoch).map(|it| log.end_offset_for_epoch(it)).collect(),
            batches: batches(log),
            records: records(log),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_log_is_the_same_wherever_it_has_moved(
        steps in proptest::collection::vec(step(), 1..60),
        segment_bytes in 200_u64..1500,
        cleanup_compact: bool,
    ) {
        let mut life = Life::new(LogConfig {
            cleanup_compact,
            delete_retention_ms: 30,
            retention_ms: None,
            ..small_segments(segment_bytes)
        });
        for step in steps {
            life.take(step);
        }
        life.take(Step::Finish);
        life.take(Step::Kill);
        let records = records(&life.log);
        life.take(Step::Finish);
        assert_eq!(table(&super::move_model::records(&life.log)), table(&records));
        assert!(life.moves >= 2);
    }
}
