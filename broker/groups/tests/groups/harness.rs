mod requests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use foz_groups::{
    AppendError, AppendToken, CompleteTransaction, Coordinator, Effect, GroupConfig, Loader, Now,
    Record, Request, RequestContext, Response, Topic, Topics, TransactionalProducer, WaiterId,
};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Encodable;
use uuid::Uuid;

pub(crate) use requests::*;

/// A coordinator with a log and a clock made of numbers.
pub(crate) struct Harness {
    pub(crate) coordinator: Coordinator,
    pub(crate) config: GroupConfig,
    pub(crate) now: Now,
    /// What was confirmed, in order: what a restart finds.
    pub(crate) log: Vec<Logged>,
    pub(crate) pending: VecDeque<(AppendToken, Vec<Logged>)>,
    /// What is in the log and not committed, when a coordinator is loaded.
    tail: Vec<Logged>,
    /// What waits for the tail to be committed; it does not fail.
    tail_token: Option<AppendToken>,
    /// Confirm appends as soon as they are handed out.
    pub(crate) confirms: bool,
    pub(crate) open: BTreeMap<WaiterId, i16>,
    pub(crate) replies: BTreeMap<WaiterId, Response>,
    next_waiter: WaiterId,
    next_uuid: u128,
    /// Which requests come over.
    pub(crate) connection: u64,
    topics: Arc<Topics>,
    topics_version: u64,
    /// What regular expressions are to be resolved.
    pub(crate) to_resolve: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// Every append fails at once.
    pub(crate) fails: Option<AppendError>,
    /// The next one does.
    pub(crate) fails_once: Option<AppendError>,
    /// How often the coordinator has asked to be loaded again.
    pub(crate) reloads: usize,
}

/// A record or a marker in the log. A marker has no key, and a value that is no tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
    /// In whose transaction.
    pub(crate) producer_id: Option<i64>,
    /// Of a marker.
    pub(crate) is_commit: Option<bool>,
}

impl Logged {
    fn of(record: Record, producer: Option<TransactionalProducer>) -> Self {
        Self {
            key: record.key,
            value: record.value,
            producer_id: producer.map(|producer| producer.id),
            is_commit: None,
        }
    }

    fn marker(transaction: CompleteTransaction) -> Self {
        Self {
            key: Bytes::new(),
            value: Some(Bytes::new()),
            producer_id: Some(transaction.producer.id),
            is_commit: Some(transaction.is_commit),
        }
    }

    fn replay(&self, loader: &mut Loader, is_committed: bool) {
        if let (Some(producer_id), Some(is_commit)) = (self.producer_id, self.is_commit) {
            return match is_committed {
                true => loader.end_transaction(producer_id, is_commit),
                false => loader.end_transaction_uncommitted(producer_id, is_commit),
            };
        }
        let value = self.value.as_deref();
        let replayed = match is_committed {
            true => loader.replay(self.producer_id, &self.key, value),
            false => loader.replay_uncommitted(self.producer_id, &self.key, value),
        };
        replayed.expect("a record of our own");
    }
}

