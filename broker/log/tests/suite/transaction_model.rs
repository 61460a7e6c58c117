//! Random transactions on a log that is cut, compacted, stopped and killed, against a list of what was appended.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use foz_log::{
    AbortedTransaction, AppendOrigin, CompactionLimits, Finding, FollowedLeader, LogConfig,
    LogDirectory, PageCache, PartitionLog, TransactionMarker,
};
use foz_protocol::batch::{BatchHeader, Batches};
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite, Records, record_bytes};
use proptest::prelude::*;

use crate::support::*;

const PRODUCERS: i64 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// A record of a transaction, which it may begin.
    Write {
        producer: i64,
        key: u8,
    },
    /// A record of none.
    Plain {
        key: u8,
    },
    End {
        producer: i64,
        is_commit: bool,
        raises_epoch: bool,
    },
    /// As far as this from the end.
    Commit {
        back: i64,
    },
    Flush,
    Compact,
    Checkpoint,
    Truncate {
        back: i64,
    },
    DeleteRecords {
        back: i64,
    },
    Stop,
    Kill,
    LosePower {
        left: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..PRODUCERS, 0..6_u8).prop_map(|(producer, key)| Step::Write { producer, key }),
        4 => (0..6_u8).prop_map(|key| Step::Plain { key }),
        8 => (0..PRODUCERS, any::<bool>(), any::<bool>()).prop_map(
            |(producer, is_commit, raises_epoch)| Step::End { producer, is_commit, raises_epoch }
        ),
        6 => (0..9_i64).prop_map(|back| Step::Commit { back: (back - 4).max(0) }),
        2 => Just(Step::Flush),
        3 => Just(Step::Compact),
        1 => Just(Step::Checkpoint),
        2 => (0..9_i64).prop_map(|back| Step::Truncate { back }),
        1 => (0..20_i64).prop_map(|back| Step::DeleteRecords { back }),
        1 => Just(Step::Stop),
        2 => Just(Step::Kill),
        2 => (0..200_u64).prop_map(|left| Step::LosePower { left }),
    ]
}

/// What lies at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Plain {
        key: u8,
    },
    Data {
        producer: i64,
        key: u8,
        epoch: i16,
    },
    Marker {
        producer: i64,
        is_commit: bool,
        epoch: i16,
    },
}

/// What became of the transaction that a record is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    None,
    Open,
    Ended {
        first: i64,
        marker: i64,
        is_commit: bool,
    },
}

/// What the log should hold: one record at each offset.
#[derive(Debug, Default)]
struct Model {
    entries: Vec<Entry>,
    start: i64,
    /// There was a start since, which may not know any more that a marker before is not on all replicas.
    forgotten_to: i64,
}

impl Model {
    fn end(&self) -> i64 {
        self.entries.len() as i64
    }

    /// Epoch and next sequence of a producer, and whether it has a transaction.
    fn producer(&self, id: i64) -> (i16, i32, Option<i64>) {
        let (mut epoch, mut sequence, mut open) = (0, 0, None);
        for (offset, entry) in (0..).zip(&self.entries) {
            match *entry {
                Entry::Data {
                    producer,
                    epoch: at,
                    ..
                } if producer == id => {
                    sequence = if at == epoch { sequence + 1 } else { 1 };
                    epoch = at;
                    open = open.or(Some(offset));
                }
                Entry::Marker {
                    producer,
                    epoch: at,
                    ..
                } if producer == id => {
                    sequence = if at == epoch { sequence } else { 0 };
                    epoch = at;
                    open = None;
                }
                _ => {}
            }
        }
        (epoch, sequence, open)
    }

    fn outcome(&self, offset: i64) -> Outcome {
        let Entry::Data { producer: id, .. } = self.entries[offset as usize] else {
            return Outcome::None;
        };
        let is_of = |entry: &Entry| matches!(entry, Entry::Data { producer, .. } | Entry::Marker { producer, .. } if *producer == id);
        let of_producer: Vec<_> = (0..)
            .zip(&self.entries)
            .filter(|(_, it)| is_of(it))
            .collect();
        let mut first = None;
        for (at, entry) in of_producer {
            match *entry {
                Entry::Marker { .. } if at < offset => first = None,
                Entry::Marker { is_commit, .. } => {
                    let first = first.unwrap();
                    return Outcome::Ended {
                        first,
                        marker: at,
                        is_commit,
                    };
                }
                _ => first = first.or(Some(at)),
            }
        }
        Outcome::Open
    }

