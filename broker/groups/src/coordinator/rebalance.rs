//! How a group moves from one generation to the next: Empty or Stable → PreparingRebalance (members
//! join) → CompletingRebalance (the leader assigns) → Stable.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::turn::{Turn, heartbeat_key};
use super::{join_group, sync_group};
use crate::append::Change;
use crate::effect::AppendToken;
use crate::group::{Group, GroupState, InitialDelay};
use crate::member::{Member, Waiter};
use crate::record::group_record;
use crate::timers::TimerKey;

/// How long to wait again, at least, when a join phase ended without anyone having joined. It keeps
/// a group whose members ask for a rebalance timeout of 0 from spinning.
const REJOIN_WAIT_MS_MIN: i32 = 1_000;

/// Starts a rebalance, or goes on with the one under way. Returns the append that records the
/// group as empty when that is what came out.
pub(super) fn prepare_or_continue(group: &mut Group, turn: &mut Turn<'_>) -> Option<AppendToken> {
    if group.state == GroupState::PreparingRebalance {
        complete_join_when_all_joined(group, turn)
    } else {
        prepare(group, turn)
    }
}

/// Starts a rebalance of a group that is in none: members that wait for an assignment learn of it,
/// and all have to join.
pub(super) fn prepare(group: &mut Group, turn: &mut Turn<'_>) -> Option<AppendToken> {
    if group.state == GroupState::CompletingRebalance {
        reset_assignment_with_error(group, ResponseError::RebalanceInProgress, turn);
    }
    group.pending_syncs.clear();
    group.assignment_append = None;
    turn.timers.cancel(&TimerKey::Sync {
        group_id: group.id.clone(),
    });

    let was_empty = group.is_empty();
    group.transition_to(GroupState::PreparingRebalance, turn.now.wall_ms);
    if was_empty {
        let delay_ms = turn.config.group_initial_rebalance_delay_ms;
        let remaining_ms = group.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
        group.initial_delay = Some(InitialDelay {
            delay_ms,
            remaining_ms,
        });
        turn.schedule(
            TimerKey::Join {
                group_id: group.id.clone(),
            },
            delay_ms,
        );
        return None;
    }
    if group.has_all_members_joined() {
        return complete_join(group, turn);
    }
    turn.schedule(
        TimerKey::Join {
            group_id: group.id.clone(),
        },
        group.rebalance_timeout_ms(),
    );
    None
}

/// Ends the join phase early when nobody is missing; the first rebalance of an empty group always
/// takes its delay.
pub(super) fn complete_join_when_all_joined(
    group: &mut Group,
    turn: &mut Turn<'_>,
) -> Option<AppendToken> {
    let ready = group.state == GroupState::PreparingRebalance
        && group.initial_delay.is_none()
        && group.has_all_members_joined();
    if ready {
        complete_join(group, turn)
    } else {
        None
    }
}

/// Ends the join phase: dynamic members that did not join are out, static ones stay.
fn complete_join(group: &mut Group, turn: &mut Turn<'_>) -> Option<AppendToken> {
    let join_timer = TimerKey::Join {
        group_id: group.id.clone(),
    };
    turn.timers.cancel(&join_timer);

    let missing = |member: &&Member| member.awaiting_join.is_none() && member.instance_id.is_none();
    let missing: Vec<Arc<str>> = group
        .members
        .values()
        .filter(missing)
        .map(|member| member.id.clone())
        .collect();
    for member_id in &missing {
        remove_member(group, member_id, turn);
    }

    if !group.elect_joined_leader() && !group.members.is_empty() {
        if let Some(initial_delay) = &mut group.initial_delay {
            initial_delay.remaining_ms = 0;
        }
        turn.schedule(
            join_timer,
            group.rebalance_timeout_ms().max(REJOIN_WAIT_MS_MIN),
        );
        return None;
    }

    group.init_next_generation(turn.now.wall_ms);
    if group.is_empty() {
        let record = group_record(group, &BTreeMap::new());
        return Some(turn.append(vec![record], Change::EmptyGroup, Vec::new()));
    }

    let member_ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
    for member_id in member_ids {
        if let Some(waiter) = take_join_waiter(group, &member_id) {
            turn.reply(waiter, join_group::joined(group, &member_id));
        }
        if let Some(member) = group.members.get_mut(&member_id) {
            member.is_new = false;
        }
        turn.schedule_session(group, &member_id);
        group.pending_syncs.insert(member_id);
    }
    let sync_timer = TimerKey::Sync {
        group_id: group.id.clone(),
    };
    turn.schedule(sync_timer, group.rebalance_timeout_ms());
    None
}

