//! Random logs against a model that is short enough to be right by sight.
//!
//! `FOZ_COMPACTION_CASES` says how many.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::io;

use foz_protocol::codec::Compression;
use proptest::prelude::*;

use super::world::*;
use crate::compaction::LastOfProducer;
use crate::{CompactionError, CompactionLimits, PageCache};

const CASES: u32 = 300;
#[derive(Debug, Clone)]
enum Step {
    Data {
        /// Key and value; no value is a tombstone.
        records: Vec<(Option<u8>, Option<u8>)>,
        codec: usize,
        producer: Option<(i64, bool)>,
    },
    End {
        producer: i64,
        is_commit: bool,
    },
    /// As a leader's log has that was compacted.
    Gap {
        offsets: i64,
    },
    NextEpoch,
    Commit,
    /// Everything below goes, where it is committed: so many percent of what is there.
    DeleteRecords {
        percent: i64,
    },
    /// So many percent of what is not committed are cut off, as a follower does after an election.
    Truncate {
        percent: i64,
    },
    Compact {
        after_ms: i64,
        keys: usize,
    },
    /// The process dies before this step, and a pass is made after the start.
    CompactAndDie {
        after_ms: i64,
        at: usize,
    },
    Stop,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let key = proptest::option::weighted(0.95, 0..6_u8);
    let value = proptest::option::weighted(0.7, any::<u8>());
    prop_oneof![
        20 => (
            proptest::collection::vec((key, value), 1..5),
            0..Compression::ALL.len(),
            proptest::option::weighted(0.6, (1..4_i64, any::<bool>())),
        ).prop_map(|(records, codec, producer)| Step::Data { records, codec, producer }),
        6 => (1..4_i64, any::<bool>())
            .prop_map(|(producer, is_commit)| Step::End { producer, is_commit }),
        2 => (1..20_i64).prop_map(|offsets| Step::Gap { offsets }),
        2 => Just(Step::NextEpoch),
        2 => Just(Step::Commit),
        1 => (0..60_i64).prop_map(|percent| Step::DeleteRecords { percent }),
        1 => (0..=100_i64).prop_map(|percent| Step::Truncate { percent }),
        4 => (0..900_i64, 1..12_usize)
            .prop_map(|(after_ms, keys)| Step::Compact { after_ms, keys }),
        2 => (0..900_i64, 0..60_usize)
            .prop_map(|(after_ms, at)| Step::CompactAndDie { after_ms, at }),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
    ]
}

/// A batch of the log as it should be.
#[derive(Debug)]
struct Batch {
    base_offset: i64,
    last_offset: i64,
    epoch: i32,
    producer: Option<i64>,
    /// Of its last record.
    last_sequence: i32,
    is_transactional: bool,
    /// Known when the transaction has ended.
    is_aborted: Option<bool>,
    /// Where the marker is that says so.
    marker: Option<i64>,
    records: Vec<Seen>,
    delete_horizon_ms: Option<i64>,
}

#[derive(Default)]
struct Model {
    batches: Vec<Batch>,
    /// Where each epoch began, with a marker perhaps.
    epochs: BTreeMap<i32, i64>,
    /// Batches of producers were cut off that had been the last ones: those before them may have been compacted away,
    /// and then snapshots alone tell of them.
    is_cut: bool,
    start_offset: i64,
    end_offset: i64,
}

impl Model {
    /// Everything below `end_offset` was compacted.
    fn compact(&mut self, end_offset: i64, now_ms: i64) {
        let mut newest: HashMap<Vec<u8>, i64> = HashMap::new();
        for batch in self.batches.iter().filter(|it| it.is_aborted != Some(true)) {
            for (offset, key, ..) in &batch.records {
                if let Some(key) = key.clone().filter(|_| *offset < end_offset) {
                    newest.insert(key, *offset);
                }
            }
        }
        for batch in &mut self.batches {
            if batch.base_offset >= end_offset {
                break;
            }
            let is_aborted = batch.is_aborted == Some(true);
            let is_over = batch.delete_horizon_ms.is_some_and(|at| at <= now_ms);
            batch.records.retain(|(offset, key, value, _)| {
                let newest_offset = key.as_ref().and_then(|key| newest.get(key));
                let is_newest = newest_offset == Some(offset);
                is_newest && !is_aborted && !(value.is_none() && is_over)
            });
            if batch.records.iter().any(|(_, _, value, _)| value.is_none()) {
                let horizon_ms = now_ms + DELETE_RETENTION_MS;
                batch.delete_horizon_ms.get_or_insert(horizon_ms);
            }
        }
    }

