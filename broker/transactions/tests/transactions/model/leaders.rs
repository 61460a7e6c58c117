use std::collections::{BTreeMap, BTreeSet};

use foz_transactions::{MarkerOutcome, MarkerToken, SendMarkers, TopicPartition};
use kafka_protocol::ResponseError as E;

use super::PARTITIONS;
use super::world::{World, note};

/// What a leader says to markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Written,
    Failed,
    /// It has not got them yet.
    Late,
    /// It knows better, or believes so.
    Refused,
}

/// The leaders of the partitions, and what is on its way from them.
#[derive(Debug)]
pub(super) struct Leaders {
    /// By partition and producer id: what its leader knows. None when it was deleted.
    logs: Vec<Option<BTreeMap<i64, Producer>>>,
    /// Of former coordinators, or sent before and given up.
    pub(super) late_markers: Vec<SendMarkers>,
    /// The coordinator waits for them.
    held_up: Vec<SendMarkers>,
    reports: Vec<Report>,
    /// Those that may come again.
    reported: Vec<Report>,
}

type Report = (MarkerToken, TopicPartition, MarkerOutcome);

#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    coordinator_epoch: i32,
    open: Option<BTreeSet<u32>>,
    /// Transactions that have records here.
    written: BTreeSet<u32>,
}

impl Leaders {
    pub(super) fn new() -> Self {
        Self {
            logs: (0..PARTITIONS).map(|_| Some(BTreeMap::new())).collect(),
            late_markers: Vec::new(),
            held_up: Vec::new(),
            reports: Vec::new(),
            reported: Vec::new(),
        }
    }

    pub(super) fn delete(&mut self, partition: i32) {
        self.logs[partition as usize] = None;
    }

    pub(super) fn is_gone(&self, partition: i32) -> bool {
        self.logs[partition as usize].is_none()
    }

    /// What was under way for it comes late, if at all.
    pub(super) fn forget_coordinator(&mut self, mut markers: Vec<SendMarkers>) {
        self.late_markers.append(&mut markers);
        self.late_markers.append(&mut self.held_up);
        self.reported.append(&mut self.reports);
    }

    /// Appends a batch.
    pub(super) fn append(&mut self, partition: i32, producer: (i64, i16), tag: u32) -> i16 {
        let Some(log) = &mut self.logs[partition as usize] else {
            return E::UnknownTopicOrPartition.code();
        };
        let known = log.entry(producer.0).or_default();
        if producer.1 < known.epoch {
            return E::InvalidProducerEpoch.code();
        }
        known.epoch = producer.1;
        known.open.get_or_insert_default().insert(tag);
        known.written.insert(tag);
        0
    }

    /// Transactions that are open, with partition and producer id.
    pub(super) fn hanging(&self) -> Vec<(usize, i64, &BTreeSet<u32>)> {
        let logs = self.logs.iter().enumerate();
        let known = logs.flat_map(|(index, log)| {
            let producers = log.iter().flatten();
            producers.map(move |(id, known)| (index, *id, known.open.as_ref()))
        });
        known
            .filter_map(|(index, id, open)| Some((index, id, open?)))
            .collect()
    }

    pub(super) fn has_written(&self, tag: u32) -> bool {
        let mut producers = self.logs.iter().flatten().flat_map(BTreeMap::values);
        producers.any(|known| known.written.contains(&tag))
    }
}

impl World {
    pub(super) fn mark(&mut self, index: usize, answer: Answer) {
        if self.harness.markers.is_empty() {
            return;
        }
        let index = index % self.harness.markers.len();
        let markers = self.harness.markers.swap_remove(index);
        let error = match answer {
            Answer::Written => return self.apply(&markers),
            Answer::Late => return self.leaders.held_up.push(markers),
            Answer::Failed => E::NotLeaderOrFollower,
            Answer::Refused => E::InvalidProducerEpoch,
        };
        for partition in &markers.partitions {
            let outcome = MarkerOutcome::Failed(error);
            let report = (markers.token, partition.clone(), outcome);
            self.leaders.reports.push(report);
        }
        // With one epoch for all transactions nothing tells a late copy of the same coordinator from news.
        if markers.transaction_version == 2 {
            self.leaders.late_markers.push(markers);
        }
    }

    pub(super) fn mark_late(&mut self, index: usize) {
        let (late, held_up) = (&mut self.leaders.late_markers, &mut self.leaders.held_up);
        let count = late.len() + held_up.len();
        if count == 0 {
            return;
        }
        let index = index % count;
        let markers = match index.checked_sub(late.len()) {
            None => late.swap_remove(index),
            Some(index) => held_up.swap_remove(index),
        };
        self.apply(&markers);
    }

    pub(super) fn mark_held_up(&mut self) {
        for markers in std::mem::take(&mut self.leaders.held_up) {
            self.apply(&markers);
        }
    }

    /// As leaders take markers.
    fn apply(&mut self, markers: &SendMarkers) {
        for partition in &markers.partitions {
            let outcome = match &mut self.leaders.logs[partition.partition as usize] {
                None => MarkerOutcome::PartitionGone,
                Some(log) => {
                    let known = log.entry(markers.producer_id).or_default();
                    match known.take(markers) {
                        Err(error) => MarkerOutcome::Failed(error),
                        Ok(ended) => {
                            for tag in ended {
                                let is_wanted = !markers.commit || self.wanted.contains(&tag);
                                assert!(is_wanted, "nobody wanted {tag} to be committed");
                                note(&mut self.ended, tag, markers.commit);
                            }
                            MarkerOutcome::Written
                        }
                    }
                }
            };
            let report = (markers.token, partition.clone(), outcome);
            self.leaders.reports.push(report);
        }
        self.check_told();
    }

    pub(super) fn report(&mut self, index: usize) {
        if !self.leaders.reports.is_empty() {
            let index = index % self.leaders.reports.len();
            let report = self.leaders.reports.swap_remove(index);
            self.leaders.reported.push(report.clone());
            self.tell(report);
        }
    }

    pub(super) fn report_again(&mut self, index: usize) {
        if !self.leaders.reported.is_empty() {
            // The newest first.
            let count = self.leaders.reported.len();
            let report = self.leaders.reported[count - 1 - index % count].clone();
            self.tell(report);
        }
    }

    fn tell(&mut self, (token, partition, outcome): Report) {
        let now = self.harness.now;
        let outcomes = [(partition, outcome)];
        let effects = self.harness.coordinator.on_markers(token, &outcomes, now);
        self.harness.absorb(effects);
    }

    pub(super) fn report_all(&mut self) {
        while !self.leaders.reports.is_empty() {
            self.report(0);
        }
    }
}

impl Producer {
    /// The transactions that the marker ends.
    fn take(&mut self, markers: &SendMarkers) -> Result<BTreeSet<u32>, E> {
        let epoch = markers.producer_epoch;
        let is_next = epoch == self.epoch && self.open.is_some() && epoch < i16::MAX;
        if markers.coordinator_epoch < self.coordinator_epoch {
            return Err(E::TransactionCoordinatorFenced);
        }
        if epoch < self.epoch || markers.transaction_version == 2 && is_next {
            return Err(E::InvalidProducerEpoch);
        }
        self.epoch = epoch;
        self.coordinator_epoch = markers.coordinator_epoch;
        Ok(self.open.take().unwrap_or_default())
    }
}
