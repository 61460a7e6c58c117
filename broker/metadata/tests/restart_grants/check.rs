//! What must hold, worked out without the rules' own helpers.

use std::collections::BTreeMap;
use std::ops::Range;

use foz_metadata::image::{Image, Partition, Topic};
use foz_metadata::rules::{
    AcquireRestart, Answer, DeniedReason, QuorumHealth, Refusal, Unavailable, min_insync_replicas,
};

use super::world::World;

/// What happened, so that a walk that misses something fails.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) steps: usize,
    pub(crate) granted: usize,
    pub(crate) granted_again: usize,
    pub(crate) granted_to_controllers: usize,
    pub(crate) insisted: usize,
    pub(crate) unprotected: usize,
    pub(crate) denied: BTreeMap<DeniedReason, usize>,
    pub(crate) refused_as_old: usize,
    pub(crate) answers_lost: usize,
    pub(crate) stopped_by_grant: usize,
    pub(crate) crashed: usize,
    pub(crate) lagged: usize,
    pub(crate) ended_when_back: usize,
    pub(crate) ended_by_time: usize,
    pub(crate) called_off: usize,
    pub(crate) reassigned: usize,
    pub(crate) cancelled: usize,
    pub(crate) completed: usize,
    /// Reassignments that were complete but for a grant.
    pub(crate) waited_for_grants: usize,
    /// Partitions that were made.
    pub(crate) made: usize,
    /// Of them, those that were made while one of their brokers was away.
    pub(crate) made_without_all: usize,
    /// Of them, those of which one of these brokers has a restart grant.
    pub(crate) made_beside_a_grant: usize,
    pub(crate) restarted_when_well: usize,
    pub(crate) granted_at_last: usize,
    pub(crate) stopped_together: usize,
}

impl Seen {
    /// A walk has to come by everything, and more than once.
    pub(crate) fn assert_all(&self) {
        for reason in [
            DeniedReason::Incarnation,
            DeniedReason::MinInsync,
            DeniedReason::AnotherGrant,
            DeniedReason::Quorum,
        ] {
            let times = self.denied.get(&reason).copied().unwrap_or_default();
            assert!(times > 100, "{reason:?}: {self:?}");
        }
        for times in [
            self.granted,
            self.granted_again,
            self.granted_to_controllers,
            self.insisted,
            self.refused_as_old,
            self.answers_lost,
            self.stopped_by_grant,
            self.crashed,
            self.lagged,
            self.ended_when_back,
            self.ended_by_time,
            self.called_off,
            self.reassigned,
            self.cancelled,
            self.completed,
            self.waited_for_grants,
            self.made,
            self.made_without_all,
            self.made_beside_a_grant,
            self.restarted_when_well,
            self.granted_at_last,
            self.stopped_together,
        ] {
            assert!(times > 100, "{self:?}");
        }
    }
}

/// A partition, as far as grants are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cover {
    /// Members of the ISR that nobody allowed to go, without those that a cancellation would take away.
    staying: usize,
    needed: usize,
    /// Replicas, without those that a reassignment brings.
    origin: usize,
}

impl Cover {
    fn of(image: &Image, topic: &Topic, partition: &Partition) -> Self {
        Self::without(image, topic, partition, None)
    }

    fn without(image: &Image, topic: &Topic, partition: &Partition, node: Option<i32>) -> Self {
        let comes = |id: &i32| partition.adding_replicas.contains(id);
        let stays = |id: &i32| {
            let broker = image.broker(*id);
            let is_well = broker.is_some_and(|broker| !broker.fenced && !broker.stopping);
            let is_granted = image.grants().any(|grant| grant.node_id == *id);
            is_well && !is_granted && !comes(id) && Some(*id) != node
        };
        let origin = partition.replicas.iter().filter(|id| !comes(id)).count();
        let needed = min_insync_replicas(image, topic).min(origin).max(1);
        let staying = partition.isr.iter().filter(|id| stays(id)).count();
        Self {
            staying,
            needed,
            origin,
        }
    }

    fn is_enough(self) -> bool {
        self.staying >= self.needed
    }

    /// Whether there is an ISR that would protect it.
    fn can_be_enough(self) -> bool {
        self.origin > self.needed
    }
}

impl World {
    pub(crate) fn covers(image: &Image) -> Vec<Cover> {
        let partitions = image.partitions();
        partitions
            .map(|(topic, _, partition)| Cover::of(image, topic, partition))
            .collect()
    }

