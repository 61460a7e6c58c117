//! The sessions that a broker keeps for those who fetch from it.

use std::collections::{BTreeMap, BTreeSet};

use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{FetchPartition, FetchPartitionResponse, FetchRequest};
use foz_protocol::topic::TopicRef;

use super::partitions::Partitions;
use super::{FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, is_full, next_epoch};

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

#[derive(Debug, Clone)]
struct Session {
    is_follower: bool,
    uses_topic_ids: bool,
    /// The epoch that the next request has to have.
    epoch: i32,
    created_ms: i64,
    last_used_ms: i64,
    /// When the last answer was finished, which the client has when it names the next epoch.
    answered_ms: i64,
    /// As the trees below have it.
    size: usize,
    partitions: Partitions,
}

/// Followers before consumers, large before small: the first is the first to go.
type EvictionKey = (bool, usize, i32);

/// All sessions of a broker.
#[derive(Debug, Clone)]
pub struct SessionCache {
    limits: SessionLimits,
    sessions: BTreeMap<i32, Session>,
    last_used: BTreeSet<(i64, i32)>,
    /// Old enough to give way to anyone who is worth more.
    evictable_by_all: BTreeSet<EvictionKey>,
    /// Those, and all sessions of consumers.
    evictable_by_followers: BTreeSet<EvictionKey>,
    partition_count: usize,
    eviction_count: u64,
}

