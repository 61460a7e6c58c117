//! The sessions that a broker keeps for those who fetch from it.

mod slots;

use std::sync::{Mutex, MutexGuard, PoisonError};

use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{FetchPartition, FetchPartitionResponse, FetchRequest};
use foz_protocol::topic::TopicRef;

use self::slots::Slots;
use super::partitions::Partitions;
use super::{FINAL_EPOCH, NO_SESSION, is_full};

/// Bounds of a [`SessionCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions (`max.incremental.fetch.session.cache.slots`).
    pub slots_max: usize,
    /// Partitions, summed over all sessions: some 200 bytes each.
    pub partitions_max: usize,
    /// Idle for longer, a session gives way to any other; younger, it gives way to none of its kind.
    pub eviction_ms: i64,
}

impl Default for SessionLimits {
    /// Kafka's, where it has one.
    fn default() -> Self {
        Self {
            slots_max: 1_000,
            partitions_max: 1_000_000,
            eviction_ms: 120_000,
        }
    }
}

/// What a request turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// Everything asked for is answered, and nothing is remembered.
    Sessionless,
    /// Everything asked for is answered, and a session begins if there is room.
    Full {
        /// From a node: its session outlives those of consumers.
        is_follower: bool,
        /// The session names topics by id.
        uses_topic_ids: bool,
    },
    /// Of this session: what has news is answered.
    Incremental {
        /// The session.
        session_id: i32,
        /// The epoch that its next request will have.
        next_epoch: i32,
    },
}

/// A request that passed the session's checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// What it is.
    pub kind: SessionKind,
    /// What to read, in this order.
    pub partitions: Vec<(TopicRef, FetchPartition)>,
    /// The asker made the request after this moment, however long it was on its way: it had an answer that
    /// was finished then, or it could not have named the epoch of the session. `None`: nobody knows.
    pub after_ms: Option<i64>,
}

/// All sessions of a broker. Who has a slot is one lock, held for a moment; each session's partitions, which may
/// be thousands, are another.
#[derive(Debug)]
pub struct SessionCache {
    slots: Mutex<Slots>,
}

