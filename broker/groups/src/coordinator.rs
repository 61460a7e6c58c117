use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;

use crate::append::{AppendError, Appends, Deferred};
use crate::config::GroupConfig;
use crate::consumer::{ConsumerGroup, Topics};
use crate::counts::GroupCounts;
use crate::effect::{AppendToken, Effect};
use crate::group::Group;
use crate::member::Waiter;
use crate::now::Now;
use crate::offsets::Offsets;
use crate::request::{Request, RequestContext};
use crate::response::Response;
use crate::timers::{TimerKey, Timers};

mod apply;
mod classic_members;
mod committed_offsets;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod consumer_groups;
mod delete_groups;
mod describe_groups;
mod expiry;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
mod load;
mod migration;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod rebalance;
mod static_member;
mod sync_group;
mod tail;
mod turn;
mod txn_offset_commit;

pub(crate) use delete_groups::Deleted;
pub use load::Loader;
pub(crate) use tail::Inherited;

use turn::Turn;

type Groups = BTreeMap<Arc<str>, Group>;
type ConsumerGroups = BTreeMap<Arc<str>, ConsumerGroup>;

/// The coordinator of the groups of one partition of `__consumer_offsets`. Made by a [`Loader`].
///
/// A consumer that assigns itself commits; the reply comes once the batch is confirmed:
/// ```
/// use foz_groups::{Effect, GroupConfig, Loader, Now, Request, RequestContext};
/// use kafka_protocol::messages::offset_commit_request::{
///     OffsetCommitRequestPartition, OffsetCommitRequestTopic,
/// };
/// use kafka_protocol::messages::OffsetCommitRequest;
///
/// let now = Now { monotonic_ms: 0, wall_ms: 1_700_000_000_000 };
/// let (mut coordinator, _) = Loader::new().finish(GroupConfig::default(), now);
/// let partition = OffsetCommitRequestPartition::default().with_committed_offset(42);
/// let topic = OffsetCommitRequestTopic::default().with_partitions(vec![partition]);
/// let request = OffsetCommitRequest::default().with_topics(vec![topic]);
/// let context = RequestContext {
///     waiter: 1,
///     api_version: 9,
///     connection: 1,
///     client_id: "client".to_owned(),
///     client_host: "/192.0.2.7".to_owned(),
///     member_uuid: uuid::Uuid::nil(),
/// };
/// let effects = coordinator.handle(&context, Request::OffsetCommit(request), now);
/// let [Effect::Append { token, records, .. }] = &effects[..] else { panic!("{effects:?}") };
/// assert_eq!(records.len(), 1);
/// // The records are appended, the high watermark has passed them:
/// let effects = coordinator.on_append(*token, Ok(()), now);
/// assert!(matches!(effects[..], [Effect::Reply { waiter: 1, .. }]));
/// ```
#[derive(Debug)]
pub struct Coordinator {
    config: GroupConfig,
    /// Those of the classic protocol, and those that assign themselves.
    groups: Groups,
    /// Those of KIP-848; an id is that of one group, here or there.
    consumer_groups: ConsumerGroups,
    topics: Arc<Topics>,
    offsets: Offsets,
    timers: Timers,
    appends: Appends,
    /// No groups are counted in it.
    rebalances: GroupCounts,
    /// Groups with records that were there already and are not committed yet: see `tail.rs`.
    loading: BTreeSet<Arc<str>>,
}