impl SessionCache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            last_used: BTreeSet::new(),
            evictable_by_all: BTreeSet::new(),
            evictable_by_followers: BTreeSet::new(),
            partition_count: 0,
            eviction_count: 0,
        }
    }

    /// Takes a request in. `is_follower` is what the listener and the principal say, not the request: a
    /// consumer cannot touch the session of a node. `uses_topic_ids`: its version is 13 or later.
    ///
    /// # Errors
    /// FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR: answer the
    /// code for the request as a whole.
    pub fn begin(
        &mut self,
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
            if self.is_of(session_id, is_follower) {
                self.remove(session_id);
            }
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

        let session = self
            .sessions
            .get_mut(&session_id)
            .filter(|session| session.is_follower == is_follower)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        for (topic, wanted) in asked_for(request) {
            session.partitions.want(topic, wanted);
        }
        for topic in &request.forgotten_topics {
            for &partition in &topic.partitions {
                session.partitions.forget(&topic.topic, partition);
            }
        }
        if session.partitions.is_empty() {
            self.remove(session_id);
            return Ok(Begun {
                kind: SessionKind::Sessionless,
                partitions: once_each(request).wanted(),
                after_ms: None,
            });
        }
        session.epoch = next_epoch(session.epoch);
        let begun = Begun {
            kind: SessionKind::Incremental {
                session_id,
                next_epoch: session.epoch,
            },
            partitions: session.partitions.wanted(),
            after_ms: Some(session.answered_ms),
        };
        self.touch(session_id, now_ms);
        if self.partition_count > self.limits.partitions_max {
            self.remove(session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        Ok(begun)
    }

    /// Finishes the answer: leaves in `answers` what is to be sent, and returns the session id to send
    /// with it. `random` makes the id of a new session.
    ///
    /// # Errors
    /// INVALID_FETCH_SESSION_EPOCH when another request of the session came in between,
    /// FETCH_SESSION_ID_NOT_FOUND when it had to make room: answer the code and no partitions.
    pub fn finish(
        &mut self,
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
                if size == 0 || !self.make_room(is_follower, size, now_ms) {
                    return Ok(NO_SESSION);
                }
                let mut partitions = Partitions::default();
                for (topic, wanted) in &begun.partitions {
                    partitions.want(topic, *wanted);
                }
                for (topic, answer) in answers.iter() {
                    partitions.told(topic, answer);
                }
                let session_id = self.free_id(random);
                let session = Session {
                    is_follower,
                    uses_topic_ids,
                    epoch: next_epoch(INITIAL_EPOCH),
                    created_ms: now_ms,
                    last_used_ms: now_ms,
                    answered_ms: now_ms,
                    size: 0,
                    partitions,
                };
                self.sessions.insert(session_id, session);
                self.touch(session_id, now_ms);
                Ok(session_id)
            }
            SessionKind::Incremental {
                session_id,
                next_epoch,
            } => {
                let session = match self.sessions.get_mut(&session_id) {
                    Some(session) if session.epoch == next_epoch => session,
                    Some(_) => {
                        answers.clear();
                        return Err(ErrorCode::InvalidFetchSessionEpoch);
                    }
                    None => {
                        answers.clear();
                        return Err(ErrorCode::FetchSessionIdNotFound);
                    }
                };
                session.answered_ms = now_ms;
                answers.retain(|(topic, answer)| {
                    let has_news = session.partitions.told(topic, answer);
                    if has_news && answer.record_bytes() > 0 {
                        session.partitions.move_last(topic, answer.partition);
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
        self.sessions
            .get(&session_id)?
            .partitions
            .last_sent_high_watermark(topic, partition)
    }

    /// Sessions there are (`NumIncrementalFetchSessions`).
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Partitions in all of them (`NumIncrementalFetchPartitionsCached`).
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// Sessions that had to make room (`IncrementalFetchSessionEvictionsPerSec`).
    #[must_use]
    pub fn eviction_count(&self) -> u64 {
        self.eviction_count
    }

    fn is_of(&self, session_id: i32, is_follower: bool) -> bool {
        self.sessions
            .get(&session_id)
            .is_some_and(|session| session.is_follower == is_follower)
    }

    fn free_id(&self, random: u32) -> i32 {
        let mut session_id = i32::try_from(random >> 1).expect("31 bits fit").max(1);
        while self.sessions.contains_key(&session_id) {
            // The slots are far fewer than the ids.
            session_id = session_id.checked_add(1).unwrap_or(1);
        }
        session_id
    }

    fn make_room(&mut self, is_follower: bool, size: usize, now_ms: i64) -> bool {
        let SessionLimits {
            slots_max,
            partitions_max,
            ..
        } = self.limits;
        if slots_max == 0 || size > partitions_max {
            return false;
        }
        while self.sessions.len() >= slots_max || self.partition_count + size > partitions_max {
            if !self.evict(is_follower, size, now_ms) {
                return false;
            }
        }
        true
    }

    /// A newcomer replaces what was idle for long; else what is worth less: consumers before followers,
    /// small before large, and not what is young, unless a follower replaces a consumer.
    fn evict(&mut self, is_follower: bool, size: usize, now_ms: i64) -> bool {
        let Some(&(last_used_ms, idlest)) = self.last_used.first() else {
            return false;
        };
        let victim = if now_ms.saturating_sub(last_used_ms) > self.limits.eviction_ms {
            Some(idlest)
        } else {
            let evictable = if is_follower {
                &self.evictable_by_followers
            } else {
                &self.evictable_by_all
            };
            evictable
                .first()
                .filter(|&&key| key <= (is_follower, size, 0))
                .map(|&(_, _, session_id)| session_id)
        };
        let Some(victim) = victim else {
            return false;
        };
        self.remove(victim);
        self.eviction_count += 1;
        true
    }

    fn remove(&mut self, session_id: i32) {
        if let Some(session) = self.sessions.remove(&session_id) {
            self.unlist(session_id, &session);
        }
    }

    fn unlist(&mut self, session_id: i32, session: &Session) {
        let key = (session.is_follower, session.size, session_id);
        self.last_used.remove(&(session.last_used_ms, session_id));
        self.evictable_by_all.remove(&key);
        self.evictable_by_followers.remove(&key);
        self.partition_count -= session.size;
    }

    /// Used now, and of the size it has now.
    fn touch(&mut self, session_id: i32, now_ms: i64) {
        let Some(mut session) = self.sessions.remove(&session_id) else {
            return;
        };
        self.unlist(session_id, &session);
        session.last_used_ms = now_ms;
        session.size = session.partitions.len();
        let key = (session.is_follower, session.size, session_id);
        let is_old = now_ms.saturating_sub(session.created_ms) > self.limits.eviction_ms;
        self.last_used.insert((now_ms, session_id));
        if is_old {
            self.evictable_by_all.insert(key);
        }
        if is_old || !session.is_follower {
            self.evictable_by_followers.insert(key);
        }
        self.partition_count += session.size;
        self.sessions.insert(session_id, session);
    }
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
