//! Whether a broker may stop: the partitions in whose ISR it is have to keep their minimum.

use std::sync::Arc;

use super::{AcquireRestart, DeniedReason, UNPROTECTED_NAMED_MAX, Unavailable, Verdict};
use crate::image::{Grant, Image, Partition, Topic};
use crate::rules::min_insync::{effective_min_insync, min_insync_replicas};
use crate::rules::protection::{counted_replicas, staying};

/// Why the question is about a process that is not there.
pub(super) fn is_not_registered(image: &Image, request: &AcquireRestart) -> Option<String> {
    let node_id = request.node_id;
    let Some(broker) = image.broker(node_id) else {
        return Some(format!(
            "node {node_id} is neither a registered broker nor a voter of the metadata quorum"
        ));
    };
    (broker.incarnation != request.incarnation).then(|| {
        format!(
            "incarnation {} of broker {node_id} is not the registered one, which is {}",
            request.incarnation, broker.incarnation
        )
    })
}

pub(super) fn may_stop(image: &Image, request: &AcquireRestart) -> Verdict {
    let node_id = request.node_id;
    let mut unprotected = Vec::new();
    for topic in image.topics() {
        let min_insync = min_insync_replicas(image, topic);
        for (index, partition) in topic.indexed_partitions() {
            if !partition.isr.contains(&node_id) {
                continue;
            }
            let without = Without::new(image, node_id, partition, min_insync);
            if without.is_enough() {
                continue;
            }
            if !request.insist {
                without.check(topic, index, request.unavailable)?;
            }
            if unprotected.len() < UNPROTECTED_NAMED_MAX {
                unprotected.push(format!("{}-{index}", topic.name));
            }
        }
    }
    Ok(unprotected)
}

/// A partition while the node is away.
struct Without<'a> {
    node_id: i32,
    partition: &'a Partition,
    /// What a grant may count on.
    counted: Vec<i32>,
    /// Members of the ISR that stay.
    staying: Vec<i32>,
    needed: usize,
    /// Of other replicas.
    grants: Vec<&'a Arc<Grant>>,
}

impl<'a> Without<'a> {
    fn new(
        image: &'a Image,
        node_id: i32,
        partition: &'a Partition,
        min_insync_replicas: usize,
    ) -> Self {
        let counted = counted_replicas(partition);
        let staying = staying(image, &partition.isr)
            .filter(|id| *id != node_id && counted.contains(id))
            .collect();
        let others = partition.replicas.iter().filter(|id| **id != node_id);
        Self {
            node_id,
            partition,
            staying,
            needed: effective_min_insync(min_insync_replicas, counted.len()),
            counted,
            grants: others.filter_map(|id| image.grant(*id)).collect(),
        }
    }

    fn is_enough(&self) -> bool {
        self.staying.len() >= self.needed
    }

    /// `Ok`: no waiting would make it better.
    fn check(
        &self,
        topic: &Topic,
        index: i32,
        unavailable: Unavailable,
    ) -> Result<(), (DeniedReason, String)> {
        let others = self.counted.iter().filter(|id| **id != self.node_id);
        let can_be_protected = others.count() >= self.needed;
        let sentence = self.sentence(topic, index);
        if !can_be_protected && unavailable == Unavailable::Deny {
            let message = format!("{sentence}, and nothing may become unavailable");
            return Err((DeniedReason::Unavailable, message));
        }
        let isr = &self.partition.isr;
        let Some(grant) = self.grants.first() else {
            if can_be_protected {
                let message = format!("{sentence}; the ISR is {isr:?}");
                return Err((DeniedReason::MinInsync, message));
            }
            return Ok(());
        };
        // Where nothing protects, one after the other still keeps the partition from losing all at once.
        let returning = self.grants.iter();
        let returning = returning.filter(|grant| self.counted.contains(&grant.node_id));
        let is_enough_then = self.staying.len() + returning.count() >= self.needed;
        let reason = if !can_be_protected || is_enough_then {
            DeniedReason::AnotherGrant
        } else {
            DeniedReason::MinInsync
        };
        let message = format!(
            "{sentence}; the ISR is {isr:?}, and broker {} has restart grant {} ({})",
            grant.node_id, grant.epoch, grant.reason
        );
        Err((reason, message))
    }

    fn sentence(&self, topic: &Topic, index: i32) -> String {
        format!(
            "{}-{index} would have {} of {} in-sync replicas that it needs without broker {}",
            topic.name,
            self.staying.len(),
            self.needed,
            self.node_id
        )
    }
}
