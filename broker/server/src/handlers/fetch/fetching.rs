//! A fetch on its way: what was found for each partition, and which have to be looked at again.
//!
//! A fetch may wait long and ask for thousands of partitions: whoever moves on says which one it is, and only
//! those are looked at. A follower that catches up gets little at a time, after what others wait for, and not
//! sooner than its [pace](CatchUpPace) allows: first of the partition where it lacks least. So they are whole one
//! after the other, and what the kernel reads ahead of one is not forgotten again before it is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foz_metadata::Image;
use foz_protocol::fetch::{FetchPartitionResponse, FetchRequest, IsolationLevel};
use foz_protocol::topic::TopicRef;
use foz_replication::{Begun, CatchUpAnswer, CatchUpPace, ClientBytes};
use tokio::time::Instant;

use super::Asker;
use super::pass::Pass;
use crate::broker::Broker;
use crate::handlers::topic_view;
use crate::partition::{FetchWaiter, monotonic};
use crate::request::RequestContext;

/// One fetch.
pub(super) struct Fetching<'a> {
    context: &'a RequestContext,
    asker: Asker,
    begun: &'a Begun,
    isolation_level: IsolationLevel,
    /// The consumer's; empty for none.
    rack: &'a str,
    waiter: Arc<FetchWaiter>,
    /// For each partition, what was found last. Empty before the first pass.
    found: Vec<FetchPartitionResponse>,
    /// Those in which a follower catches up, and that wait for their time, with how many records it lacks.
    held_back: BTreeMap<usize, i64>,
    /// When the last pass began, if it read for those, and how many bytes.
    catch_up: Option<(Duration, usize)>,
}

/// What a pass came to.
pub(super) struct Passed {
    /// Of records.
    pub(super) bytes: usize,
    /// Something that the asker should hear of at once: an error, a leader to go to, records that are
    /// committed by now.
    pub(super) has_news: bool,
    /// Whatever moves, there is more to read from then on.
    pub(super) again_at: Option<Instant>,
}

impl<'a> Fetching<'a> {
    pub(super) fn new(
        context: &'a RequestContext,
        request: &'a FetchRequest,
        asker: Asker,
        begun: &'a Begun,
    ) -> Self {
        // One that asks for nothing says nothing of what it has written.
        if matches!(asker, Asker::Follower { .. }) && !begun.partitions.is_empty() {
            let (now, clients) = (monotonic(), client_bytes(&context.broker));
            let mut pace = context.client.catch_up.lock();
            pace.get_or_insert_with(|| CatchUpPace::new(now, clients))
                .asked(now, clients);
        }
        Self {
            context,
            asker,
            begun,
            isolation_level: request.isolation_level,
            rack: &request.rack_id,
            waiter: Arc::default(),
            found: Vec::new(),
            held_back: BTreeMap::new(),
            catch_up: None,
        }
    }

    /// Looks at what has moved since the last pass; at everything in the first one.
    pub(super) fn pass(&mut self, image: &Image, room: usize) -> Passed {
        let partitions = &self.begun.partitions;
        let is_new = self.found.is_empty();
        let mut due = self.waiter.take_moved();
        if is_new {
            due.extend(0..partitions.len());
        }
        let began = monotonic();
        let pace = self.context.client.catch_up.lock().clone();
        let catch_up = pace.map_or(CatchUpAnswer::AnyBytes, |pace| pace.answer(began));
        let mut pass = Pass {
            context: self.context,
            image,
            asker: self.asker,
            isolation_level: self.isolation_level,
            rack: self.rack,
            after_ms: self.begun.after_ms,
            waiter: &self.waiter,
            is_new,
            room,
            catch_up_room: 0,
            bytes: 0,
            catch_up_bytes: 0,
            has_news: false,
        };
        for number in due {
            if self.held_back.contains_key(&number) {
                continue;
            }
            let known = self.found.get(number);
            let known_start = known.map_or(i64::MAX, |known| known.log_start_offset);
            let (found, lacks) = pass.partition(number, &partitions[number]);
            // Whoever deleted records waits for followers. Not in the first pass: that the follower says less than the
            // leader has may last, and its fetches would never wait.
            pass.has_news |= found.log_start_offset > known_start
                && matches!(self.asker, Asker::Follower { .. });
            if let Some(lacks) = lacks {
                self.held_back.insert(number, lacks);
            }
            match self.found.get_mut(number) {
                Some(known) => *known = found,
                None => self.found.push(found),
            }
        }
        pass.is_new = false;
        let again_at = match catch_up {
            CatchUpAnswer::NotBefore(moment) if !self.held_back.is_empty() => {
                Some(Instant::now() + moment.saturating_sub(monotonic()))
            }
            CatchUpAnswer::NotBefore(_) => None,
            CatchUpAnswer::AnyBytes | CatchUpAnswer::Bytes(_) => {
                let catch_up_room = match catch_up {
                    CatchUpAnswer::Bytes(bytes) => bytes,
                    _ => usize::MAX,
                };
                pass.catch_up_room = catch_up_room;
                for number in self.least_lacking_first() {
                    // What is left is too little for the next one: it would only be looked at.
                    if pass.catch_up_room < catch_up_room / 2 {
                        break;
                    }
                    self.held_back.remove(&number);
                    (self.found[number], _) = pass.partition(number, &partitions[number]);
                }
                None
            }
        };
        self.catch_up = (pass.catch_up_bytes > 0).then_some((began, pass.catch_up_bytes));
        Passed {
            bytes: pass.bytes,
            has_news: pass.has_news,
            again_at,
        }
    }

    fn least_lacking_first(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = self.held_back.keys().copied().collect();
        numbers.sort_by_key(|number| self.held_back[number]);
        numbers
    }

    /// They are read again with the next pass.
    pub(super) fn drop_records(&mut self) {
        for (number, found) in self.found.iter_mut().enumerate() {
            if !found.records.is_empty() {
                found.records = Vec::new();
                self.waiter.add_moved(number);
            }
        }
    }

    /// Waits until there is something for the next pass.
    pub(super) async fn moved(&self) {
        self.waiter.notified().await;
    }

    /// All that was found: it is sent.
    pub(super) fn answers(self, image: &Image) -> Vec<(TopicRef, FetchPartitionResponse)> {
        if let Asker::Consumer = self.asker {
            self.count(image);
        }
        if let Some((began, bytes)) = self.catch_up
            && let Some(pace) = &mut *self.context.client.catch_up.lock()
        {
            pace.sent(began, bytes);
        }
        let topics = self.begun.partitions.iter().map(|(topic, _)| topic.clone());
        topics.zip(self.found).collect()
    }

    /// Here and not where it is read: what is not enough is read again.
    fn count(&self, image: &Image) {
        for ((topic, _), found) in self.begun.partitions.iter().zip(&self.found) {
            let bytes: usize = found.records.iter().map(Bytes::len).sum();
            if bytes == 0 {
                continue;
            }
            let topic = topic_view::find(image, topic).ok();
            let partitions = &self.context.broker.partitions;
            let partition = topic.and_then(|topic| partitions.get(topic.id, found.partition));
            if let Some(partition) = partition {
                partition.traffic().fetched(bytes);
            }
        }
    }
}

fn client_bytes(broker: &Broker) -> ClientBytes {
    ClientBytes {
        produced: broker.metrics.produced_bytes.get(),
        fetched: broker.metrics.fetched_bytes.get(),
    }
}
