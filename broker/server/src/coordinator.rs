//! The consumer groups of the partitions of `__consumer_offsets` that this broker leads.
//!
//! `foz-groups` decides; an actor for each partition feeds it requests, time and the outcome of its
//! appends, and carries out what it says. A coordinator lives as long as this broker leads its
//! partition in one leader epoch.

mod actor;
mod counted;
mod load;
mod regexes;
mod topics_view;

use std::collections::BTreeMap;
use std::sync::Arc;

use foz_groups::{
    Assignor, CommittedOffsets, ConsumerGroupConfig, GroupConfig, MigrationPolicy, Request,
    Response, Route, Topics, merge, split,
};
use foz_log::VerificationGuard;
use foz_metadata::config::Resolver;
use foz_metadata::image::Resource;
use foz_metadata::{Changes, Image};
use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::broker::Broker;
use crate::coordinator_log::{CoordinatorLog, led_partitions};
use crate::handlers::leadership::LedIn;
use crate::internal_topics::CONSUMER_OFFSETS;
use crate::partition::monotonic_ms;
use crate::request::RequestContext;
use actor::ActorHandle;
pub(crate) use counted::{Counted, Counts};
pub(crate) use regexes::compile as compile_regex;
use topics_view::TopicsView;

/// The coordinators that run now, by partition.
#[derive(Debug, Default)]
pub(crate) struct Coordinators {
    /// Held for moments only: every request of a group takes it.
    running: Mutex<BTreeMap<i32, ActorHandle>>,
    following: Mutex<Following>,
}

/// What actors are told of the image; as long as there are any.
#[derive(Debug, Default)]
struct Following {
    topics: TopicsView,
    /// Made anew when configs change; `None`: not made yet.
    consumer_by_group: Option<ConsumerByGroup>,
    followed: Option<watch::Sender<Arc<Followed>>>,
}

type ConsumerByGroup = Arc<BTreeMap<Arc<str>, ConsumerGroupConfig>>;

/// What coordinators go by besides their partition.
#[derive(Debug)]
struct Followed {
    /// That by which the rest was last another; the newest may have other leaders, replicas and so on.
    image: Arc<Image>,
    topics: Arc<Topics>,
    config: GroupConfig,
}

impl Coordinators {
    /// Starts and ends coordinators as leadership moves, and forgets offsets of deleted topics. Called
    /// after the partitions have followed the same image.
    pub(crate) fn apply(&self, broker: &Broker, image: &Arc<Image>, changes: &Changes) {
        let led = led_partitions(image, CONSUMER_OFFSETS, broker.node_id);
        if led.is_empty() {
            self.running.lock().clear();
            *self.following.lock() = Following::default();
            return;
        }
        let followed = self.following.lock().follow(broker, image, changes);
        let mut running = self.running.lock();
        running.retain(|index, actor| led.get(index) == Some(&actor.led()));
        for (index, led) in led {
            if running.contains_key(&index) {
                continue;
            }
            if let Some(partition) = broker.partitions.get(led.0, index) {
                let counts = broker.metrics.group_coordinators.clone();
                let log = CoordinatorLog {
                    partition,
                    leader_epoch: led.1,
                };
                let actor = ActorHandle::start(led.0, log, followed.clone(), counts);
                running.insert(index, actor);
            }
        }
        if !changes.topics_deleted.is_empty() {
            let names: Arc<[String]> = changes
                .topics_deleted
                .values()
                .map(|topic| topic.name.to_string())
                .collect();
            for actor in running.values() {
                actor.topics_deleted(Arc::clone(&names));
            }
        }
    }

    /// Ends all.
    pub(crate) fn stop(&self) {
        self.running.lock().clear();
    }

    /// Asks each coordinator what its groups have committed, up to so many offsets. Those do not answer that do not know it.
    pub(crate) fn committed_offsets(
        &self,
        offsets_max: usize,
    ) -> Vec<(LedIn, oneshot::Receiver<CommittedOffsets>)> {
        let running = self.running.lock();
        let asked = running.values();
        let asked = asked.map(|actor| (actor.led_in(), actor.committed_offsets(offsets_max)));
        asked.collect()
    }

    /// Sends a request to the coordinators that it concerns and puts their answers together.
    pub(crate) async fn ask(&self, context: &RequestContext, request: Request) -> Response {
        self.ask_in_transaction(context, request, None).await
    }

