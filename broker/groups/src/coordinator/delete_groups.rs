use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::{Coordinator, Groups, Parts, reply};
use crate::append::{Appends, Change, Deferred};
use crate::effect::Effect;
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
            let outcome = take_empty_group(groups, group_id);
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
            let removals = removals_of(&group.id, offsets, turn.appends);
            records.extend(removals.iter().map(offset_record));
            records.push(group_tombstone(&group.id));
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

/// The removal of every offset of a group, those included that are still on their way to the log.
fn removals_of(group_id: &str, offsets: &Offsets, appends: &Appends) -> Vec<OffsetChange> {
    let mut keys: std::collections::BTreeSet<OffsetKey> = offsets.keys_of_group(group_id).collect();
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

fn take_empty_group(groups: &mut Groups, group_id: &str) -> Result<Group, ResponseError> {
    let group = groups.get(group_id).ok_or(ResponseError::GroupIdNotFound)?;
    if !group.is_empty() {
        return Err(ResponseError::NonEmptyGroup);
    }
    groups
        .remove(group_id)
        .ok_or(ResponseError::GroupIdNotFound)
}
