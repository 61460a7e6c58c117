use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;

use crate::effect::AppendToken;
use crate::member::{Member, Protocol};
use crate::subscription::subscribed_topics;

/// The protocol type of consumers; only for these the coordinator knows the subscribed topics.
pub(crate) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// State of a classic group, with Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members; perhaps offsets.
    Empty,
    /// Waits for members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Every member has, or can get, its assignment.
    Stable,
    /// There is no such group.
    Dead,
}

impl GroupState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Empty,
        Self::PreparingRebalance,
        Self::CompletingRebalance,
        Self::Stable,
        Self::Dead,
    ];

    /// The name that clients and tools see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// How much longer the first rebalance of an empty group may be held back for more members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InitialDelay {
    pub(crate) delay_ms: i32,
    pub(crate) remaining_ms: i32,
}

/// A classic group: its members and where it is between two generations.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) id: Arc<str>,
    pub(crate) state: GroupState,
    /// When the state was entered (wall clock); unknown for groups written before Kafka 2.1.
    pub(crate) state_timestamp_ms: Option<i64>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol_name: Option<Arc<str>>,
    /// None where it has no member, or has been one of KIP-848 till now.
    pub(crate) leader: Option<Arc<str>>,
    pub(crate) members: BTreeMap<Arc<str>, Member>,
    /// Member id by group.instance.id.
    pub(crate) static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Member ids handed out (KIP-394) whose owner has not joined yet.
    pub(crate) pending_joins: BTreeSet<Arc<str>>,
    /// Members that have not sent SyncGroup in this generation.
    pub(crate) pending_syncs: BTreeSet<Arc<str>>,
    /// `None` when the group's metadata is not that of consumers.
    pub(crate) subscribed_topics: Option<BTreeSet<Arc<str>>>,
    /// Set during the first rebalance of an empty group.
    pub(crate) initial_delay: Option<InitialDelay>,
    pub(crate) new_member_added: bool,
    /// The append of the leader's assignment of this generation, while it is under way.
    pub(crate) assignment_append: Option<AppendToken>,
}