    /// The same, for a request that belongs to a transaction; with the guard, where that begins in the partition.
    pub(crate) async fn ask_in_transaction(
        &self,
        context: &RequestContext,
        request: Request,
        guard: Option<VerificationGuard>,
    ) -> Response {
        let version = context.version;
        let empty = request.empty_response();
        let image = context.broker.image();
        let Some(topic) = image.topic(CONSUMER_OFFSETS) else {
            // Nobody asked for a coordinator yet, so there are no groups.
            return match request {
                Request::ListGroups(_) => empty,
                other => other.error_response(version, ResponseError::CoordinatorNotAvailable),
            };
        };
        let mut responses = Vec::new();
        for (route, part) in split(request, version, topic.partitions.len() as i32) {
            match route {
                Route::Partition(index) => {
                    responses.push(self.ask_one(context, index, part, guard).await)
                }
                Route::Every => {
                    let indexes: Vec<i32> = self.running.lock().keys().copied().collect();
                    for index in indexes {
                        responses.push(self.ask_one(context, index, part.clone(), None).await);
                    }
                }
            }
        }
        merge(responses, empty)
    }

    async fn ask_one(
        &self,
        context: &RequestContext,
        index: i32,
        request: Request,
        guard: Option<VerificationGuard>,
    ) -> Response {
        let refused = request.error_response(context.version, ResponseError::NotCoordinator);
        let is_stable = matches!(&request, Request::OffsetFetch(it) if it.require_stable);
        let asked_ms = monotonic_ms();
        let asked = {
            let running = self.running.lock();
            let actor = running.get(&index);
            actor.map(|actor| (actor.led_in(), actor.ask(context, request, guard)))
        };
        let Some((led, asked)) = asked else {
            return refused;
        };
        let answer = tokio::select! {
            biased;
            answer = asked => answer.unwrap_or_else(|_| refused.clone()),
            // A join waits for other members, for minutes; nobody is there to be answered, or this
            // broker is stopping.
            () = context.client.gone.cancelled() => return refused,
        };
        // Offsets are told from memory. A coordinator that was stopped or cut off does not know of a transaction that its
        // successor has ended, and whoever went on from before it would write its output twice.
        if !is_stable || led.counts(&context.broker, asked_ms).await {
            return answer;
        }
        refused
    }
}

impl Following {
    /// Before actors are started by the same image, and before clients are answered by it.
    fn follow(
        &mut self,
        broker: &Broker,
        image: &Arc<Image>,
        changes: &Changes,
    ) -> watch::Receiver<Arc<Followed>> {
        let mut config = group_config(broker, image);
        let resolver = Resolver::new(image, broker.node_id, &broker.statics);
        let known = self.consumer_by_group.take();
        let by_group = consumer_by_group(known, &resolver, &config.consumer, image, changes);
        config.consumer_by_group = Arc::clone(self.consumer_by_group.insert(by_group));
        let next = Arc::new(Followed {
            image: Arc::clone(image),
            topics: self.topics.follow(image, changes),
            config,
        });
        let Some(followed) = &self.followed else {
            return self.followed.insert(watch::Sender::new(next)).subscribe();
        };
        followed.send_if_modified(|known| {
            let is_known = Arc::ptr_eq(&known.topics, &next.topics) && known.config == next.config;
            if !is_known {
                *known = next;
            }
            !is_known
        });
        followed.subscribe()
    }
}

fn group_config(broker: &Broker, image: &Image) -> GroupConfig {
    let resolver = Resolver::new(image, broker.node_id, &broker.statics);
    let number = |key: &str| {
        let value = resolver.broker(key).and_then(|value| value.as_i64());
        value.expect("the key is in the table, with a number")
    };
    GroupConfig {
        group_min_session_timeout_ms: number("group.min.session.timeout.ms") as i32,
        group_max_session_timeout_ms: number("group.max.session.timeout.ms") as i32,
        group_initial_rebalance_delay_ms: number("group.initial.rebalance.delay.ms") as i32,
        group_max_size: number("group.max.size") as usize,
        offset_metadata_max_bytes: number("offset.metadata.max.bytes") as usize,
        offsets_commit_timeout_ms: number("offsets.commit.timeout.ms") as i32,
        offsets_retention_check_interval_ms: number("offsets.retention.check.interval.ms"),
        offsets_retention_ms: number("offsets.retention.minutes") * 60_000,
        consumer: consumer_group_config(&resolver, number),
        ..GroupConfig::default()
    }
}

