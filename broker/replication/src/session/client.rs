//! The session of a node with one leader's node.

use std::collections::{BTreeMap, BTreeSet};

use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::FetchPartition;
use uuid::Uuid;

use super::{FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, is_full, next_epoch};

/// A partition, by its topic's id. A topic that was deleted and made anew is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicIdPartition {
    /// The topic.
    pub topic_id: Uuid,
    /// The index.
    pub partition: i32,
}

/// What the next request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRequest {
    /// The session; 0 for none.
    pub session_id: i32,
    /// Its epoch.
    pub session_epoch: i32,
    /// What is new or changed; everything in a full request.
    pub to_send: Vec<(TopicIdPartition, FetchPartition)>,
    /// What is not wanted any more.
    pub forgotten: Vec<TopicIdPartition>,
}

/// Why an answer is worth nothing as a whole. The next request begins a session anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionProblem {
    /// The leader refused the request.
    #[error("the leader refused the fetch: {0}")]
    Refused(ErrorCode),
    /// The leader holds the node back, and answered nothing.
    #[error("the leader holds fetches back")]
    Throttled,
    /// The answer names a partition that was not asked for.
    #[error("partition {}-{} was not asked for", .0.topic_id, .0.partition)]
    NotAskedFor(TopicIdPartition),
    /// A full answer leaves a partition out.
    #[error("partition {}-{} was not answered", .0.topic_id, .0.partition)]
    NotAnswered(TopicIdPartition),
}

/// One request at a time: [`Self::request`], then exactly one of [`Self::answered`] and
/// [`Self::failed`].
#[derive(Debug, Clone)]
pub struct SessionClient {
    session_id: i32,
    /// Of the next request.
    session_epoch: i32,
    wanted: BTreeMap<TopicIdPartition, FetchPartition>,
    /// As the leader has them, if it took the last request in.
    sent: BTreeMap<TopicIdPartition, FetchPartition>,
    /// Where the two may differ.
    touched: BTreeSet<TopicIdPartition>,
    /// Sent and then forgotten, which the leader has not been told yet.
    dropped: BTreeSet<TopicIdPartition>,
    full_requests: usize,
}

impl Default for SessionClient {
    fn default() -> Self {
        Self::new()
    }
}

impl SessionClient {
    /// Without a session, and wanting nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            session_id: NO_SESSION,
            session_epoch: INITIAL_EPOCH,
            wanted: BTreeMap::new(),
            sent: BTreeMap::new(),
            touched: BTreeSet::new(),
            dropped: BTreeSet::new(),
            full_requests: 0,
        }
    }

    /// Fetch the partition like this from now on.
    pub fn want(&mut self, partition: TopicIdPartition, how: FetchPartition) {
        self.wanted.insert(partition, how);
        self.touched.insert(partition);
    }

    /// Do not fetch the partition. Also for a while, after an error or an answer that could not be
    /// used: when it is wanted again, the leader tells everything about it anew.
    pub fn forget(&mut self, partition: &TopicIdPartition) {
        self.wanted.remove(partition);
        if self.sent.contains_key(partition) {
            self.touched.insert(*partition);
            self.dropped.insert(*partition);
        } else {
            self.touched.remove(partition);
        }
    }

    /// What is fetched.
    pub fn all_wanted(&self) -> impl Iterator<Item = &TopicIdPartition> {
        self.wanted.keys()
    }

    /// How the partition is fetched.
    #[must_use]
    pub fn wanted(&self, partition: &TopicIdPartition) -> Option<&FetchPartition> {
        self.wanted.get(partition)
    }

    /// Nothing is fetched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The request that was just made could not ask for everything that is wanted: nobody should wait long
    /// for its answer.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The session; 0 for none.
    #[must_use]
    pub fn session_id(&self) -> i32 {
        self.session_id
    }

    /// The next request.
    pub fn request(&mut self) -> SessionRequest {
        let mut request = SessionRequest {
            session_id: self.session_id,
            session_epoch: self.session_epoch,
            to_send: Vec::new(),
            forgotten: Vec::new(),
        };
        if is_full(self.session_epoch) {
            request.to_send = self.wanted.iter().map(|(&at, &how)| (at, how)).collect();
            if !request.to_send.is_empty() {
                // A leader without room for sessions gets nothing else: no partition is always first.
                let first = self.full_requests % request.to_send.len();
                request.to_send.rotate_left(first);
            }
            self.full_requests = self.full_requests.wrapping_add(1);
            self.sent.clone_from(&self.wanted);
            self.touched.clear();
            self.dropped.clear();
            return request;
        }
        for partition in std::mem::take(&mut self.touched) {
            if self.dropped.remove(&partition) {
                self.sent.remove(&partition);
                request.forgotten.push(partition);
                if self.wanted.contains_key(&partition) {
                    // One request cannot do both: the leader forgets last.
                    self.touched.insert(partition);
                }
            } else if let Some(&how) = self.wanted.get(&partition)
                && self.sent.insert(partition, how) != Some(how)
            {
                request.to_send.push((partition, how));
            }
        }
        request
    }

    /// The leader answered.
    ///
    /// # Errors
    /// [`SessionProblem`]: nothing of the answer may be used.
    pub fn answered(
        &mut self,
        error: ErrorCode,
        session_id: i32,
        partitions: impl IntoIterator<Item = TopicIdPartition>,
        throttle_time_ms: i32,
    ) -> Result<(), SessionProblem> {
        if !error.is_none() {
            if error == ErrorCode::FetchSessionIdNotFound {
                self.begin_anew(NO_SESSION);
            } else {
                self.begin_anew(self.session_id);
            }
            return Err(SessionProblem::Refused(error));
        }
        let partitions: BTreeSet<TopicIdPartition> = partitions.into_iter().collect();
        let was_full = is_full(self.session_epoch);
        let strange = partitions
            .iter()
            .find(|&partition| !self.sent.contains_key(partition));
        let missing = self
            .sent
            .keys()
            .find(|&partition| was_full && !partitions.contains(partition));
        let problem = if was_full && partitions.is_empty() && throttle_time_ms > 0 {
            Some(SessionProblem::Throttled)
        } else if let Some(&partition) = strange {
            Some(SessionProblem::NotAskedFor(partition))
        } else {
            missing.map(|&partition| SessionProblem::NotAnswered(partition))
        };
        if let Some(problem) = problem {
            // The leader may have begun a session with this very answer: it is closed first.
            self.begin_anew(if was_full {
                session_id
            } else {
                self.session_id
            });
            return Err(problem);
        }
        if session_id == NO_SESSION {
            self.begin_anew(NO_SESSION);
        } else {
            self.session_id = session_id;
            self.session_epoch = if was_full {
                next_epoch(INITIAL_EPOCH)
            } else {
                next_epoch(self.session_epoch)
            };
        }
        Ok(())
    }

    /// No answer: nobody knows whether the leader took the request in. The next one is full, and closes
    /// the session.
    pub fn failed(&mut self) {
        self.begin_anew(self.session_id);
    }

    /// The request that ends the session, if there is one: no answer is needed.
    pub fn close(&mut self) -> Option<SessionRequest> {
        let session_id = self.session_id;
        self.begin_anew(NO_SESSION);
        (session_id != NO_SESSION).then(|| SessionRequest {
            session_id,
            session_epoch: FINAL_EPOCH,
            to_send: Vec::new(),
            forgotten: Vec::new(),
        })
    }

    fn begin_anew(&mut self, session_id: i32) {
        self.session_id = session_id;
        self.session_epoch = INITIAL_EPOCH;
    }
}

#[cfg(test)]
mod tests;
