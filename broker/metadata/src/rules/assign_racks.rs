//! An administrator says in which failure domain nodes are.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::image::Image;
use crate::record::{Fact, RackRecord};

/// Assigns racks by node id, also to nodes that have not registered yet; an empty rack takes the
/// assignment back, so that what the broker says counts again.
pub fn assign_racks(
    image: &Image,
    racks: &BTreeMap<i32, String>,
    operator_epoch: i64,
) -> Decided<()> {
    check_operator_epoch(image, operator_epoch)?;
    if let Some((node_id, rack)) = racks.iter().find(|(node_id, _)| **node_id < 0) {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("rack {rack:?} is for node id {node_id}, which must be 0 or more"),
        ));
    }
    let assigned: BTreeMap<i32, &str> = image.assigned_racks().collect();
    let mut draft = Draft::new(image);
    for (node_id, rack) in racks {
        let rack = Some(rack.as_str()).filter(|rack| !rack.is_empty());
        if assigned.get(node_id).copied() != rack {
            let rack = rack.map(str::to_owned);
            draft.write(Fact::Rack(RackRecord {
                node_id: *node_id,
                rack,
            }));
        }
    }
    Ok(draft.decide(()))
}
