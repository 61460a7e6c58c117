//! How long restart grants last at most, and which controllers were away and are back. Pure: the time is given.
//!
//! A grant has a time limit so that a node which never comes back does not hold all others up. It counts from when
//! the active controller first sees the grant, and again from each registration of the node: one that comes back
//! slowly is still coming back. Nothing of it is in the metadata, so another active controller counts anew.
//!
//! The grants of brokers end by a rule, as the metadata says when a broker is back. Of controllers it says nothing;
//! here one is back when it was silent for a while and then answers again. A grant that ends too early costs
//! nothing but another question: it permits nothing by ending.

use std::collections::BTreeMap;
use std::time::Duration;

use foz_metadata::Image;
use foz_metadata::image::Grant;
use foz_metadata::rules::QuorumHealth;

/// The time limit: a pod that is moved to another machine is long back.
pub(crate) const RESTART_TIME_LIMIT: Duration = Duration::from_secs(600);
/// A controller that is silent for so long has stopped. Its status is false for a moment now and then.
const AWAY_AFTER: Duration = Duration::from_millis(300);

/// What is remembered of the grants that there are.
#[derive(Debug, Default)]
pub(crate) struct RestartLimits {
    nodes: BTreeMap<i32, Held>,
}

#[derive(Debug)]
struct Held {
    grant_epoch: i64,
    /// The newest registration of a broker.
    broker_epoch: Option<i64>,
    /// The limit counts from here.
    since: Duration,
    /// Of a controller.
    silent_since: Option<Duration>,
    was_away: bool,
}

/// A grant that is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) node_id: i32,
    pub(crate) grant_epoch: i64,
    pub(crate) why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its node takes too long, or does not stop.
    TimeLimit,
    /// The controller was away and is there again.
    IsBack,
}

impl RestartLimits {
    /// Takes in what is so at `now`; says which grants are to end.
    pub(crate) fn look(
        &mut self,
        image: &Image,
        quorum: &QuorumHealth,
        time_limit: Duration,
        now: Duration,
    ) -> Vec<Ending> {
        self.nodes
            .retain(|node_id, _| image.grant(*node_id).is_some());
        let mut endings = Vec::new();
        for grant in image.grants() {
            let node_id = grant.node_id;
            let held = self.held(image, grant, now);
            if quorum.voters.contains(&node_id) {
                let is_there = quorum.reachable.contains(&node_id) || quorum.active == node_id;
                held.hear_of_controller(is_there, now);
            }
            let why = if held.is_back() {
                Why::IsBack
            } else if now.saturating_sub(held.since) >= time_limit {
                Why::TimeLimit
            } else {
                continue;
            };
            endings.push(Ending {
                node_id,
                grant_epoch: grant.epoch,
                why,
            });
        }
        endings
    }

    fn held(&mut self, image: &Image, grant: &Grant, now: Duration) -> &mut Held {
        let broker_epoch = image.broker(grant.node_id).map(|broker| broker.epoch);
        let fresh = || Held {
            grant_epoch: grant.epoch,
            broker_epoch,
            since: now,
            silent_since: None,
            was_away: false,
        };
        let held = self.nodes.entry(grant.node_id).or_insert_with(fresh);
        if (held.grant_epoch, held.broker_epoch) != (grant.epoch, broker_epoch) {
            *held = fresh();
        }
        held
    }
}

impl Held {
    fn hear_of_controller(&mut self, is_there: bool, now: Duration) {
        if is_there {
            self.silent_since = None;
            return;
        }
        let since = *self.silent_since.get_or_insert(now);
        self.was_away |= now.saturating_sub(since) >= AWAY_AFTER;
    }

