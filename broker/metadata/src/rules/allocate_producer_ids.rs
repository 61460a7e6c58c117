//! A block of producer ids for a broker to hand out.

use super::draft::Draft;
use super::{Decided, ErrorCode, Refusal, check_broker_epoch};
use crate::image::Image;
use crate::record::{Fact, ProducerIdsRecord};

/// Kafka's `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`.
pub const PRODUCER_IDS_PER_BLOCK: i32 = 1000;

/// Ids that nobody else gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first of them.
    pub first_id: i64,
    /// How many follow, the first included.
    pub count: i32,
}

/// Hands the next block to a broker; `broker_epoch` says which registration is meant.
pub fn allocate_producer_ids(
    image: &Image,
    node_id: i32,
    broker_epoch: i64,
) -> Decided<ProducerIdBlock> {
    check_broker_epoch(image, node_id, broker_epoch)?;
    let first_id = image.next_producer_id();
    let next_producer_id = first_id
        .checked_add(i64::from(PRODUCER_IDS_PER_BLOCK))
        .ok_or_else(|| {
            Refusal::new(
                ErrorCode::UnknownServerError,
                "all producer ids were handed out",
            )
        })?;
    let mut draft = Draft::new(image);
    draft.write(Fact::ProducerIds(ProducerIdsRecord {
        next_producer_id,
        node_id,
        broker_epoch,
    }));
    Ok(draft.decide(ProducerIdBlock {
        first_id,
        count: PRODUCER_IDS_PER_BLOCK,
    }))
}