impl Coordinator {
    /// Takes a request. Its reply is among the effects of this call or of a later one.
    ///
    /// The groups it names must belong to this partition: see [`crate::split`].
    pub fn handle(&mut self, context: &RequestContext, request: Request, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let effects_of_call = &mut effects;
        if self.is_loading_any(&request) {
            let error = ResponseError::CoordinatorLoadInProgress;
            let response = request.error_response(context.api_version, error);
            reply(effects_of_call, context, response);
            return effects;
        }
        match request {
            Request::JoinGroup(request) => self.join_group(context, request, now, effects_of_call),
            Request::SyncGroup(request) => self.sync_group(context, &request, now, effects_of_call),
            Request::LeaveGroup(request) => {
                self.leave_group(context, request, now, effects_of_call);
            }
            Request::OffsetCommit(request) => {
                self.offset_commit(context, request, now, effects_of_call);
            }
            Request::OffsetFetch(request) => self.offset_fetch(context, request, effects_of_call),
            Request::DeleteGroups(request) => {
                self.delete_groups(context, &request, now, effects_of_call);
            }
            Request::OffsetDelete(request) => {
                self.offset_delete(context, &request, now, effects_of_call);
            }
            Request::ConsumerGroupHeartbeat(request) => {
                self.consumer_group_heartbeat(context, &request, now, effects_of_call);
            }
            Request::ConsumerGroupDescribe(request) => {
                self.consumer_group_describe(context, &request, effects_of_call);
            }
            Request::TxnOffsetCommit(request) => {
                self.txn_offset_commit(context, request, now, effects_of_call);
            }
            Request::CompleteTransaction(request) => {
                let deferred = Deferred::Reply {
                    waiter: context.waiter,
                    response: Response::CompleteTransaction(Ok(())),
                };
                let mut turn = self.parts(now, effects_of_call).turn;
                turn.append_marker(request, deferred);
            }
            Request::Heartbeat(request) => {
                let response = self.heartbeat(&request, now);
                effects.push(Effect::Reply {
                    waiter: context.waiter,
                    response,
                });
            }
            Request::DescribeGroups(request) => {
                let response = self.describe_groups(context.api_version, &request);
                effects.push(Effect::Reply {
                    waiter: context.waiter,
                    response,
                });
            }
            Request::ListGroups(request) => {
                let response = self.list_groups(&request);
                effects.push(Effect::Reply {
                    waiter: context.waiter,
                    response,
                });
            }
        }
        effects
    }

    /// When [`Self::on_timer`] is to be called next, in monotonic milliseconds; may lie in the past.
    pub fn next_deadline(&self) -> Option<i64> {
        let of_appends = self.appends.next_deadline();
        self.timers
            .next_deadline()
            .into_iter()
            .chain(of_appends)
            .min()
    }

    /// Acts on every deadline that has passed. Calling it early or late does no harm.
    pub fn on_timer(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.time_out_appends(now, &mut effects);
        for (deadline_ms, key) in self.timers.due(now.monotonic_ms) {
            if !self.timers.take(deadline_ms, &key) {
                continue;
            }
            self.on_deadline(&key, now, &mut effects);
        }
        effects
    }

    fn on_deadline(&mut self, key: &TimerKey, now: Now, effects: &mut Vec<Effect>) {
        let group_id = match key {
            TimerKey::Consumer {
                group_id,
                member_id,
                timer,
            } => return self.end_consumer_timer(group_id, member_id, *timer, now, effects),
            TimerKey::Heartbeat { group_id, .. }
            | TimerKey::Join { group_id }
            | TimerKey::Sync { group_id } => group_id,
        };
        let Parts {
            groups, mut turn, ..
        } = self.parts(now, effects);
        let Some(group) = groups.get_mut(group_id) else {
            return;
        };
        match key {
            TimerKey::Heartbeat { member_id, .. } => {
                rebalance::on_session_timeout(group, member_id, &mut turn);
            }
            TimerKey::Join { .. } => rebalance::on_join_timeout(group, &mut turn),
            TimerKey::Sync { .. } => rebalance::on_sync_timeout(group, &mut turn),
            TimerKey::Consumer { .. } => {}
        }
        self.forget_if_unused(group_id);
    }

    /// Takes the outcome of an append: success once the high watermark has passed its batch. An
    /// unknown token is ignored.
    pub fn on_append(
        &mut self,
        token: AppendToken,
        outcome: Result<(), AppendError>,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        match outcome {
            Ok(()) => self.appends.confirm(token),
            Err(error) => self.fail(token, error, now, &mut effects),
        }
        while let Some(pending) = self.appends.pop_confirmed() {
            let token = pending.token;
            self.settle(token, pending.change, None, now, &mut effects);
            self.answer_deferred(token, pending.deferred, None, &mut effects);
        }
        effects
    }

