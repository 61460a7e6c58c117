//! The partitions of one session, in the order in which they are served.

use std::collections::BTreeMap;

use foz_protocol::fetch::{FetchPartition, FetchPartitionResponse};
use foz_protocol::topic::TopicRef;

/// A partition that a session fetches, and what its client was told last.
#[derive(Debug, Clone)]
struct Cached {
    topic: TopicRef,
    wanted: FetchPartition,
    /// -1 until it was told, and after an error.
    high_watermark: i64,
    /// As above.
    last_stable_offset: i64,
    /// -1 until it was told.
    log_start_offset: i64,
}

/// Served from the front. Who got records goes to the end, so that one busy partition does not take
/// every answer's bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Partitions {
    in_order: BTreeMap<u64, Cached>,
    place_of: BTreeMap<(TopicRef, i32), u64>,
    next_place: u64,
}

impl Partitions {
    pub(super) fn len(&self) -> usize {
        self.place_of.len()
    }

    /// Adds it at the end, or takes in what changed about it.
    pub(super) fn want(&mut self, topic: &TopicRef, wanted: FetchPartition) {
        if let Some(cached) = self.find(topic, wanted.partition) {
            cached.wanted = wanted;
            return;
        }
        let cached = Cached {
            topic: topic.clone(),
            wanted,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
        };
        self.put_last(cached);
    }

    pub(super) fn forget(&mut self, topic: &TopicRef, partition: i32) {
        if let Some(place) = self.place_of.remove(&(topic.clone(), partition)) {
            self.in_order.remove(&place);
        }
    }

    pub(super) fn wanted(&self) -> Vec<(TopicRef, FetchPartition)> {
        self.in_order
            .values()
            .map(|cached| (cached.topic.clone(), cached.wanted))
            .collect()
    }

    pub(super) fn last_sent_high_watermark(&self, topic: &TopicRef, partition: i32) -> Option<i64> {
        let place = self.place_of.get(&(topic.clone(), partition))?;
        self.in_order.get(place).map(|cached| cached.high_watermark)
    }

    /// Remembers what the client is told; whether it is told anything new. A partition that is not in
    /// the session any more is not told.
    pub(super) fn told(&mut self, topic: &TopicRef, answer: &FetchPartitionResponse) -> bool {
        let Some(cached) = self.find(topic, answer.partition) else {
            return false;
        };
        let has_news = answer.record_bytes() > 0
            || answer.high_watermark != cached.high_watermark
            || answer.last_stable_offset != cached.last_stable_offset
            || answer.log_start_offset != cached.log_start_offset
            || answer.preferred_read_replica >= 0
            || answer.diverging_epoch.is_some()
            || !answer.error.is_none();
        cached.log_start_offset = answer.log_start_offset;
        // An error says nothing about the high watermark: when it is over, it is told again.
        (cached.high_watermark, cached.last_stable_offset) = match answer.error.is_none() {
            true => (answer.high_watermark, answer.last_stable_offset),
            false => (-1, -1),
        };
        has_news
    }

    pub(super) fn move_last(&mut self, topic: &TopicRef, partition: i32) {
        if let Some(place) = self.place_of.get(&(topic.clone(), partition))
            && let Some(cached) = self.in_order.remove(place)
        {
            self.put_last(cached);
        }
    }

    fn find(&mut self, topic: &TopicRef, partition: i32) -> Option<&mut Cached> {
        let place = self.place_of.get(&(topic.clone(), partition))?;
        self.in_order.get_mut(place)
    }

    fn put_last(&mut self, cached: Cached) {
        let key = (cached.topic.clone(), cached.wanted.partition);
        self.place_of.insert(key, self.next_place);
        self.in_order.insert(self.next_place, cached);
        self.next_place += 1;
    }
}