    fn truncate(&mut self, end_offset: i64) {
        self.end_offset = end_offset;
        self.is_cut = true;
        self.batches.retain(|it| it.base_offset < end_offset);
        self.epochs.retain(|_, begin| *begin < end_offset);
        for batch in &mut self.batches {
            if batch.marker.is_some_and(|at| at >= end_offset) {
                (batch.marker, batch.is_aborted) = (None, None);
            }
        }
    }

    /// The first offset of a transaction that is open, or the end.
    fn stable_offset(&self) -> i64 {
        let start_offset = self.start_offset;
        let is_open = |it: &Batch| it.is_transactional && it.is_aborted.is_none();
        let open = |it: &&Batch| is_open(it) && it.last_offset >= start_offset;
        let first = self.batches.iter().find(open);
        first.map_or(self.end_offset, |it| it.base_offset)
    }
}

struct Life {
    world: World,
    model: Model,
    epoch: i32,
    now_ms: i64,
    sequences: HashMap<i64, i32>,
    _root: tempfile::TempDir,
}

impl Life {
    fn new(segment_bytes: u64) -> Self {
        let root = new_root();
        Self {
            world: World::new(root.path(), config(segment_bytes)),
            model: Model::default(),
            epoch: 0,
            now_ms: NOW_MS,
            sequences: HashMap::new(),
            _root: root,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Data {
                records,
                codec,
                producer,
            } => self.append(&records, Compression::ALL[codec], producer),
            Step::End {
                producer,
                is_commit,
            } => self.end_transaction(producer, is_commit),
            Step::Gap { offsets } => self.model.end_offset += offsets,
            Step::NextEpoch => self.epoch += 1,
            Step::Commit => self.world.commit(),
            Step::DeleteRecords { percent } => self.delete_records(percent),
            Step::Truncate { percent } => self.truncate(percent),
            Step::Compact { after_ms, keys } => {
                self.now_ms += after_ms;
                let map_bytes = keys * 24;
                self.compact(CompactionLimits { map_bytes });
            }
            Step::CompactAndDie { after_ms, at } => {
                self.now_ms += after_ms;
                self.compact_and_die(at);
            }
            Step::Stop => {
                self.world.stop();
                self.world.open(PageCache::Lost, self.now_ms);
            }
            Step::Kill => {
                let high_watermark = self.world.log().high_watermark();
                self.world.kill();
                self.world.open(PageCache::Survived, self.now_ms);
                // What is checkpointed may be older: a leader tells it, before anything is cut.
                self.world.log().set_high_watermark(high_watermark);
            }
        }
    }

    fn spec(&self, codec: Compression) -> Spec {
        Spec {
            epoch: self.epoch,
            codec,
            ..PLAIN.at(self.model.end_offset)
        }
    }

    fn append(
        &mut self,
        records: &[(Option<u8>, Option<u8>)],
        codec: Compression,
        producer: Option<(i64, bool)>,
    ) {
        let base_offset = self.model.end_offset;
        let mut spec = self.spec(codec);
        if let Some((id, is_transactional)) = producer {
            let sequence = self.sequences.entry(id).or_default();
            spec.producer = Some((id, *sequence));
            spec.is_transactional = is_transactional;
            *sequence += records.len() as i32;
        }
        let texts: Vec<_> = records
            .iter()
            .map(|(key, value)| {
                let key = key.map(|key| format!("key {key}"));
                (key, value.map(|value| format!("value {value}")))
            })
            .collect();
        let mut written = Vec::new();
        let mut seen = Vec::new();
        for (n, (key, value)) in (0..).zip(&texts) {
            // Times go back now and then.
            let timestamp_ms = NOW_MS + (base_offset + n) % 7 * 10 + base_offset;
            written.push((key.as_deref(), value.as_deref(), timestamp_ms));
            let bytes = |text: &String| text.clone().into_bytes();
            let (key, value) = (key.as_ref().map(bytes), value.as_ref().map(bytes));
            seen.push((base_offset + n, key, value, timestamp_ms));
        }
        self.world.append(&spec.data(&written));
        self.model.epochs.entry(self.epoch).or_insert(base_offset);
        self.model.end_offset += records.len() as i64;
        self.model.batches.push(Batch {
            base_offset,
            last_offset: self.model.end_offset - 1,
            epoch: self.epoch,
            producer: producer.map(|(id, _)| id),
            last_sequence: spec.producer.map_or(-1, |(_, first)| first) + records.len() as i32 - 1,
            is_transactional: spec.is_transactional,
            is_aborted: None,
            marker: None,
            records: seen,
            delete_horizon_ms: None,
        });
    }