    /// Whether the outcome of an append is still asked for. One that was handed out together with another that
    /// failed, and is built on it, is not to be carried out.
    pub fn is_under_way(&self, token: AppendToken) -> bool {
        self.appends.contains(token)
    }

    /// Ends this coordinator, because another broker leads the partition or none does: everyone who
    /// waits is told NOT_COORDINATOR. Outcomes of appends that come later are of no interest.
    pub fn resign(self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let error = ResponseError::NotCoordinator;
        for member in self
            .groups
            .into_values()
            .flat_map(|group| group.members.into_values())
        {
            if let Some(waiter) = member.awaiting_join {
                let response = join_group::failed(&member.id, error);
                effects.push(Effect::Reply {
                    waiter: waiter.id,
                    response,
                });
            }
            if let Some(waiter) = member.awaiting_sync {
                effects.push(Effect::Reply {
                    waiter: waiter.id,
                    response: sync_group::failed(error),
                });
            }
        }
        for deferred in self.appends.into_deferred() {
            let (waiter, response) = match deferred {
                Deferred::Reply { waiter, response } => (waiter, response.into_failed(error)),
                Deferred::OffsetFetch { waiter, request } => {
                    let request = Request::OffsetFetch(request);
                    (waiter.id, request.error_response(waiter.api_version, error))
                }
            };
            effects.push(Effect::Reply { waiter, response });
        }
        effects
    }

    /// What there is, for metrics; takes a look at every member.
    pub fn counts(&self) -> GroupCounts {
        let mut counts = self.rebalances;
        for group in self.groups.values() {
            counts.add_classic(group.state);
        }
        for group in self.consumer_groups.values() {
            counts.add_consumer(group.state());
        }
        counts
    }

    /// The number of groups whose last records are not known to be committed.
    pub fn loading_count(&self) -> usize {
        self.loading.len()
    }

    /// The topics that offsets are committed for. Those that are gone when the coordinator has been
    /// loaded are for [`Self::on_topics_deleted`]: nobody was there when they went.
    pub fn committed_topics(&self) -> BTreeSet<&str> {
        let groups = self
            .offsets
            .group_ids()
            .filter_map(|group_id| self.offsets.group(group_id));
        let pending = self.offsets.pending().keys().map(|key| &*key.topic);
        groups
            .flat_map(|topics| topics.keys().map(|topic| &**topic))
            .chain(pending)
            .chain(self.appends.topics_set())
            .collect()
    }

    fn is_loading_any(&self, request: &Request) -> bool {
        let mut group_ids = request.group_ids();
        !self.loading.is_empty() && group_ids.any(|group_id| self.loading.contains(group_id))
    }

    /// A request that was refused, or a member that never came back, leaves no group behind. One
    /// that offsets keep alive comes back with them.
    fn forget_if_unused(&mut self, group_id: &str) {
        let is_unused = self.groups.get(group_id).is_some_and(Group::is_unused);
        if is_unused && !self.offsets.has_any_of(group_id) {
            self.groups.remove(group_id);
        }
    }

    fn parts<'a>(&'a mut self, now: Now, effects: &'a mut Vec<Effect>) -> Parts<'a> {
        let turn = Turn {
            config: &self.config,
            now,
            timers: &mut self.timers,
            appends: &mut self.appends,
            effects,
        };
        Parts {
            groups: &mut self.groups,
            consumer_groups: &mut self.consumer_groups,
            offsets: &mut self.offsets,
            turn,
        }
    }
}

/// The coordinator taken apart, so that a group and what acts on it are borrowed side by side.
struct Parts<'a> {
    groups: &'a mut Groups,
    consumer_groups: &'a mut ConsumerGroups,
    offsets: &'a mut Offsets,
    turn: Turn<'a>,
}

fn waiter_of(context: &RequestContext) -> Waiter {
    Waiter {
        id: context.waiter,
        api_version: context.api_version,
    }
}

fn reply(effects: &mut Vec<Effect>, context: &RequestContext, response: Response) {
    effects.push(Effect::Reply {
        waiter: context.waiter,
        response,
    });
}