impl Group {
    pub(crate) fn new(id: Arc<str>, now_wall_ms: i64) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            state_timestamp_ms: Some(now_wall_ms),
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            subscribed_topics: None,
            initial_delay: None,
            new_member_added: false,
            assignment_append: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state == GroupState::Empty
    }

    /// Nobody is in it and nobody is about to be.
    pub(crate) fn is_vacant(&self) -> bool {
        self.is_empty() && self.pending_joins.is_empty()
    }

    /// It never had a member: nothing of it was or will be in the log.
    pub(crate) fn is_unused(&self) -> bool {
        self.is_vacant() && self.generation == 0 && self.protocol_type.is_none()
    }

    pub(crate) fn transition_to(&mut self, state: GroupState, now_wall_ms: i64) {
        let allowed = match state {
            GroupState::Empty | GroupState::CompletingRebalance => {
                self.state == GroupState::PreparingRebalance
            }
            GroupState::PreparingRebalance => matches!(
                self.state,
                GroupState::Stable | GroupState::CompletingRebalance | GroupState::Empty
            ),
            GroupState::Stable => self.state == GroupState::CompletingRebalance,
            GroupState::Dead => false,
        };
        assert!(
            allowed,
            "group cannot go from {} to {}",
            self.state.name(),
            state.name()
        );
        self.state = state;
        self.state_timestamp_ms = Some(now_wall_ms);
    }

    pub(crate) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Whether its offsets of a topic are in use; unknown counts as yes for consumers.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// An empty group takes any type that is named and offers something; any other group only its
    /// own type, with a protocol that every member supports.
    pub(crate) fn supports_protocols(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|protocol| self.all_support(&protocol.name))
    }

    fn all_support(&self, protocol_name: &str) -> bool {
        self.members
            .values()
            .all(|member| member.supports(protocol_name))
    }

    pub(crate) fn add(&mut self, member: Member, protocol_type: &str) {
        if self.members.is_empty() {
            self.protocol_type = Some(Arc::from(protocol_type));
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members
                .insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_joins.remove(&member.id);
        self.members.insert(member.id.clone(), member);
    }

    /// Forgets a member or a handed-out member id. The caller answers what the member waited for.
    pub(crate) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let removed = self.members.remove(member_id);
        if let Some(instance_id) = removed
            .as_ref()
            .and_then(|member| member.instance_id.as_ref())
        {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_joins.remove(member_id);
        self.pending_syncs.remove(member_id);
        removed
    }

    /// Gives a static member's place to a new member id; returns the member as it was.
    pub(crate) fn replace_static_member(
        &mut self,
        instance_id: &Arc<str>,
        new_member_id: Arc<str>,
    ) -> Option<Member> {
        let old_member_id = self.static_members.get(instance_id)?.clone();
        let old = self.members.remove(&old_member_id)?;
        let mut new = old.clone();
        new.id = new_member_id.clone();
        new.awaiting_join = None;
        new.awaiting_sync = None;
        self.members.insert(new_member_id.clone(), new);
        self.static_members
            .insert(instance_id.clone(), new_member_id.clone());
        if self.is_leader(&old_member_id) {
            self.leader = Some(new_member_id.clone());
        }
        if self.pending_syncs.remove(&old_member_id) {
            self.pending_syncs.insert(new_member_id);
        }
        Some(old)
    }

    /// KIP-345: the instance id decides who is meant; a second process with it is fenced.
    pub(crate) fn validate_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ResponseError> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(owner) if **owner != *member_id => {
                    return Err(ResponseError::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(ResponseError::UnknownMemberId)
        }
    }

    pub(crate) fn awaiting_join_count(&self) -> usize {
        self.members
            .values()
            .filter(|member| member.awaiting_join.is_some())
            .count()
    }

    pub(crate) fn has_all_members_joined(&self) -> bool {
        self.pending_joins.is_empty()
            && self
                .members
                .values()
                .all(|member| member.awaiting_join.is_some())
    }

    /// The longest any member asks for, in milliseconds.
    pub(crate) fn rebalance_timeout_ms(&self) -> i32 {
        self.members
            .values()
            .map(|member| member.rebalance_timeout_ms)
            .max()
            .unwrap_or(0)
            .max(0)
    }

    /// The leader stays when it has joined; else the first member that has. False when none has.
    pub(crate) fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &Member| member.awaiting_join.is_some();
        let current = self
            .leader
            .as_ref()
            .and_then(|leader| self.members.get(leader));
        if current.is_some_and(joined) {
            return true;
        }
        match self.members.values().find(|member| joined(member)) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// Each member votes for its first protocol that all support; most votes win. Among equals the
    /// leader's preference decides (Kafka leaves it to a hash map).
    pub(crate) fn select_protocol(&self) -> Option<Arc<str>> {
        let leader = self
            .leader
            .as_ref()
            .and_then(|leader| self.members.get(leader));
        let voters = || self.members.values();
        let candidates: Vec<&Arc<str>> = leader
            .or_else(|| voters().next())?
            .protocols
            .iter()
            .map(|protocol| &protocol.name)
            .filter(|name| self.all_support(name))
            .collect();
        let vote = |member: &Member| {
            let mut preferences = member.protocols.iter();
            preferences.find_map(|p| candidates.iter().position(|name| **name == p.name))
        };
        let mut votes = vec![0usize; candidates.len()];
        for choice in voters().filter_map(vote) {
            votes[choice] += 1;
        }
        // `max_by_key` takes the last of equals, so the order is turned round.
        let winner = (0..candidates.len())
            .rev()
            .max_by_key(|index| votes[*index])?;
        Some(candidates[winner].clone())
    }

    pub(crate) fn compute_subscribed_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol_name = self.protocol_name.as_ref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(&member.metadata(protocol_name))?);
        }
        Some(topics)
    }

    /// Ends the join phase: the next generation begins, with members or without.
    pub(crate) fn init_next_generation(&mut self, now_wall_ms: i64) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.initial_delay = None;
        self.new_member_added = false;
        self.pending_syncs.clear();
        if self.members.is_empty() {
            self.protocol_name = None;
            self.transition_to(GroupState::Empty, now_wall_ms);
        } else {
            self.protocol_name = self.select_protocol();
            self.transition_to(GroupState::CompletingRebalance, now_wall_ms);
        }
        self.subscribed_topics = self.compute_subscribed_topics();
    }
}