    /// Where markers before `forgotten_to` count as if they were on all replicas.
    fn last_stable_offset(&self, high_watermark: i64, forgotten_to: i64) -> i64 {
        let is_unstable = |offset: &i64| match self.outcome(*offset) {
            Outcome::None => false,
            Outcome::Open => true,
            Outcome::Ended { marker, .. } => marker >= high_watermark && marker >= forgotten_to,
        };
        let first = (0..self.end()).find(is_unstable);
        let first = first.unwrap_or(i64::MAX).max(self.start);
        high_watermark.min(first)
    }

    /// Of what is decided: the offsets of records of aborted transactions.
    fn is_aborted(&self, offset: i64) -> bool {
        matches!(
            self.outcome(offset),
            Outcome::Ended {
                is_commit: false,
                ..
            }
        )
    }
}

struct Life {
    world: World,
    open: Option<(LogDirectory, Arc<PartitionLog>)>,
    model: Model,
    /// The greatest high watermark there was, as far as the log goes: what is checkpointed may be older.
    committed: i64,
}

fn data(producer: Option<(i64, i16, i32)>, key: u8, value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.idempotent(id, epoch, sequence).transactional();
    }
    builder.push(&RecordToWrite {
        timestamp_ms: NOW_MS,
        key: Some(&[key]),
        value: Some(value),
        headers: &[],
    });
    builder.build().unwrap()
}

impl Life {
    fn log(&self) -> &Arc<PartitionLog> {
        &self.open.as_ref().unwrap().1
    }

    fn take(&mut self, step: &Step) {
        let end = self.model.end();
        let value = end.to_string();
        match *step {
            Step::Write { producer, key } => {
                let (epoch, sequence, is_open) = self.model.producer(producer);
                let mut bytes = data(Some((producer, epoch, sequence)), key, value.as_bytes());
                let header = BatchHeader::parse(&bytes).unwrap();
                let guard = self
                    .log()
                    .begin_verification(&header, true, NOW_MS)
                    .unwrap();
                assert_eq!(guard.is_none(), is_open.is_some());
                let origin = AppendOrigin::Client(guard);
                let appended = self
                    .log()
                    .append_from(origin, &mut bytes, 0, NOW_MS)
                    .unwrap();
                assert_eq!((appended.first_offset, appended.duplicate), (end, false));
                self.model.entries.push(Entry::Data {
                    producer,
                    key,
                    epoch,
                });
            }
            Step::Plain { key } => {
                append(self.log(), data(None, key, value.as_bytes()));
                self.model.entries.push(Entry::Plain { key });
            }
            Step::End {
                producer,
                is_commit,
                raises_epoch,
            } => {
                let (epoch, _, _) = self.model.producer(producer);
                let epoch = epoch + i16::from(raises_epoch);
                let marker = TransactionMarker {
                    producer_id: producer,
                    producer_epoch: epoch,
                    coordinator_epoch: 5,
                    is_commit,
                };
                let version = if raises_epoch { 2 } else { 1 };
                self.log()
                    .append_marker(marker, version, 0, NOW_MS)
                    .unwrap();
                self.model.entries.push(Entry::Marker {
                    producer,
                    is_commit,
                    epoch,
                });
            }
            Step::Commit { back } => {
                self.log().set_high_watermark((end - back).max(0));
                self.committed = self.committed.max(self.log().high_watermark());
            }
            Step::Flush => {
                self.log().flush().unwrap();
            }
            Step::Compact => {
                let go_on = &mut |_| ControlFlow::Continue(());
                let limits = CompactionLimits { map_bytes: 1 << 16 };
                self.log().compact(limits, NOW_MS, go_on).unwrap();
            }
            Step::Checkpoint => self.open.as_ref().unwrap().0.checkpoint().unwrap(),
            Step::Truncate { back } => self.truncate((end - back).max(0)),
            Step::DeleteRecords { back } => {
                let before = (end - back).clamp(0, self.log().high_watermark());
                let (directory, log) = self.open.as_ref().unwrap();
                log.advance_log_start_offset(before).unwrap();
                log.apply_retention(NOW_MS).unwrap();
                directory.checkpoint().unwrap();
                self.model.start = log.log_start_offset();
            }
            Step::Stop => {
                let (directory, log) = self.open.take().unwrap();
                World::stop(directory, log);
                self.reopen(PageCache::Lost);
            }
            Step::Kill => self.kill(PageCache::Survived),
            Step::LosePower { left } => self.lose_power(left),
        }
        self.check();
    }

