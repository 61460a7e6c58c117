use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

use super::migration::RECORD_FRAMING_BYTES_MAX;
use super::{Coordinator, reply};
use crate::consumer::{
    ConsumerGroup, ConsumerRecord, GroupChange, HeartbeatOutcome, Refused, validate,
};
use crate::effect::Effect;
use crate::group::Group;
use crate::now::Now;
use crate::record::group_tombstone;
use crate::request::RequestContext;
use crate::response::Response;

/// Who joins a group that is not there makes it.
const JOIN_EPOCH: i32 = 0;

impl Coordinator {
    pub(super) fn consumer_group_heartbeat(
        &mut self,
        context: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let group_id: Arc<str> = Arc::from(request.group_id.as_str());
        match self.beat_consumer_group(context, &group_id, request, now, effects) {
            Ok(Beaten {
                replaced,
                upgraded,
                outcome,
            }) => {
                let response = Response::ConsumerGroupHeartbeat(outcome.response);
                let response = Some((context.waiter, response));
                let change = GroupChange {
                    records: outcome.records,
                    timers: outcome.timers,
                    undo: outcome.undo,
                };
                match replaced {
                    None => self.write_or_downgrade(&group_id, change, response, now, effects),
                    Some(replaced) => {
                        self.set_consumer_timers(&group_id, &change.timers, now);
                        self.count_rebalances(&change.records);
                        let records = upgraded.iter().chain(&change.records);
                        let records = records.map(|record| record.encode(&group_id));
                        let tombstone = std::iter::once(group_tombstone(&group_id));
                        self.append_to_consumer_group(
                            &group_id,
                            tombstone.chain(records).collect(),
                            (change.undo, Some(replaced)),
                            response,
                            now,
                            effects,
                        );
                    }
                }
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

    fn beat_consumer_group(
        &mut self,
        context: &RequestContext,
        group_id: &Arc<str>,
        request: &ConsumerGroupHeartbeatRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<Beaten, Refused> {
        let config = self.config.consumer_of(group_id);
        if let Some(group) = self.consumer_groups.get_mut(group_id) {
            let outcome = group.heartbeat(context, request, &self.topics, config, now)?;
            return Ok(Beaten {
                replaced: None,
                upgraded: Vec::new(),
                outcome,
            });
        }
        validate(config, context.api_version, request)?;
        let not_found = |message| Err(Refused::new(ResponseError::GroupIdNotFound, message));
        let classic = self.groups.get(group_id);
        if request.member_epoch != JOIN_EPOCH {
            return not_found(match classic {
                None => format!("Consumer group {group_id} not found."),
                Some(_) => format!("Group {group_id} is not a consumer group."),
            });
        }
        let mut bytes = classic.map_or(0, |_| {
            group_tombstone(group_id).key.len() + RECORD_FRAMING_BYTES_MAX
        });
        let (mut group, upgraded) = match classic.filter(|group| !group.is_empty()) {
            None => (ConsumerGroup::new(group_id.clone()), Vec::new()),
            Some(classic) => {
                let upgraded = self.upgraded(classic)?;
                bytes += upgraded.bytes;
                (upgraded.group, upgraded.records)
            }
        };
        let mut config = config.clone();
        config.batch_bytes_max = config.batch_bytes_max.saturating_sub(bytes);
        let outcome = group.heartbeat(context, request, &self.topics, &config, now)?;
        let replaced = self.leave_classic(group_id, now, effects);
        let timers = group.timers(self.config.consumer_of(group_id));
        self.consumer_groups.insert(group_id.clone(), group);
        if !upgraded.is_empty() {
            self.set_consumer_timers(group_id, &timers, now);
        }
        Ok(Beaten {
            replaced,
            upgraded,
            outcome,
        })
    }
}

/// What became of a heartbeat.
struct Beaten {
    /// The classic group that had the name.
    replaced: Option<Box<Group>>,
    /// The records of its members.
    upgraded: Vec<ConsumerRecord>,
    outcome: HeartbeatOutcome,
}
