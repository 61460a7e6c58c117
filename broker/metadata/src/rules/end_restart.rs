//! A restart grant ends: the node is back, or it takes too long, or nobody wants it any more.

use super::draft::Draft;
use super::partition_change::change_partitions_on;
use super::{Decided, check_operator_epoch};
use crate::image::{CONTROLLER_ID_FIRST, Grant, Image};
use crate::record::{BrokerFenceRecord, EndRestartGrantRecord, Fact};

/// Ends a grant, whatever became of its node; the answer is whether there was such a grant. For its time limit, for a
/// roll that was called off, and for the grant of a controller, of whose processes the metadata knows nothing.
///
/// A broker that has not stopped may lead again. It is free to run from then on, and nobody is free to stop it.
///
/// The order of the records allows them to be split over several batches: the grant ends with the last.
pub fn end_restart(
    image: &Image,
    node_id: i32,
    grant_epoch: i64,
    operator_epoch: i64,
) -> Decided<bool> {
    check_operator_epoch(image, operator_epoch)?;
    let mut draft = Draft::new(image);
    let grant = image.grant(node_id).filter(|it| it.epoch == grant_epoch);
    let Some(grant) = grant else {
        return Ok(draft.decide(false));
    };
    if image.is_granted_incarnation(grant)
        && let Some(broker) = image.broker(node_id)
        && broker.stopping
    {
        draft.write(Fact::BrokerFence(BrokerFenceRecord {
            stopping: false,
            ..BrokerFenceRecord::of(broker)
        }));
    }
    let end = end_of(grant);
    // What waited for the end of the grant, a reassignment for example, goes on.
    let after = draft.preview(&end);
    change_partitions_on(&mut draft, &after, node_id, |_| {});
    draft.write(end);
    Ok(draft.decide(true))
}

/// Ends the grants of brokers that are back, and makes them lead what they are preferred for, in one transaction; the
/// answer is which ones. A broker is back when another process of it is registered, alive, and in every ISR that it
/// should be in: replicas that are to be taken away, those that a reassignment has just brought, and those that it cannot
/// use do not count. The grant of a broker that is no longer registered ends too.
///
/// The grants of controllers are not looked at; see [`end_restart`].
pub fn end_restarts_done(image: &Image) -> Decided<Vec<i32>> {
    let mut draft = Draft::new(image);
    let done: Vec<_> = image
        .grants()
        .filter(|grant| is_done(image, grant))
        .cloned()
        .collect();
    let mut after = image.clone();
    for grant in &done {
        after = Draft::new(&after).preview(&end_of(grant));
    }
    for grant in &done {
        let node_id = grant.node_id;
        let can_take_over = after.can_take_over(node_id);
        change_partitions_on(&mut draft, &after, node_id, |change| {
            if can_take_over {
                change.prefer_if_in_sync(node_id);
            }
        });
    }
    for grant in &done {
        draft.write(end_of(grant));
    }
    Ok(draft.decide(done.iter().map(|grant| grant.node_id).collect()))
}

fn is_done(image: &Image, grant: &Grant) -> bool {
    let node_id = grant.node_id;
    let Some(broker) = image.broker(node_id) else {
        return node_id < CONTROLLER_ID_FIRST;
    };
    broker.incarnation != grant.incarnation
        && !broker.fenced
        && image.partitions_on(node_id).all(|(_, _, partition)| {
            partition.isr.contains(&node_id)
                || partition.removing_replicas.contains(&node_id)
                || partition.adding_replicas.contains(&node_id)
                // A disk that is dead does not come back with the process.
                || partition.offline.contains(&node_id)
        })
}

fn end_of(grant: &Grant) -> Fact {
    Fact::EndRestartGrant(EndRestartGrantRecord {
        node_id: grant.node_id,
        grant_epoch: grant.epoch,
    })
}