    /// Also without a transaction, as a coordinator may that tries again.
    fn end_transaction(&mut self, producer: i64, is_commit: bool) {
        let offset = self.model.end_offset;
        let spec = self.spec(Compression::None);
        self.world
            .append(&spec.marker(producer, is_commit, NOW_MS + offset));
        self.model.epochs.entry(self.epoch).or_insert(offset);
        self.model.end_offset += 1;
        for batch in &mut self.model.batches {
            if batch.is_transactional
                && batch.producer == Some(producer)
                && batch.is_aborted.is_none()
            {
                batch.is_aborted = Some(!is_commit);
                batch.marker = Some(offset);
            }
        }
    }

    fn delete_records(&mut self, percent: i64) {
        let log = self.world.log();
        let (start, end) = (log.log_start_offset(), log.high_watermark());
        let wanted = start + (end - start) * percent / 100;
        assert_eq!(log.advance_log_start_offset(wanted).unwrap(), wanted);
        log.apply_retention(self.now_ms).unwrap();
        assert_eq!(log.log_start_offset(), wanted);
        // A start would find more than there is now.
        self.world.directory().checkpoint().unwrap();
        self.model.start_offset = wanted;
    }

    fn truncate(&mut self, percent: i64) {
        let log = self.world.log();
        let (from, end) = (log.high_watermark(), log.log_end_offset());
        let offset = end - (end - from) * percent / 100;
        let directory = self.world.directory();
        directory.truncate(log, offset, self.now_ms).unwrap();
        if offset < end {
            assert!((from..=offset).contains(&log.log_end_offset()));
            self.model.truncate(log.log_end_offset());
        }
        for (id, next) in &mut self.sequences {
            let of_it = |it: &&Batch| it.producer == Some(*id);
            let last = self.model.batches.iter().rfind(of_it);
            *next = last.map_or(0, |it| it.last_sequence + 1);
        }
        self.sequences.retain(|_, next| *next > 0);
    }