/// Where a value is not within the bounds that other keys set, the bound counts.
fn consumer_group_config(
    resolver: &Resolver<'_>,
    number: impl Fn(&str) -> i64,
) -> ConsumerGroupConfig {
    let within = |name: &str| {
        let of = |bound: &str| number(&format!("group.consumer.{bound}{name}.ms"));
        of("").max(of("min.")).min(of("max.")) as i32
    };
    let assignors = resolver.broker("group.consumer.assignors");
    let assignors = assignors.iter().flat_map(|value| value.items());
    let assignors = assignors.filter_map(Assignor::by_name).collect();
    let migration_policy = resolver.broker("group.consumer.migration.policy");
    let migration_policy = migration_policy.and_then(|value| value.value);
    let migration_policy = migration_policy.and_then(|name| MigrationPolicy::by_name(&name));
    let batch_bytes_max = resolver.topic(CONSUMER_OFFSETS, "max.message.bytes");
    let batch_bytes_max = batch_bytes_max.and_then(|value| value.as_i64());
    let session_timeout_ms = within("session.timeout");
    ConsumerGroupConfig {
        session_timeout_ms,
        heartbeat_interval_ms: within_session(within("heartbeat.interval"), session_timeout_ms),
        max_size: number("group.consumer.max.size") as usize,
        assignment_interval_ms: within("assignment.interval"),
        regex_refresh_interval_ms: number("group.consumer.regex.refresh.interval.ms") as i32,
        batch_bytes_max: batch_bytes_max.expect("the key is in the table, with a number") as usize,
        assignors,
        migration_policy: migration_policy.unwrap_or_default(),
    }
}

/// There may be many groups, and topics whose configs change: what did not change is not looked at again.
fn consumer_by_group(
    known: Option<ConsumerByGroup>,
    resolver: &Resolver<'_>,
    of_all: &ConsumerGroupConfig,
    image: &Image,
    changes: &Changes,
) -> ConsumerByGroup {
    let counts_for_all = |resource: &Resource| match resource {
        Resource::DefaultBroker | Resource::Broker(_) => true,
        Resource::Topic(name) => &**name == CONSUMER_OFFSETS,
        Resource::Group(_) => false,
    };
    let of_group = |group_id: &Arc<str>| consumer_config_of(resolver, group_id, of_all);
    let mut changed = changes.configs_changed.iter();
    let Some(mut by_group) = known.filter(|_| !changed.any(counts_for_all)) else {
        let groups = image.configured_groups();
        return Arc::new(groups.map(|it| (Arc::clone(it), of_group(it))).collect());
    };
    for resource in &changes.configs_changed {
        let Resource::Group(group_id) = resource else {
            continue;
        };
        let by_group = Arc::make_mut(&mut by_group);
        match image.configs(resource) {
            Some(_) => by_group.insert(Arc::clone(group_id), of_group(group_id)),
            None => by_group.remove(group_id),
        };
    }
    by_group
}

/// What a group says of itself, within the same bounds.
fn consumer_config_of(
    resolver: &Resolver<'_>,
    group_id: &str,
    of_all: &ConsumerGroupConfig,
) -> ConsumerGroupConfig {
    let within = |name: &str| {
        let number = resolver.group_within_bounds(group_id, &format!("consumer.{name}.ms"));
        number.expect("the key is in the table, with a number") as i32
    };
    let session_timeout_ms = within("session.timeout");
    ConsumerGroupConfig {
        session_timeout_ms,
        heartbeat_interval_ms: within_session(within("heartbeat.interval"), session_timeout_ms),
        assignment_interval_ms: within("assignment.interval"),
        ..of_all.clone()
    }
}

/// Kafka does not start with such an interval: whoever keeps to it would be fenced between two heartbeats.
fn within_session(interval_ms: i32, session_timeout_ms: i32) -> i32 {
    if interval_ms >= session_timeout_ms {
        (session_timeout_ms / 3).max(1)
    } else {
        interval_ms
    }
}

#[cfg(test)]
mod tests {
    use foz_metadata::record::{Batch, ConfigRecord, Fact, ResourceKind};

    use super::*;

    fn image(configs: &[(ResourceKind, &str, &str, &str)]) -> Image {
        let records = configs.iter().map(|(kind, name, key, value)| {
            let record = ConfigRecord {
                kind: (*kind).into(),
                name: (*name).to_owned(),
                key: (*key).to_owned(),
                value: Some((*value).to_owned()),
            };
            Fact::Config(record).into()
        });
        let batch = Batch {
            follows: 0,
            term: 1,
            records: records.collect(),
        };
        Image::default().apply(&batch).unwrap()
    }

