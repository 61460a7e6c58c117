//! An administrator, or a drain, says which brokers get no new replicas.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::image::Image;
use crate::record::{CordonRecord, Fact};

/// Cordons brokers, or takes that back. What they have stays with them. Nodes that have not registered yet may
/// be named too, and a cordon outlives the process of its broker.
pub fn cordon(
    image: &Image,
    node_ids: &BTreeSet<i32>,
    cordoned: bool,
    operator_epoch: i64,
) -> Decided<()> {
    check_operator_epoch(image, operator_epoch)?;
    if let Some(node_id) = node_ids.iter().find(|node_id| **node_id < 0) {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("node id {node_id} cannot be cordoned: it must be 0 or more"),
        ));
    }
    let mut draft = Draft::new(image);
    for node_id in node_ids.iter().copied() {
        if image.is_cordoned(node_id) != cordoned {
            draft.write(Fact::Cordon(CordonRecord { node_id, cordoned }));
        }
    }
    Ok(draft.decide(()))
}