impl From<Record> for Logged {
    fn from(record: Record) -> Self {
        Self::of(record, None)
    }
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with_config(GroupConfig::default())
    }

    pub(crate) fn with_config(config: GroupConfig) -> Self {
        let now = Now {
            monotonic_ms: 5_000,
            wall_ms: 1_700_000_000_000,
        };
        let (coordinator, effects) = Loader::new().finish(config.clone(), now);
        assert_eq!(effects, []);
        Self {
            coordinator,
            config,
            now,
            log: Vec::new(),
            pending: VecDeque::new(),
            tail: Vec::new(),
            tail_token: None,
            confirms: true,
            open: BTreeMap::new(),
            replies: BTreeMap::new(),
            next_waiter: 1,
            next_uuid: 1,
            connection: 1,
            topics: Arc::new(Topics::default()),
            topics_version: 0,
            to_resolve: Vec::new(),
            fails: None,
            fails_once: None,
            reloads: 0,
        }
    }

    /// The topics that consumer groups see: name, id, partitions.
    pub(crate) fn set_topics(&mut self, topics: &[(&str, u128, usize)]) {
        self.topics_version += 1;
        let topics = topics.iter().map(|(name, id, partition_count)| {
            let racks = vec![Vec::new(); *partition_count];
            let topic = Topic::new(name, Uuid::from_u128(*id), &racks);
            (Arc::from(*name), topic)
        });
        self.topics = Arc::new(Topics::new(self.topics_version, topics));
        self.coordinator.on_topics_changed(Arc::clone(&self.topics));
    }

    pub(crate) fn send(&mut self, api_version: i16, request: Request) -> WaiterId {
        self.send_as("client", api_version, request)
    }

    pub(crate) fn send_as(
        &mut self,
        client_id: &str,
        api_version: i16,
        request: Request,
    ) -> WaiterId {
        let context = RequestContext {
            waiter: self.next_waiter,
            api_version,
            connection: self.connection,
            client_id: client_id.to_owned(),
            client_host: "/192.0.2.1".to_owned(),
            member_uuid: Uuid::from_u128(self.next_uuid),
        };
        self.next_waiter += 1;
        self.next_uuid += 1;
        self.open.insert(context.waiter, api_version);
        let effects = self.coordinator.handle(&context, request, self.now);
        self.absorb(effects);
        context.waiter
    }

    /// Sends a request that is answered at once.
    pub(crate) fn call(&mut self, api_version: i16, request: Request) -> Response {
        let waiter = self.send(api_version, request);
        self.take(waiter)
    }

    pub(crate) fn take(&mut self, waiter: WaiterId) -> Response {
        self.replies.remove(&waiter).expect("an answer")
    }

    pub(crate) fn is_open(&self, waiter: WaiterId) -> bool {
        self.open.contains_key(&waiter)
    }

    pub(crate) fn absorb(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        loop {
            while let Some(effect) = effects.pop_front() {
                match effect {
                    Effect::Reply { waiter, response } => {
                        let api_version = self.open.remove(&waiter).expect("one reply per waiter");
                        encode(&response, api_version);
                        self.replies.insert(waiter, response);
                    }
                    Effect::Append { token, .. } if !self.coordinator.is_under_way(token) => {}
                    Effect::AppendMarker { token, .. } if !self.coordinator.is_under_way(token) => {
                    }
                    effect @ (Effect::Append { .. } | Effect::AppendMarker { .. }) => {
                        let (token, records) = match effect {
                            Effect::AppendMarker { token, transaction } => {
                                (token, vec![Logged::marker(transaction)])
                            }
                            Effect::Append {
                                token,
                                records,
                                producer,
                            } => {
                                let records = records.into_iter();
                                let logged = |record| Logged::of(record, producer);
                                (token, records.map(logged).collect())
                            }
                            other => panic!("{other:?}"),
                        };
                        assert!(!records.is_empty());
                        if let Some(error) = self.fails_once.take().or(self.fails) {
                            let undone = self.coordinator.on_append(token, Err(error), self.now);
                            for effect in undone.into_iter().rev() {
                                effects.push_front(effect);
                            }
                            continue;
                        }
                        self.pending.push_back((token, records));
                    }
                    Effect::AwaitCommitted { token } => {
                        assert!(self.pending.is_empty(), "it comes before any append");
                        let tail = std::mem::take(&mut self.tail);
                        assert!(!tail.is_empty());
                        self.tail_token = Some(token);
                        self.pending.push_back((token, tail));
                    }
                    Effect::Resolve { group_id, regexes } => {
                        assert!(!regexes.is_empty());
                        self.to_resolve.push((group_id, regexes));
                    }
                    Effect::Report { too_large, .. } => panic!("{too_large}"),
                    Effect::Reload => {
                        self.reloads += 1;
                        // As the caller does: nothing more of what it said, and what is in the log stays there.
                        self.restart_with_tail(self.pending.len());
                        return;
                    }
                }
            }
            if !self.confirms || self.pending.is_empty() {
                return;
            }
            effects.extend(self.confirm_effects());
        }
    }

    /// Confirms the oldest append; false when there is none.
    pub(crate) fn confirm(&mut self) -> bool {
        let any = !self.pending.is_empty();
        let effects = self.confirm_effects();
        self.absorb(effects);
        any
    }

    /// Fails the oldest append; false when there is none.
    pub(crate) fn fail(&mut self, error: AppendError) -> bool {
        let can_fail = |(token, _): &(AppendToken, Vec<Logged>)| self.tail_token != Some(*token);
        if !self.pending.front().is_some_and(can_fail) {
            return false;
        }
        let (token, _) = self.pending.pop_front().expect("seen above");
        let effects = self.coordinator.on_append(token, Err(error), self.now);
        self.absorb(effects);
        true
    }

    /// Lets time pass, stopping at each deadline on the way.
    pub(crate) fn advance(&mut self, duration_ms: i64) {
        let end_ms = self.now.monotonic_ms + duration_ms;
        for _ in 0..100_000 {
            let deadline_ms = self.coordinator.next_deadline().filter(|ms| *ms <= end_ms);
            let Some(deadline_ms) = deadline_ms else {
                self.move_clock_to(end_ms);
                return;
            };
            self.move_clock_to(deadline_ms.max(self.now.monotonic_ms));
            let effects = self.coordinator.on_timer(self.now);
            self.absorb(effects);
        }
        panic!("the timers never come to rest");
    }

    /// Fails the newest append.
    pub(crate) fn fail_newest(&mut self, error: AppendError) {
        let (token, _) = self.pending.pop_back().expect("an append");
        let effects = self.coordinator.on_append(token, Err(error), self.now);
        self.absorb(effects);
    }

    /// Resigns and loads again from what was confirmed; what was under way is lost.
    pub(crate) fn restart(&mut self) {
        self.restart_with_tail(0);
    }

    /// The same, but the first `kept` appends that were under way are in the log, and not committed yet.
    pub(crate) fn restart_with_tail(&mut self, kept: usize) {
        let (fresh, _) = Loader::new().finish(self.config.clone(), self.now);
        let effects = std::mem::replace(&mut self.coordinator, fresh).resign();
        self.absorb(effects);
        assert!(
            self.open.is_empty(),
            "left without an answer: {:?}",
            self.open
        );
        let kept = self.pending.drain(..).take(kept);
        self.tail_token = None;
        self.tail = kept.flat_map(|(_, records)| records).collect();
        self.pending.clear();
        let mut loader = Loader::new();
        for record in &self.log {
            record.replay(&mut loader, true);
        }
        for record in &self.tail {
            record.replay(&mut loader, false);
        }
        let (coordinator, effects) = loader.finish(self.config.clone(), self.now);
        self.coordinator = coordinator;
        self.coordinator.on_topics_changed(Arc::clone(&self.topics));
        self.absorb(effects);
    }

    pub(crate) fn join(&mut self, request: JoinGroupRequest) -> WaiterId {
        self.send(9, Request::JoinGroup(request))
    }

    pub(crate) fn joined(&mut self, waiter: WaiterId) -> JoinGroupResponse {
        match self.take(waiter) {
            Response::JoinGroup(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn synced(&mut self, waiter: WaiterId) -> SyncGroupResponse {
        match self.take(waiter) {
            Response::SyncGroup(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Asks for a member id, as KIP-394 wants.
    pub(crate) fn member_id(&mut self, request: JoinGroupRequest) -> String {
        let waiter = self.join(request);
        let response = self.joined(waiter);
        assert_eq!(response.error_code, ResponseError::MemberIdRequired.code());
        response.member_id.to_string()
    }

    pub(crate) fn sync(
        &mut self,
        member_id: &str,
        generation: i32,
        assigned: &[(&str, &str)],
    ) -> WaiterId {
        self.send(
            5,
            Request::SyncGroup(sync_request(member_id, generation, assigned)),
        )
    }

    pub(crate) fn heartbeat(&mut self, member_id: &str, generation: i32) -> i16 {
        match self.call(
            4,
            Request::Heartbeat(heartbeat_request(member_id, generation)),
        ) {
            Response::Heartbeat(response) => response.error_code,
            other => panic!("{other:?}"),
        }
    }

    /// The error of the only member.
    pub(crate) fn leave(&mut self, member_id: &str) -> i16 {
        match self.call(5, Request::LeaveGroup(leave_request(&[member_id]))) {
            Response::LeaveGroup(response) => {
                assert_eq!(response.error_code, 0);
                response.members[0].error_code
            }
            other => panic!("{other:?}"),
        }
    }

    /// The error of the only partition.
    pub(crate) fn commit(
        &mut self,
        member_id: &str,
        generation: i32,
        topic: &str,
        offset: i64,
    ) -> i16 {
        let request = commit_request(member_id, generation, topic, offset);
        match self.call(9, Request::OffsetCommit(request)) {
            Response::OffsetCommit(response) => response.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    /// The same, by a coordinator that was loaded from what was confirmed.
    pub(crate) fn confirmed_offsets(&self) -> Vec<(String, i32, i64)> {
        let mut other = Self::with_config(self.config.clone());
        other.log.clone_from(&self.log);
        other.restart();
        other.offsets()
    }

    /// What was in the log when the coordinator was loaded is not committed yet.
    pub(crate) fn is_loading(&self) -> bool {
        self.pending
            .front()
            .is_some_and(|(token, _)| self.tail_token == Some(*token))
    }

    /// Every committed offset of the group: topic, partition, offset.
    pub(crate) fn offsets(&mut self) -> Vec<(String, i32, i64)> {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(GROUP))
            .with_topics(None);
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        let Response::OffsetFetch(response) = self.call(9, Request::OffsetFetch(request)) else {
            panic!("no OffsetFetch response");
        };
        assert_eq!(response.groups[0].error_code, 0);
        let topics = response.groups[0].topics.iter();
        let offsets = topics.flat_map(|topic| {
            let name = topic.name.to_string();
            topic.partitions.iter().map(move |partition| {
                (
                    name.clone(),
                    partition.partition_index,
                    partition.committed_offset,
                )
            })
        });
        let offsets: Vec<_> = offsets.collect();
        self.check_told(&offsets);
        offsets
    }

    /// Metrics tell no other.
    fn check_told(&self, fetched: &[(String, i32, i64)]) {
        let committed = self.coordinator.committed_offsets(usize::MAX);
        let mut groups = committed.groups.iter();
        let group = groups.find(|group| &*group.group_id == GROUP);
        let told = group.into_iter().flat_map(|group| &group.offsets);
        let told = told.map(|it| (it.topic.to_string(), it.partition, it.offset));
        let positions = fetched
            .iter()
            .filter(|(_, _, offset)| *offset >= 0)
            .cloned();
        assert_eq!(told.collect::<Vec<_>>(), positions.collect::<Vec<_>>());
    }

    /// State, protocol, and the members' ids with their assignments.
    pub(crate) fn describe(&mut self) -> (String, String, Vec<(String, String)>) {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(GROUP)]);
        let Response::DescribeGroups(response) = self.call(5, Request::DescribeGroups(request))
        else {
            panic!("no DescribeGroups response");
        };
        let group = &response.groups[0];
        let members = group.members.iter().map(|member| {
            let assignment = String::from_utf8(member.member_assignment.to_vec()).expect("text");
            (member.member_id.to_string(), assignment)
        });
        (
            group.group_state.to_string(),
            group.protocol_data.to_string(),
            members.collect(),
        )
    }

    pub(crate) fn state(&mut self) -> String {
        self.describe().0
    }

    /// A Stable group in generation 1; the first id is the leader's.
    pub(crate) fn stable(&mut self, count: usize) -> Vec<String> {
        let ids: Vec<String> = (0..count)
            .map(|_| self.member_id(join_request("")))
            .collect();
        let waiters: Vec<WaiterId> = ids.iter().map(|id| self.join(join_request(id))).collect();
        while self.is_open(waiters[0]) {
            self.advance(1_000);
        }
        for waiter in waiters {
            assert_eq!(self.joined(waiter).error_code, 0);
        }
        let assigned: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        for id in ids.iter().rev() {
            let waiter = self.sync(id, 1, &assigned);
            if *id == ids[0] {
                self.synced(waiter);
            }
        }
        self.replies.clear();
        assert_eq!(self.state(), "Stable");
        ids
    }

    fn move_clock_to(&mut self, monotonic_ms: i64) {
        self.now.wall_ms += monotonic_ms - self.now.monotonic_ms;
        self.now.monotonic_ms = monotonic_ms;
    }

    fn confirm_effects(&mut self) -> Vec<Effect> {
        let Some((token, records)) = self.pending.pop_front() else {
            return Vec::new();
        };
        self.log.extend(records);
        self.coordinator.on_append(token, Ok(()), self.now)
    }
}

/// A response that cannot be encoded at its version would never reach the client.
fn encode(response: &Response, api_version: i16) {
    let mut buf = BytesMut::new();
    let encoded = match response {
        Response::JoinGroup(response) => response.encode(&mut buf, api_version),
        Response::SyncGroup(response) => response.encode(&mut buf, api_version),
        Response::Heartbeat(response) => response.encode(&mut buf, api_version),
        Response::LeaveGroup(response) => response.encode(&mut buf, api_version),
        Response::OffsetCommit(response) => response.encode(&mut buf, api_version),
        Response::OffsetFetch(response) => response.encode(&mut buf, api_version),
        Response::DescribeGroups(response) => response.encode(&mut buf, api_version),
        Response::ListGroups(response) => response.encode(&mut buf, api_version),
        Response::DeleteGroups(response) => response.encode(&mut buf, api_version),
        Response::OffsetDelete(response) => response.encode(&mut buf, api_version),
        Response::ConsumerGroupHeartbeat(response) => response.encode(&mut buf, api_version),
        Response::ConsumerGroupDescribe(response) => response.encode(&mut buf, api_version),
        Response::TxnOffsetCommit(response) => response.encode(&mut buf, api_version),
        Response::CompleteTransaction(_) => Ok(()),
    };
    encoded.unwrap_or_else(|error| panic!("{response:?} at version {api_version}: {error}"));
}
