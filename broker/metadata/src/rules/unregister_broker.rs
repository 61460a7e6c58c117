//! `UnregisterBroker`: a broker that is gone for good is forgotten (KIP-631).

use super::deleted_replicas::{Lost, change_deleted_on};
use super::draft::Draft;
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::image::Image;
use crate::record::{
    CordonRecord, EndRestartGrantRecord, Fact, RackRecord, UnregisterBrokerRecord,
};

/// Forgets a broker, with its cordon, its assigned rack and its restart grant. What it kept of deleted topics can be
/// brought back no more.
///
/// Kafka forgets a living one as well, and one that replicas are assigned to; here both are refused: the first
/// would come back by itself, and the second leaves partitions with a replica that no broker has.
pub fn unregister_broker(image: &Image, node_id: i32, operator_epoch: i64) -> Decided<()> {
    check_operator_epoch(image, operator_epoch)?;
    let Some(broker) = image.broker(node_id) else {
        return Err(Refusal::new(
            ErrorCode::BrokerIdNotRegistered,
            format!("broker {node_id} is not registered"),
        ));
    };
    let refuse = |why: String| {
        let message = format!("broker {node_id} cannot be unregistered: {why}");
        Err(Refusal::new(ErrorCode::InvalidRequest, message))
    };
    if !broker.fenced {
        return refuse(format!("it is alive at {}:{}", broker.host, broker.port));
    }
    match image.replica_count(node_id) {
        0 => {}
        1 => return refuse("it holds 1 replica, which has to move away first".to_owned()),
        count => {
            return refuse(format!(
                "it holds {count} replicas, which have to move away first"
            ));
        }
    }
    let mut draft = Draft::new(image);
    if let Some(grant) = image.grant(node_id) {
        draft.write(Fact::EndRestartGrant(EndRestartGrantRecord {
            node_id,
            grant_epoch: grant.epoch,
        }));
    }
    if image.is_cordoned(node_id) {
        draft.write(Fact::Cordon(CordonRecord {
            node_id,
            cordoned: false,
        }));
    }
    if image.racks.contains_key(&node_id) {
        draft.write(Fact::Rack(RackRecord {
            node_id,
            rack: None,
        }));
    }
    change_deleted_on(&mut draft, node_id, |_, _| Some(Lost::Broker));
    // Last: what is told of the batch ends with the broker being gone.
    draft.write(Fact::UnregisterBroker(UnregisterBrokerRecord {
        node_id,
        epoch: broker.epoch,
    }));
    Ok(draft.decide(()))
}