    fn kill(&mut self, page_cache: PageCache) {
        self.open = None;
        self.reopen(page_cache);
    }

    /// Of the index of the segment that is appended to, and of those behind the recovery point, the disk has some.
    fn lose_power(&mut self, left: u64) {
        let (_, log) = self.open.take().unwrap();
        let flushed = log.flushed_offset();
        drop(log);
        let directory = self.world.partition_dir();
        let bases = files(&directory, ".log")
            .into_iter()
            .map(|name| base_offset(&name));
        let walked = bases.filter(|base| *base < flushed).max().unwrap_or(0);
        for name in files(&directory, ".txnindex") {
            if base_offset(&name) < walked {
                continue;
            }
            let path = directory.join(name);
            let length = fs::metadata(&path).unwrap().len();
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            match left % 3 {
                0 => fs::remove_file(&path).unwrap(),
                1 => file.set_len(left.min(length)).unwrap(),
                // As long as it was, and never written.
                _ => {
                    file.set_len(left.min(length) / 34 * 34).unwrap();
                    file.set_len(length).unwrap();
                }
            }
        }
        self.reopen(PageCache::Lost);
    }

    fn reopen(&mut self, page_cache: PageCache) {
        let (directory, report) = self.world.open_after(page_cache);
        assert!(
            report.offline.is_empty() && report.lost.is_empty(),
            "{report:?}"
        );
        let is_lost_index = |finding: &Finding| match finding {
            Finding::Rebuilt { file, .. } => file.to_string_lossy().ends_with(".txnindex"),
            _ => false,
        };
        let mut findings = report.findings.iter();
        assert!(findings.all(|(_, it)| is_lost_index(it)), "{report:?}");
        let log = directory.get(&partition()).unwrap();
        while log.has_unchecked_batches() {
            log.check_next(u64::MAX).unwrap();
        }
        self.model.forgotten_to = log.log_end_offset();
        self.committed = self.committed.min(log.log_end_offset());
        self.model.start = log.log_start_offset();
        self.open = Some((directory, log));
    }

    /// Compaction may have left nothing where the cut is, and the log ends before.
    fn truncate(&mut self, offset: i64) {
        // A replica never cuts what is committed: a marker may be all that is left there of a transaction.
        let offset = offset.max(self.log().high_watermark()).max(self.committed);
        let (directory, log) = self.open.as_ref().unwrap();
        directory.truncate(log, offset, NOW_MS).unwrap();
        let end = log.log_end_offset();
        assert!(end <= offset.max(self.model.start));
        self.model.entries.truncate(end as usize);
        self.model.forgotten_to = self.model.forgotten_to.min(end);
    }

    fn check(&self) {
        let (log, model) = (self.log(), &self.model);
        assert_eq!(
            (log.log_start_offset(), log.log_end_offset()),
            (model.start, model.end())
        );
        let high_watermark = log.high_watermark();
        let stable = log.last_stable_offset();
        let least = model.last_stable_offset(high_watermark, 0);
        let most = model.last_stable_offset(high_watermark, model.forgotten_to);
        let what = format!(
            "{stable}, high watermark {high_watermark} {:?}",
            model.entries
        );
        assert!((least..=most).contains(&stable), "{least}..={most}: {what}");
        for producer in log.active_producers() {
            let (epoch, _, open) = model.producer(producer.producer_id);
            assert_eq!(producer.producer_epoch, epoch);
            assert_eq!(producer.current_transaction_first_offset, open);
        }
        // Every window that a reader may ask for.
        for from in model.start..=stable {
            for to in [from + 1, from + 4, stable] {
                self.check_window(log, from, to.min(stable));
            }
        }
    }