    fn compact(&mut self, limits: CompactionLimits) {
        let before = self.world.log().compacted_offset();
        match self.world.compact_with(limits, self.now_ms) {
            Ok(compacted) => self.compacted(before, compacted.compacted_offset),
            Err(CompactionError::MapTooSmall { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn compacted(&mut self, before: i64, end_offset: i64) {
        assert_eq!(self.world.log().compacted_offset(), end_offset);
        assert!(before <= end_offset);
        assert!(end_offset <= self.world.log().high_watermark());
        assert!(end_offset <= self.model.stable_offset());
        if before < end_offset {
            self.model.compact(end_offset, self.now_ms);
        }
    }

    /// What is left of a pass is a pass that went as far; another one brings the log to where it would have come.
    fn compact_and_die(&mut self, at: usize) {
        let (count, died) = (Cell::new(0), Cell::new(false));
        let before = self.world.log().compacted_offset();
        let finished = self
            .world
            .compact_watched(MANY_KEYS, self.now_ms, &mut |_, _| {
                count.set(count.get() + 1);
                died.set(died.get() || count.get() > at);
                match died.get() {
                    true => Err(io::Error::other("dead")),
                    false => Ok(()),
                }
            });
        if let Ok(compacted) = finished {
            return self.compacted(before, compacted.compacted_offset);
        }
        assert!(died.get(), "{finished:?}");
        let high_watermark = self.world.log().high_watermark();
        self.world.kill();
        self.world.open(PageCache::Survived, self.now_ms);
        self.world.log().flush().unwrap();
        self.world.log().set_high_watermark(high_watermark);
        assert_eq!(self.world.log().high_watermark(), high_watermark);
        // A start that walks over a marker above the high watermark holds its transaction to be undecided, one that reads a
        // snapshot does not: the pass before may have gone further than another could now.
        self.world.commit();
        let begin = self.world.log().compacted_offset();
        let compacted = self.world.compact(self.now_ms);
        self.compacted(begin, compacted.compacted_offset);
    }

    fn check(&self) {
        let (log, model) = (self.world.log(), &self.model);
        let expected: Vec<Seen> = model
            .batches
            .iter()
            .flat_map(|batch| batch.records.iter().cloned())
            .filter(|record| record.0 >= model.start_offset)
            .collect();
        let mut records = self.world.records();
        records.retain(|record| record.0 >= model.start_offset);
        assert_eq!(records, expected);
        let batches = self.world.batches();
        self.check_markers(&batches);
        self.check_headers(&batches);
        self.check_segments();
        for (offset, ..) in &expected {
            let bytes = log.read(*offset, 1, i64::MAX, true).unwrap();
            let header = foz_protocol::batch::BatchHeader::parse(&bytes).unwrap();
            assert!((header.base_offset..=header.last_offset()).contains(offset));
        }
        for timestamp_ms in [NOW_MS, NOW_MS + 30, NOW_MS + 60, NOW_MS + 200] {
            let mut all = batches
                .iter()
                .flat_map(|(header, batch)| records_of(header, batch));
            let first =
                all.find(|(offset, .., ms)| *offset >= model.start_offset && *ms >= timestamp_ms);
            let found = log.offset_for_timestamp(timestamp_ms, i64::MAX).unwrap();
            let found = found.map(|it| (it.offset, it.timestamp_ms));
            assert_eq!(found, first.map(|(offset, .., ms)| (offset, ms)));
        }
    }

    /// A record of a transaction is never without its marker.
    fn check_markers(&self, batches: &[(foz_protocol::batch::BatchHeader, Vec<u8>)]) {
        let markers: Vec<i64> = batches
            .iter()
            .filter(|(header, _)| header.is_control() && header.record_count > 0)
            .map(|(header, _)| header.base_offset)
            .collect();
        let start_offset = self.model.start_offset;
        let is_left = |it: &&Batch| it.records.iter().any(|record| record.0 >= start_offset);
        for batch in self.model.batches.iter().filter(is_left) {
            if let Some(marker) = batch.marker {
                assert!(markers.contains(&marker), "{marker} of {batch:?}");
            }
        }
    }

    /// What recovery and followers learn from the log.
    fn check_headers(&self, batches: &[(foz_protocol::batch::BatchHeader, Vec<u8>)]) {
        let mut last: HashMap<i64, (i64, i32)> = HashMap::new();
        let mut epochs: BTreeMap<i32, i64> = BTreeMap::new();
        let mut end_offset = 0;
        for (header, _) in batches {
            assert!(header.base_offset >= end_offset);
            end_offset = header.next_offset();
            let epoch = header.partition_leader_epoch;
            epochs.entry(epoch).or_insert(header.base_offset);
            if !header.is_control() && header.has_producer_id() {
                let id = header.producer_id;
                last.insert(id, (header.last_offset(), header.last_sequence()));
            }
        }
        let start_offset = self.model.start_offset;
        let is_there = |it: &&Batch| it.last_offset >= start_offset;
        for batch in self.model.batches.iter().filter(is_there) {
            let epoch = self
                .world
                .log()
                .leader_epoch_at(batch.base_offset.max(start_offset));
            assert_eq!(epoch, Some(batch.epoch));
            if self.model.epochs[&batch.epoch] >= start_offset {
                assert!(epochs[&batch.epoch] <= batch.base_offset);
            }
        }
        let known = self.world.log().last_of_producers();
        for (id, sequence) in &self.sequences {
            let of_it = |it: &&Batch| it.producer == Some(*id);
            let model = self.model.batches.iter().rfind(of_it).unwrap();
            if model.last_offset < start_offset {
                continue;
            }
            let LastOfProducer::Data { first_last_offset } = known[id] else {
                panic!("{id} is known by nothing but markers");
            };
            assert!(first_last_offset <= model.last_offset);
            if !self.model.is_cut {
                assert_eq!(last[id], (model.last_offset, sequence - 1));
            }
        }
    }

    fn check_segments(&self) {
        let segments = self.world.segments();
        assert_eq!(segments.len(), self.world.log().segment_count());
        for two in segments.windows(2) {
            assert_eq!(two[0].1, two[1].0, "{segments:?}");
        }
        let rest = |name: &String| name.ends_with(".cleaned") || name.ends_with(".swap");
        assert!(!file_names(&self.world.partition_dir()).iter().any(rest));
    }
}

fn cases() -> u32 {
    let cases = std::env::var("FOZ_COMPACTION_CASES").ok();
    cases.and_then(|it| it.parse().ok()).unwrap_or(CASES)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn what_stays_is_what_the_model_says(
        steps in proptest::collection::vec(step(), 1..60),
        segment_bytes in 100_u64..900,
    ) {
        let mut life = Life::new(segment_bytes);
        for step in steps {
            let is_append = matches!(step, Step::Data { .. } | Step::End { .. } | Step::Gap { .. });
            life.take(step);
            if !is_append {
                life.check();
            }
        }
        life.world.commit();
        life.now_ms += DELETE_RETENTION_MS;
        life.compact(MANY_KEYS);
        life.check();
    }
}