impl SessionCache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            slots: Mutex::new(Slots::new(limits)),
        }
    }

    /// Takes a request in. `is_follower` is what the listener and the principal say, not the request: a
    /// consumer cannot touch the session of a node. `uses_topic_ids`: its version is 13 or later.
    ///
    /// # Errors
    /// FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR: answer the
    /// code for the request as a whole.
    pub fn begin(
        &self,
        request: &FetchRequest,
        is_follower: bool,
        uses_topic_ids: bool,
        now_ms: i64,
    ) -> Result<Begun, ErrorCode> {
        let FetchRequest {
            session_id,
            session_epoch,
            ..
        } = *request;
        if is_full(session_epoch) {
            let mut slots = lock(&self.slots);
            if slots.is_of(session_id, is_follower) {
                slots.remove(session_id);
            }
            drop(slots);
            return Ok(Begun {
                kind: if session_epoch == FINAL_EPOCH {
                    SessionKind::Sessionless
                } else {
                    SessionKind::Full {
                        is_follower,
                        uses_topic_ids,
                    }
                },
                partitions: once_each(request).wanted(),
                after_ms: None,
            });
        }

        let turn =
            lock(&self.slots).turn(session_id, session_epoch, is_follower, uses_topic_ids)?;
        let mut partitions = lock(&turn.partitions);
        for (topic, wanted) in asked_for(request) {
            partitions.want(topic, wanted);
        }
        for topic in &request.forgotten_topics {
            for &partition in &topic.partitions {
                partitions.forget(&topic.topic, partition);
            }
        }
        let (wanted, size) = (partitions.wanted(), partitions.len());
        drop(partitions);
        if size == 0 {
            lock(&self.slots).remove(session_id);
            return Ok(Begun {
                kind: SessionKind::Sessionless,
                partitions: once_each(request).wanted(),
                after_ms: None,
            });
        }
        lock(&self.slots).used(session_id, size, now_ms)?;
        Ok(Begun {
            kind: SessionKind::Incremental {
                session_id,
                next_epoch: turn.next_epoch,
            },
            partitions: wanted,
            after_ms: Some(turn.answered_ms),
        })
    }

    /// Finishes the answer: leaves in `answers` what is to be sent, and returns the session id to send
    /// with it. `random` makes the id of a new session.
    ///
    /// # Errors
    /// INVALID_FETCH_SESSION_EPOCH when another request of the session came in between,
    /// FETCH_SESSION_ID_NOT_FOUND when it had to make room: answer the code and no partitions.
    pub fn finish(
        &self,
        begun: &Begun,
        answers: &mut Vec<(TopicRef, FetchPartitionResponse)>,
        random: u32,
        now_ms: i64,
    ) -> Result<i32, ErrorCode> {
        match begun.kind {
            SessionKind::Sessionless => Ok(NO_SESSION),
            SessionKind::Full {
                is_follower,
                uses_topic_ids,
            } => {
                let size = begun.partitions.len();
                if size == 0 {
                    return Ok(NO_SESSION);
                }
                let mut partitions = Partitions::default();
                for (topic, wanted) in &begun.partitions {
                    partitions.want(topic, *wanted);
                }
                for (topic, answer) in answers.iter() {
                    partitions.told(topic, answer);
                }
                let mut slots = lock(&self.slots);
                if !slots.make_room(is_follower, size, now_ms) {
                    return Ok(NO_SESSION);
                }
                Ok(slots.add(partitions, is_follower, uses_topic_ids, random, now_ms))
            }
            SessionKind::Incremental {
                session_id,
                next_epoch,
            } => {
                let answered = lock(&self.slots).answered(session_id, next_epoch, now_ms);
                let partitions = answered.inspect_err(|_| answers.clear())?;
                let mut partitions = lock(&partitions);
                answers.retain(|(topic, answer)| {
                    let has_news = partitions.told(topic, answer);
                    if has_news && answer.record_bytes() > 0 {
                        partitions.move_last(topic, answer.partition);
                    }
                    has_news
                });
                Ok(session_id)
            }
        }
    }

    /// The high watermark that the session's client was told last; -1 if none counts, `None` outside a
    /// session. A follower's fetch that could tell it a newer one should not wait for records: nothing
    /// else tells a follower of an idle partition that its records are committed.
    #[must_use]
    pub fn last_sent_high_watermark(
        &self,
        begun: &Begun,
        topic: &TopicRef,
        partition: i32,
    ) -> Option<i64> {
        let SessionKind::Incremental { session_id, .. } = begun.kind else {
            return None;
        };
        let partitions = lock(&self.slots).partitions(session_id)?;
        lock(&partitions).last_sent_high_watermark(topic, partition)
    }

    /// Sessions there are (`NumIncrementalFetchSessions`).
    #[must_use]
    pub fn session_count(&self) -> usize {
        lock(&self.slots).len()
    }

    /// Partitions in all of them (`NumIncrementalFetchPartitionsCached`).
    #[must_use]
    pub fn partition_count(&self) -> usize {
        lock(&self.slots).partition_count
    }

    /// Sessions that had to make room (`IncrementalFetchSessionEvictionsPerSec`).
    #[must_use]
    pub fn eviction_count(&self) -> u64 {
        lock(&self.slots).eviction_count
    }
}

/// What is locked stays right when somebody panics: every change is made whole before anything can fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn asked_for(request: &FetchRequest) -> impl Iterator<Item = (&TopicRef, FetchPartition)> {
    request.topics.iter().flat_map(|topic| {
        topic
            .partitions
            .iter()
            .map(move |&wanted| (&topic.topic, wanted))
    })
}

/// A partition that is named twice is fetched once, as it was named last.
fn once_each(request: &FetchRequest) -> Partitions {
    let mut partitions = Partitions::default();
    for (topic, wanted) in asked_for(request) {
        partitions.want(topic, wanted);
    }
    partitions
}

#[cfg(test)]
mod tests;
