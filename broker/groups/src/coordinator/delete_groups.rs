use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::{ConsumerGroups, Coordinator, Groups, Parts, reply};
use crate::append::{Appends, Change, Deferred};
use crate::consumer::ConsumerGroup;
use crate::effect::{Effect, Record};
use crate::group::Group;
use crate::now::Now;
use crate::offsets::{OffsetChange, OffsetKey, Offsets};
use crate::record::{group_tombstone, offset_record};
use crate::request::RequestContext;
use crate::response::Response;

impl Coordinator {
    pub(super) fn delete_groups(
        &mut self,
        context: &RequestContext,
        request: &DeleteGroupsRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Parts {
            groups,
            consumer_groups,
            offsets,
            mut turn,
        } = self.parts(now, effects);
        let mut results = Vec::with_capacity(request.groups_names.len());
        let mut deleted = Vec::new();
        for group_id in &request.groups_names {
            if results
                .iter()
                .any(|known: &DeletableGroupResult| known.group_id == *group_id)
            {
                continue;
            }
            let outcome = take_empty_group(groups, consumer_groups, group_id);
            let error_code = outcome.as_ref().err().map_or(0, |error| error.code());
            let result = DeletableGroupResult::default().with_group_id(group_id.clone());
            results.push(result.with_error_code(error_code));
            deleted.extend(outcome);
        }
        let response = DeleteGroupsResponse::default().with_results(results);
        let response = Response::DeleteGroups(response);
        if deleted.is_empty() {
            return reply(effects, context, response);
        }
        let mut changes = Vec::new();
        let mut records = Vec::new();
        for group in &deleted {
            let removals = removals_of(group.id(), offsets, turn.appends);
            records.extend(removals.iter().map(offset_record));
            records.extend(group.tombstones());
            changes.extend(removals);
        }
        let change = Change::Delete {
            offsets: changes,
            groups: deleted,
        };
        let deferred = Deferred::Reply {
            waiter: context.waiter,
            response,
        };
        turn.append(records, change, vec![deferred]);
    }
}

/// The removal of every offset of a group, those included that are still on their way to the log, or in a transaction that
/// is open.
fn removals_of(group_id: &str, offsets: &Offsets, appends: &Appends) -> Vec<OffsetChange> {
    let mut keys: std::collections::BTreeSet<OffsetKey> = offsets.keys_of_group(group_id).collect();
    keys.extend(offsets.pending().keys_of_group(group_id).cloned());
    keys.extend(
        appends
            .offset_keys()
            .into_iter()
            .filter(|key| *key.group_id == *group_id),
    );
    keys.into_iter()
        .map(|key| OffsetChange { key, value: None })
        .collect()
}

/// A group that was taken out.
#[derive(Debug)]
pub(crate) enum Deleted {
    Classic(Box<Group>),
    Consumer(Box<ConsumerGroup>),
}

impl Deleted {
    pub(super) fn tombstones(&self) -> Vec<Record> {
        match self {
            Self::Classic(group) => vec![group_tombstone(&group.id)],
            Self::Consumer(group) => {
                let records = group.tombstones().into_iter();
                records.map(|record| record.encode(group.id())).collect()
            }
        }
    }

    pub(crate) fn is_of_consumers(&self) -> bool {
        matches!(self, Self::Consumer(_))
    }

    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Classic(group) => &group.id,
            Self::Consumer(group) => group.id(),
        }
    }
}

fn take_empty_group(
    groups: &mut Groups,
    consumer_groups: &mut ConsumerGroups,
    group_id: &str,
) -> Result<Deleted, ResponseError> {
    if let Some(group) = consumer_groups.get(group_id) {
        if !group.members().is_empty() {
            return Err(ResponseError::NonEmptyGroup);
        }
        let group = consumer_groups.remove(group_id);
        return group
            .map(|group| Deleted::Consumer(Box::new(group)))
            .ok_or(ResponseError::GroupIdNotFound);
    }
    let group = groups.get(group_id).ok_or(ResponseError::GroupIdNotFound)?;
    if !group.is_empty() {
        return Err(ResponseError::NonEmptyGroup);
    }
    groups
        .remove(group_id)
        .map(|group| Deleted::Classic(Box::new(group)))
        .ok_or(ResponseError::GroupIdNotFound)
}