    /// A replica that is made of the log now, by what is fetched, tells its readers the same.
    fn check_replica(&self, fetch_bytes: usize) {
        let (log, model) = (self.log(), &self.model);
        log.set_high_watermark(model.end());
        let world = World::new(self.world.config.clone());
        let (directory, replica) = world.log();
        directory.reset(&replica, model.start, NOW_MS).unwrap();
        while replica.log_end_offset() < model.end() {
            let from = replica.log_end_offset();
            let bytes = log.read(from, fetch_bytes, i64::MAX, true).unwrap();
            let leader = FollowedLeader {
                epoch: 0,
                high_watermark: i64::MAX,
            };
            replica.append_as_follower(&bytes, leader, NOW_MS).unwrap();
            assert!(replica.log_end_offset() > from);
        }
        replica.set_high_watermark(model.end());
        let stable = log.last_stable_offset();
        assert!(replica.last_stable_offset() >= stable);
        for from in model.start..=stable {
            for to in [from + 1, from + 4, stable] {
                self.check_window(&replica, from, to.min(stable));
            }
        }
    }

    /// What a consumer that wants committed records alone makes of what it gets is what is committed and not compacted away.
    fn check_window(&self, log: &PartitionLog, from: i64, to: i64) {
        let model = &self.model;
        let aborted = log.aborted_in(from, to.max(from)).unwrap();
        for entry in &aborted {
            assert!(
                entry.marker_offset >= from && entry.first_offset < to,
                "{entry:?}"
            );
        }
        let mut at = from;
        let mut seen = Vec::new();
        let mut left: Vec<AbortedTransaction> = aborted;
        left.sort_by_key(|it| it.first_offset);
        let mut skipped = Vec::new();
        while at < to {
            let bytes = log.read(at, 200, to, true).unwrap();
            if bytes.is_empty() {
                break;
            }
            for parsed in Batches::new(&bytes) {
                let (header, batch) = parsed.unwrap();
                at = header.next_offset();
                // As Kafka's client does.
                while let Some(next) = left.first()
                    && next.first_offset <= header.last_offset()
                {
                    skipped.push(left.remove(0).producer_id);
                }
                if header.is_control() {
                    if model.entries[header.base_offset as usize]
                        == (Entry::Marker {
                            producer: header.producer_id,
                            is_commit: false,
                            epoch: header.producer_epoch,
                        })
                        && header.record_count > 0
                    {
                        skipped.retain(|id| *id != header.producer_id);
                    }
                    continue;
                }
                if header.is_transactional() && skipped.contains(&header.producer_id) {
                    continue;
                }
                let bytes = record_bytes(&header, batch, 1000).unwrap();
                for record in Records::new(&header, &bytes) {
                    seen.push(record.unwrap().offset(&header));
                }
            }
        }
        for offset in &seen {
            assert!(
                !model.is_aborted(*offset),
                "{offset} was aborted: {:?}",
                model.entries
            );
        }
        // Compaction keeps the newest of each key that is committed.
        let key = |offset: i64| match model.entries[offset as usize] {
            Entry::Plain { key } | Entry::Data { key, .. } => Some(key),
            Entry::Marker { .. } => None,
        };
        for offset in from..to {
            let is_newest = || (offset + 1..model.end()).all(|later| key(later) != key(offset));
            let must_be_there = key(offset).is_some() && !model.is_aborted(offset) && is_newest();
            assert!(
                !must_be_there || seen.contains(&offset),
                "{offset} {seen:?}"
            );
        }
    }
}

/// Switches on the bug that the environment asks for, which this model must find.
#[cfg(feature = "canaries")]
fn choose_canary() {
    if let Ok(name) = std::env::var(foz_canary::VARIABLE) {
        foz_canary::choose(&name).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn readers_of_committed_records_get_those_and_no_others(
        steps in proptest::collection::vec(step(), 1..60),
        segment_bytes in 200_u64..900,
        fetch_bytes in 1..900_usize,
    ) {
        #[cfg(feature = "canaries")]
        choose_canary();
        let world = World::new(LogConfig {
            cleanup_compact: true,
            cleanup_delete: false,
            delete_retention_ms: 0,
            retention_ms: None,
            ..small_segments(segment_bytes)
        });
        let open = Some(world.log());
        let mut life = Life { world, open, model: Model::default(), committed: 0 };
        life.check();
        for step in &steps {
            life.take(step);
        }
        life.check_replica(fetch_bytes);
    }
}

fn base_offset(name: &str) -> i64 {
    name.split('.').next().unwrap().parse().unwrap()
}