    fn is_back(&self) -> bool {
        self.was_away && self.silent_since.is_none()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use foz_metadata::record::{
        Batch, EndRestartGrantRecord, Fact, RegisterBrokerRecord, RestartGrantRecord,
    };
    use uuid::Uuid;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn after(image: &Image, fact: Fact) -> Image {
        let batch = Batch {
            follows: image.offset(),
            term: 1,
            records: vec![fact.into()],
        };
        image.apply(&batch).unwrap()
    }

    fn granted(image: &Image, node_id: i32) -> Image {
        after(
            image,
            Fact::RestartGrant(RestartGrantRecord {
                node_id,
                grant_epoch: image.offset() + 1,
                incarnation: id(1),
                ..RestartGrantRecord::default()
            }),
        )
    }

    fn registered(image: &Image, node_id: i32, incarnation: u128) -> Image {
        after(
            image,
            Fact::RegisterBroker(RegisterBrokerRecord {
                node_id,
                epoch: image.offset() + 1,
                incarnation: id(incarnation),
                ..RegisterBrokerRecord::default()
            }),
        )
    }

    fn id(number: u128) -> Bytes {
        Bytes::copy_from_slice(Uuid::from_u128(number).as_bytes())
    }

    fn quorum(reachable: &[i32]) -> QuorumHealth {
        QuorumHealth {
            voters: [1000, 1001, 1002].into(),
            reachable: reachable.iter().copied().collect(),
            active: 1000,
        }
    }

    fn look(limits: &mut RestartLimits, image: &Image, there: &[i32], at: f64) -> Vec<(i32, Why)> {
        let endings = limits.look(image, &quorum(there), LIMIT, seconds(at));
        for ending in &endings {
            let grant = image.grant(ending.node_id).unwrap();
            assert_eq!(ending.grant_epoch, grant.epoch);
        }
        endings.into_iter().map(|it| (it.node_id, it.why)).collect()
    }

    #[test]
    fn a_grant_ends_by_its_time_limit_which_begins_anew_with_a_registration_or_another_grant() {
        let all = [1000, 1001, 1002];
        let mut limits = RestartLimits::default();
        let none = registered(&Image::default(), 0, 1);
        assert_eq!(look(&mut limits, &none, &all, 0.0), []);
        let image = granted(&none, 0);
        assert_eq!(look(&mut limits, &image, &all, 5.0), []);
        assert_eq!(look(&mut limits, &image, &all, 14.9), []);
        let back = registered(&image, 0, 2);
        assert_eq!(look(&mut limits, &back, &all, 14.95), []);
        assert_eq!(look(&mut limits, &back, &all, 24.9), []);
        // Nothing changed, so it is said again: a decision may be lost.
        for at in [24.95, 25.0] {
            assert_eq!(look(&mut limits, &back, &all, at), [(0, Why::TimeLimit)]);
        }
        let again = granted(&back, 0);
        assert_eq!(look(&mut limits, &again, &all, 26.0), []);
        let grant_epoch = again.grant(0).unwrap().epoch;
        let end = Fact::EndRestartGrant(EndRestartGrantRecord {
            node_id: 0,
            grant_epoch,
        });
        assert_eq!(look(&mut limits, &after(&again, end), &all, 27.0), []);
        assert!(limits.nodes.is_empty());
    }

    #[test]
    fn a_controller_is_back_when_it_was_silent_for_a_while_and_answers() {
        let mut limits = RestartLimits::default();
        let image = granted(&granted(&Image::default(), 1001), 1000);
        let (all, without) = ([1000, 1001, 1002], [1000, 1002]);
        assert_eq!(look(&mut limits, &image, &all, 0.0), []);
        // A moment is no restart.
        assert_eq!(look(&mut limits, &image, &without, 1.0), []);
        assert_eq!(look(&mut limits, &image, &without, 1.29), []);
        assert_eq!(look(&mut limits, &image, &all, 1.31), []);
        assert_eq!(look(&mut limits, &image, &without, 2.0), []);
        assert_eq!(look(&mut limits, &image, &without, 2.3), []);
        assert_eq!(look(&mut limits, &image, &all, 3.0), [(1001, Why::IsBack)]);
        // The active controller is there, whatever the status says; it has its limit, too.
        assert_eq!(look(&mut limits, &image, &[1002], 3.5), []);
        let over = look(&mut limits, &image, &[1002], 10.0);
        assert_eq!(over, [(1000, Why::TimeLimit), (1001, Why::TimeLimit)]);
    }

    #[test]
    fn another_active_controller_counts_anew() {
        let image = granted(&Image::default(), 0);
        let mut first = RestartLimits::default();
        assert_eq!(look(&mut first, &image, &[1000], 0.0), []);
        assert_eq!(
            look(&mut first, &image, &[1000], 10.0),
            [(0, Why::TimeLimit)]
        );
        let mut second = RestartLimits::default();
        assert_eq!(look(&mut second, &image, &[1000], 10.0), []);
        assert_eq!(look(&mut second, &image, &[1000], 19.9), []);
    }
}
