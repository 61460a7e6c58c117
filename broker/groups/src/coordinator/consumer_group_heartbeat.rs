use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

use super::{Coordinator, reply};
use crate::consumer::{ConsumerGroup, HeartbeatOutcome, Refused, validate};
use crate::effect::Effect;
use crate::group::Group;
use crate::now::Now;
use crate::record::group_tombstone;
use crate::request::RequestContext;
use crate::response::Response;

/// Who joins a group that is not there makes it.
const JOIN_EPOCH: i32 = 0;

/// What a record takes in a batch besides its key: lengths, attributes and numbers.
const RECORD_FRAMING_BYTES_MAX: usize = 32;

impl Coordinator {
    pub(super) fn consumer_group_heartbeat(
        &mut self,
        context: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let group_id: Arc<str> = Arc::from(request.group_id.as_str());
        match self.beat_consumer_group(context, &group_id, request, now) {
            Ok((replaced, outcome)) => {
                self.set_consumer_timers(&group_id, &outcome.timers, now);
                self.count_rebalances(&outcome.records);
                let response = Response::ConsumerGroupHeartbeat(outcome.response);
                let records = outcome.records.iter();
                let records = records.map(|record| record.encode(&group_id));
                let tombstone = replaced.iter().map(|_| group_tombstone(&group_id));
                let records = Vec::from_iter(tombstone.chain(records));
                self.append_to_consumer_group(
                    &group_id,
                    records,
                    (outcome.undo, replaced),
                    Some((context.waiter, response)),
                    now,
                    effects,
                );
                if let Some(too_large) = outcome.too_large {
                    effects.push(Effect::Report {
                        group_id: group_id.clone(),
                        too_large,
                    });
                }
                if !outcome.to_resolve.is_empty() {
                    effects.push(Effect::Resolve {
                        group_id,
                        regexes: outcome.to_resolve,
                    });
                }
            }
            Err(refused) => {
                self.set_consumer_timers(&group_id, &refused.timers, now);
                let response = Response::ConsumerGroupHeartbeat(refused.response());
                reply(effects, context, response);
            }
        }
    }

    /// With the empty classic group that had the name.
    fn beat_consumer_group(
        &mut self,
        context: &RequestContext,
        group_id: &Arc<str>,
        request: &ConsumerGroupHeartbeatRequest,
        now: Now,
    ) -> Result<(Option<Box<Group>>, HeartbeatOutcome), Refused> {
        let config = self.config.consumer_of(group_id);
        if let Some(group) = self.consumer_groups.get_mut(group_id) {
            let outcome = group.heartbeat(context, request, &self.topics, config, now)?;
            return Ok((None, outcome));
        }
        validate(config, context.api_version, request)?;
        let not_found = |message| Err(Refused::new(ResponseError::GroupIdNotFound, message));
        let classic = self.groups.get(group_id);
        match classic {
            None if request.member_epoch != JOIN_EPOCH => {
                return not_found(format!("Consumer group {group_id} not found."));
            }
            Some(_) if request.member_epoch != JOIN_EPOCH => {
                return not_found(format!("Group {group_id} is not a consumer group."));
            }
            Some(group) if !group.is_empty() => {
                return not_found(format!(
                    "Group {group_id} has members of the classic protocol: it becomes a consumer group when they \
                     have left"
                ));
            }
            _ => {}
        }
        let bytes = classic.map_or(0, |_| {
            group_tombstone(group_id).key.len() + RECORD_FRAMING_BYTES_MAX
        });
        let mut config = config.clone();
        config.batch_bytes_max = config.batch_bytes_max.saturating_sub(bytes);
        let mut group = ConsumerGroup::new(group_id.clone());
        let outcome = group.heartbeat(context, request, &self.topics, &config, now)?;
        let replaced = self.groups.remove(group_id).map(Box::new);
        self.consumer_groups.insert(group_id.clone(), group);
        Ok((replaced, outcome))
    }
}