/// The join phase has lasted its time. For the first rebalance of an empty group that means: once
/// more the delay, as long as new members keep coming and the rebalance timeout allows.
pub(super) fn on_join_timeout(group: &mut Group, turn: &mut Turn<'_>) {
    if group.state != GroupState::PreparingRebalance {
        return;
    }
    if let Some(initial) = group.initial_delay
        && group.new_member_added
        && initial.remaining_ms != 0
    {
        group.new_member_added = false;
        let delay_ms = turn
            .config
            .group_initial_rebalance_delay_ms
            .min(initial.remaining_ms);
        let remaining_ms = initial.remaining_ms.saturating_sub(initial.delay_ms).max(0);
        group.initial_delay = Some(InitialDelay {
            delay_ms,
            remaining_ms,
        });
        turn.schedule(
            TimerKey::Join {
                group_id: group.id.clone(),
            },
            delay_ms,
        );
        return;
    }
    complete_join(group, turn);
}

/// Members that joined and never sent SyncGroup are out: one that hangs there and still sends
/// heartbeats would keep its partitions from everyone.
pub(super) fn on_sync_timeout(group: &mut Group, turn: &mut Turn<'_>) {
    let syncing = matches!(
        group.state,
        GroupState::CompletingRebalance | GroupState::Stable
    );
    if !syncing || group.pending_syncs.is_empty() {
        return;
    }
    for member_id in std::mem::take(&mut group.pending_syncs) {
        remove_member(group, &member_id, turn);
    }
    prepare(group, turn);
}

/// No heartbeat came in time.
pub(super) fn on_session_timeout(group: &mut Group, member_id: &Arc<str>, turn: &mut Turn<'_>) {
    let was_pending = group.pending_joins.remove(member_id);
    let failed = group
        .members
        .get(member_id)
        .is_some_and(|member| !member.has_satisfied_heartbeat());
    if failed {
        remove_member(group, member_id, turn);
    }
    if !was_pending && !failed {
        return;
    }
    match group.state {
        GroupState::Stable | GroupState::CompletingRebalance if failed => {
            prepare(group, turn);
        }
        GroupState::PreparingRebalance if group.has_all_members_joined() => {
            complete_join(group, turn);
        }
        _ => {}
    }
}

/// Takes a member (or a handed-out member id) out of the group and answers what it waited for.
pub(super) fn remove_member(group: &mut Group, member_id: &Arc<str>, turn: &mut Turn<'_>) {
    turn.timers.cancel(&heartbeat_key(group, member_id));
    let Some(member) = group.remove(member_id) else {
        return;
    };
    answer_waiters(&member, "", ResponseError::UnknownMemberId, turn);
}

/// Answers what a member waits for with an error; the member is no longer in its group.
pub(super) fn answer_waiters(
    member: &Member,
    told_member_id: &str,
    error: ResponseError,
    turn: &mut Turn<'_>,
) {
    if let Some(waiter) = member.awaiting_join {
        turn.reply(waiter, join_group::failed(told_member_id, error));
    }
    if let Some(waiter) = member.awaiting_sync {
        turn.reply(waiter, sync_group::failed(error));
    }
}

/// Puts the assignments in force and sends each to the member that waits for it.
pub(super) fn propagate_assignment(group: &mut Group, turn: &mut Turn<'_>) {
    let member_ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
    for member_id in member_ids {
        if let Some(waiter) = take_sync_waiter(group, &member_id) {
            turn.reply(waiter, sync_group::assigned(group, &member_id));
            turn.schedule_session(group, &member_id);
        }
    }
}

/// Forgets the assignments of this generation; whoever waits for one is told why there is none.
pub(super) fn reset_assignment_with_error(
    group: &mut Group,
    error: ResponseError,
    turn: &mut Turn<'_>,
) {
    let member_ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
    for member_id in member_ids {
        if let Some(member) = group.members.get_mut(&member_id) {
            member.assignment.clear();
        }
        if let Some(waiter) = take_sync_waiter(group, &member_id) {
            turn.reply(waiter, sync_group::failed(error));
            turn.schedule_session(group, &member_id);
        }
    }
}

fn take_join_waiter(group: &mut Group, member_id: &str) -> Option<Waiter> {
    group.members.get_mut(member_id)?.awaiting_join.take()
}

fn take_sync_waiter(group: &mut Group, member_id: &str) -> Option<Waiter> {
    group.members.get_mut(member_id)?.awaiting_sync.take()
}
