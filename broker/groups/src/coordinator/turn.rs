use std::sync::Arc;

use crate::append::{Appends, Change, Deferred};
use crate::config::GroupConfig;
use crate::effect::{AppendToken, Effect, Record};
use crate::group::Group;
use crate::member::Waiter;
use crate::now::Now;
use crate::offsets::OffsetChange;
use crate::record::offset_record;
use crate::response::Response;
use crate::timers::{TimerKey, Timers};
use crate::transaction::{CompleteTransaction, TransactionalProducer};

/// What one call of the coordinator has at hand besides the group it works on.
pub(super) struct Turn<'a> {
    pub(super) config: &'a GroupConfig,
    pub(super) now: Now,
    pub(super) timers: &'a mut Timers,
    pub(super) appends: &'a mut Appends,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    pub(super) fn reply(&mut self, waiter: Waiter, response: Response) {
        self.effects.push(Effect::Reply {
            waiter: waiter.id,
            response,
        });
    }

    pub(super) fn append(
        &mut self,
        records: Vec<Record>,
        change: Change,
        deferred: Vec<Deferred>,
    ) -> AppendToken {
        let token = self.push(change, deferred);
        self.effects.push(Effect::Append {
            token,
            records,
            producer: None,
        });
        token
    }

    /// Offsets, in a transaction.
    pub(super) fn append_pending(
        &mut self,
        producer: TransactionalProducer,
        offsets: Vec<OffsetChange>,
        deferred: Deferred,
    ) {
        let records = offsets.iter().map(offset_record).collect();
        let change = Change::Pending {
            producer_id: producer.id,
            offsets,
        };
        let token = self.push(change, vec![deferred]);
        self.effects.push(Effect::Append {
            token,
            records,
            producer: Some(producer),
        });
    }

    pub(super) fn append_marker(&mut self, transaction: CompleteTransaction, deferred: Deferred) {
        let change = Change::Completion {
            producer_id: transaction.producer.id,
            is_commit: transaction.is_commit,
        };
        let token = self.push(change, vec![deferred]);
        self.effects
            .push(Effect::AppendMarker { token, transaction });
    }

    fn push(&mut self, change: Change, deferred: Vec<Deferred>) -> AppendToken {
        let timeout_ms = self.config.offsets_commit_timeout_ms;
        let deadline_ms = self.now.monotonic_ms.saturating_add(timeout_ms.into());
        self.appends.push(change, deferred, deadline_ms)
    }

    pub(super) fn schedule(&mut self, key: TimerKey, delay_ms: i32) {
        let deadline_ms = self.now.monotonic_ms.saturating_add(delay_ms.max(0).into());
        self.timers.schedule(key, deadline_ms);
    }

    /// Gives the member its whole session from now.
    pub(super) fn schedule_session(&mut self, group: &Group, member_id: &Arc<str>) {
        if let Some(member) = group.members.get(member_id) {
            self.schedule(heartbeat_key(group, member_id), member.session_timeout_ms);
        }
    }
}

pub(super) fn heartbeat_key(group: &Group, member_id: &Arc<str>) -> TimerKey {
    TimerKey::Heartbeat {
        group_id: group.id.clone(),
        member_id: member_id.clone(),
    }
}
