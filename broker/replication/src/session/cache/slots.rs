//! Which sessions there are, and who has to make room: all but their partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use foz_protocol::error::ErrorCode;

use super::SessionLimits;
use crate::session::partitions::Partitions;
use crate::session::{INITIAL_EPOCH, next_epoch};

#[derive(Debug)]
pub(super) struct Session {
    is_follower: bool,
    uses_topic_ids: bool,
    /// The epoch that the next request has to have.
    pub(super) epoch: i32,
    created_ms: i64,
    last_used_ms: i64,
    /// When the last answer was finished, which the client has when it names the next epoch.
    answered_ms: i64,
    /// As the trees below have it.
    size: usize,
    partitions: Arc<Mutex<Partitions>>,
}

/// A session whose turn it is.
pub(super) struct Turn {
    pub(super) next_epoch: i32,
    pub(super) answered_ms: i64,
    pub(super) partitions: Arc<Mutex<Partitions>>,
}

/// Followers before consumers, large before small: the first is the first to go.
type EvictionKey = (bool, usize, i32);

#[derive(Debug)]
pub(super) struct Slots {
    limits: SessionLimits,
    pub(super) sessions: BTreeMap<i32, Session>,
    last_used: BTreeSet<(i64, i32)>,
    /// Old enough to give way to anyone who is worth more.
    evictable_by_all: BTreeSet<EvictionKey>,
    /// Those, and all sessions of consumers.
    evictable_by_followers: BTreeSet<EvictionKey>,
    pub(super) partition_count: usize,
    pub(super) eviction_count: u64,
}

impl Slots {
    pub(super) fn new(limits: SessionLimits) -> Self {
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

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn contains(&self, session_id: i32) -> bool {
        self.sessions.contains_key(&session_id)
    }

    pub(super) fn partitions(&self, session_id: i32) -> Option<Arc<Mutex<Partitions>>> {
        let session = self.sessions.get(&session_id)?;
        Some(Arc::clone(&session.partitions))
    }

    /// The next request of a session has come. It is to be [used](Self::used) afterwards.
    pub(super) fn turn(
        &mut self,
        session_id: i32,
        session_epoch: i32,
        is_follower: bool,
        uses_topic_ids: bool,
    ) -> Result<Turn, ErrorCode> {
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
        session.epoch = next_epoch(session.epoch);
        Ok(Turn {
            next_epoch: session.epoch,
            answered_ms: session.answered_ms,
            partitions: Arc::clone(&session.partitions),
        })
    }

    /// Used now, with so many partitions.
    ///
    /// # Errors
    /// FETCH_SESSION_ID_NOT_FOUND: these are too many, it goes.
    pub(super) fn used(
        &mut self,
        session_id: i32,
        size: usize,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        self.touch(session_id, size, now_ms);
        if self.partition_count > self.limits.partitions_max {
            self.remove(session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        Ok(())
    }

    /// The answer to the request before this epoch is there.
    ///
    /// # Errors
    /// As [`finish`](super::SessionCache::finish).
    pub(super) fn answered(
        &mut self,
        session_id: i32,
        next_epoch: i32,
        now_ms: i64,
    ) -> Result<Arc<Mutex<Partitions>>, ErrorCode> {
        match self.sessions.get_mut(&session_id) {
            Some(session) if session.epoch == next_epoch => {
                session.answered_ms = now_ms;
                Ok(Arc::clone(&session.partitions))
            }
            Some(_) => Err(ErrorCode::InvalidFetchSessionEpoch),
            None => Err(ErrorCode::FetchSessionIdNotFound),
        }
    }

    /// A session begins. `random` makes its id.
    pub(super) fn add(
        &mut self,
        partitions: Partitions,
        is_follower: bool,
        uses_topic_ids: bool,
        random: u32,
        now_ms: i64,
    ) -> i32 {
        let session_id = self.free_id(random);
        let size = partitions.len();
        let session = Session {
            is_follower,
            uses_topic_ids,
            epoch: next_epoch(INITIAL_EPOCH),
            created_ms: now_ms,
            last_used_ms: now_ms,
            answered_ms: now_ms,
            size: 0,
            partitions: Arc::new(Mutex::new(partitions)),
        };
        self.sessions.insert(session_id, session);
        self.touch(session_id, size, now_ms);
        session_id
    }

    pub(super) fn is_of(&self, session_id: i32, is_follower: bool) -> bool {
        self.sessions
            .get(&session_id)
            .is_some_and(|session| session.is_follower == is_follower)
    }

    pub(super) fn make_room(&mut self, is_follower: bool, size: usize, now_ms: i64) -> bool {
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

    pub(super) fn remove(&mut self, session_id: i32) {
        if let Some(session) = self.sessions.remove(&session_id) {
            self.unlist(session_id, &session);
        }
    }

    fn free_id(&self, random: u32) -> i32 {
        let mut session_id = i32::try_from(random >> 1).expect("31 bits fit").max(1);
        while self.contains(session_id) {
            // The slots are far fewer than the ids.
            session_id = session_id.checked_add(1).unwrap_or(1);
        }
        session_id
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

    fn unlist(&mut self, session_id: i32, session: &Session) {
        let key = (session.is_follower, session.size, session_id);
        self.last_used.remove(&(session.last_used_ms, session_id));
        self.evictable_by_all.remove(&key);
        self.evictable_by_followers.remove(&key);
        self.partition_count -= session.size;
    }

    /// Nothing, where it had to make room meanwhile.
    fn touch(&mut self, session_id: i32, size: usize, now_ms: i64) {
        let Some(mut session) = self.sessions.remove(&session_id) else {
            return;
        };
        self.unlist(session_id, &session);
        session.last_used_ms = now_ms;
        session.size = size;
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