    /// What must hold after every change; `covers` are those from before it.
    pub(crate) fn check_change(&mut self, before: &Image, is_failure: bool) {
        let now = Self::covers(&self.image);
        let was = std::mem::replace(&mut self.covers, now);
        if !is_failure {
            for (at, (was, now)) in was.iter().zip(&self.covers).enumerate() {
                assert!(
                    !was.is_enough() || now.is_enough() || !now.can_be_enough(),
                    "partition {at}: {was:?} {now:?}\n{:?}\n{:?}",
                    before.partitions().nth(at),
                    self.image.partitions().nth(at)
                );
            }
        }
        for ((_, _, old), (_, _, new)) in before.partitions().zip(self.image.partitions()) {
            self.seen.completed += usize::from(old.is_reassigning() && !new.is_reassigning());
            if new.is_reassigning() {
                let target = new.target_replicas();
                assert!(!target.is_empty());
                if target.iter().all(|id| new.isr.contains(id)) {
                    self.seen.waited_for_grants += 1;
                    let may_go =
                        |id: &i32| !self.image.can_lead(*id) || self.image.grant(*id).is_some();
                    assert!(target.iter().any(may_go), "nothing holds it up: {new:?}");
                }
            }
            if self.image.grant(new.leader).is_some() && !self.image.can_lead(new.leader) {
                let another = new.isr.iter().any(|id| self.image.can_lead(*id));
                assert!(!another, "{new:?}");
            }
        }
        let controllers = self.image.grants().filter(|grant| grant.node_id >= 1000);
        assert!(controllers.count() <= 1);
    }

    /// Partitions can be made as long as one broker can lead them; they are the newest of the last topic.
    pub(crate) fn check_made(&mut self, made: &Result<(), Refusal>, indexes: Range<i32>) {
        let mut brokers = self.image.brokers();
        assert_eq!(
            made.is_ok(),
            brokers.any(|broker| broker.can_lead()),
            "{made:?}"
        );
        if made.is_err() {
            return;
        }
        let topic = self.image.topics().last().unwrap();
        assert!(!indexes.is_empty());
        for index in indexes {
            let partition = topic.partition(index).unwrap();
            let is_away = |id: &&i32| !self.image.can_lead(**id);
            assert!(!is_away(&&partition.leader), "{partition:?}");
            let away: Vec<i32> = partition.replicas.iter().filter(is_away).copied().collect();
            let in_sync = partition.replicas.iter().filter(|id| !away.contains(id));
            assert!(in_sync.eq(&partition.isr), "{partition:?}");
            self.seen.made += 1;
            self.seen.made_without_all += usize::from(!away.is_empty());
            let has_grant = away.iter().any(|id| self.image.grant(*id).is_some());
            self.seen.made_beside_a_grant += usize::from(has_grant);
        }
    }

    /// What must hold of an answer, on the image that it was decided on.
    pub(crate) fn check_answer(
        &mut self,
        request: &AcquireRestart,
        quorum: &QuorumHealth,
        answer: &Answer,
        writes_grant: bool,
    ) {
        let node_id = request.node_id;
        let known = self.image.grant(node_id);
        let same = known.filter(|grant| grant.incarnation == request.incarnation);
        let (grant_epoch, unprotected) = match answer {
            Answer::Denied { reason, message } => {
                assert!(
                    !message.is_empty() && !request.insist || *reason == DeniedReason::Incarnation
                );
                *self.seen.denied.entry(*reason).or_default() += 1;
                return;
            }
            Answer::Granted {
                grant_epoch,
                unprotected,
            } => (*grant_epoch, unprotected),
        };
        assert_eq!(writes_grant, same.is_none());
        if let Some(same) = same {
            assert_eq!(grant_epoch, same.epoch);
            self.seen.granted_again += 1;
            return;
        }
        assert!(grant_epoch > self.newest_grant, "never used again");
        self.newest_grant = grant_epoch;
        self.seen.granted += 1;
        self.seen.unprotected += usize::from(!unprotected.is_empty());
        if request.insist {
            self.seen.insisted += 1;
            return;
        }
        if node_id >= 1000 {
            let others = quorum.reachable.iter().filter(|id| **id != node_id);
            assert!(others.count() > quorum.voters.len() / 2);
            self.seen.granted_to_controllers += 1;
            return;
        }
        for (topic, index, partition) in self.image.partitions() {
            if !partition.isr.contains(&node_id) {
                continue;
            }
            let cover = Cover::without(&self.image, topic, partition, Some(node_id));
            if cover.is_enough() {
                continue;
            }
            let what = format!("{} {index} {partition:?} {cover:?} {request:?}", topic.name);
            assert!(!cover.can_be_enough(), "it should be denied: {what}");
            assert!(partition.replicas.contains(&node_id));
            assert_eq!(request.unavailable, Unavailable::Allow, "{what}");
            let mut others = partition.replicas.iter().filter(|id| **id != node_id);
            assert!(!others.any(|id| self.image.grant(*id).is_some()), "{what}");
            assert!(
                unprotected.contains(&format!("{}-{index}", topic.name)),
                "{what}"
            );
        }
    }

    /// A broker that stopped by its grant has left what was needed.
    pub(crate) fn check_stop(&mut self, covers: &[Cover]) {
        for (cover, (_, _, partition)) in covers.iter().zip(self.image.partitions()) {
            assert!(
                !cover.is_enough() || partition.isr.len() >= cover.needed,
                "{cover:?} {partition:?}"
            );
        }
        self.seen.stopped_by_grant += 1;
    }
}
