//! Somebody becomes the operator.

use super::draft::Draft;
use super::{Decided, ErrorCode, Refusal};
use crate::image::Image;
use crate::record::{Fact, OperatorEpochRecord};

/// Longer than any pod's name.
const HOLDER_BYTES_MAX: usize = 253;

/// Hands out an epoch greater than any before it; whoever held one is refused from then on.
pub fn acquire_operator_epoch(image: &Image, holder: &str) -> Decided<i64> {
    if holder.is_empty() || holder.len() > HOLDER_BYTES_MAX {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "the holder of the operator epoch must have 1 to {HOLDER_BYTES_MAX} bytes, not {}",
                holder.len()
            ),
        ));
    }
    let epoch = image.operator_epoch() + 1;
    let mut draft = Draft::new(image);
    draft.write(Fact::OperatorEpoch(OperatorEpochRecord {
        epoch,
        holder: holder.to_owned(),
    }));
    Ok(draft.decide(epoch))
}