    #[test]
    fn a_group_has_what_it_says_within_the_bounds_and_what_brokers_say_else() {
        const SESSION: &str = "consumer.session.timeout.ms";
        const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
        let image = image(&[
            (ResourceKind::Group, "long", SESSION, "60000"),
            (ResourceKind::Group, "longest", SESSION, "90000"),
            (ResourceKind::Group, "slow", HEARTBEAT, "12000"),
            (
                ResourceKind::Group,
                "slow",
                "share.isolation.level",
                "read_committed",
            ),
            (
                ResourceKind::Group,
                "late",
                "consumer.assignment.interval.ms",
                "20000",
            ),
            (
                ResourceKind::Broker,
                "",
                "group.consumer.heartbeat.interval.ms",
                "7000",
            ),
            (
                ResourceKind::Broker,
                "",
                "group.consumer.min.session.timeout.ms",
                "6000",
            ),
            (ResourceKind::Group, "hasty", SESSION, "6000"),
            (
                ResourceKind::Broker,
                "7",
                "group.consumer.assignment.interval.ms",
                "0",
            ),
        ]);
        let properties = BTreeMap::new();
        let resolver = Resolver::new(&image, 7, &properties);
        let of_all = ConsumerGroupConfig {
            max_size: 9,
            ..ConsumerGroupConfig::default()
        };
        for (group_id, session, heartbeat, assignment) in [
            ("long", 60_000, 7_000, 0),
            ("longest", 60_000, 7_000, 0),
            ("slow", 45_000, 12_000, 0),
            ("late", 45_000, 7_000, 15_000),
            ("hasty", 6_000, 2_000, 0),
        ] {
            let expected = ConsumerGroupConfig {
                session_timeout_ms: session,
                heartbeat_interval_ms: heartbeat,
                assignment_interval_ms: assignment,
                ..of_all.clone()
            };
            let config = consumer_config_of(&resolver, group_id, &of_all);
            assert_eq!(config, expected, "{group_id}");
        }
    }

    #[test]
    fn only_groups_whose_configs_changed_are_looked_at_again() {
        const SESSION: &str = "consumer.session.timeout.ms";
        let image = image(&[
            (ResourceKind::Group, "a", SESSION, "50000"),
            (ResourceKind::Group, "b", SESSION, "60000"),
        ]);
        let properties = BTreeMap::new();
        let resolver = Resolver::new(&image, 7, &properties);
        let of_all = ConsumerGroupConfig::default();
        let changed = |resources: &[Resource]| Changes {
            configs_changed: resources.iter().cloned().collect(),
            ..Changes::default()
        };
        let follow = |known: &[&str], changes: &Changes| {
            let known = known.iter().map(|it| ((*it).into(), of_all.clone()));
            let known = Some(Arc::new(known.collect()));
            let next = consumer_by_group(known, &resolver, &of_all, &image, changes);
            let sessions = next.iter();
            let sessions = sessions.map(|(id, it)| (id.to_string(), it.session_timeout_ms));
            sessions.collect::<Vec<_>>()
        };
        let expected = |sessions: &[(&str, i32)]| {
            let sessions = sessions.iter();
            let sessions = sessions.map(|(id, session)| ((*id).to_owned(), *session));
            sessions.collect::<Vec<_>>()
        };
        let all = expected(&[("a", 50_000), ("b", 60_000)]);
        let nothing = Changes::default();
        let first = consumer_by_group(None, &resolver, &of_all, &image, &nothing);
        assert_eq!(first.len(), 2);
        let group = |id: &str| Resource::Group(id.into());
        let stale = expected(&[("a", 45_000), ("gone", 45_000)]);
        assert_eq!(follow(&["a", "gone"], &nothing), stale);
        let topic = changed(&[Resource::topic("orders")]);
        assert_eq!(follow(&["a", "gone"], &topic), stale);
        let groups = changed(&[group("b"), group("gone")]);
        let some = expected(&[("a", 45_000), ("b", 60_000)]);
        assert_eq!(follow(&["a", "gone"], &groups), some);
        for resource in [
            Resource::DefaultBroker,
            Resource::Broker(7),
            Resource::topic(CONSUMER_OFFSETS),
        ] {
            assert_eq!(follow(&["a", "gone"], &changed(&[resource])), all);
        }
    }
}
