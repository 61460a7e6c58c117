//! A rebalance is called off.

use super::draft::Draft;
use super::rebalance::end_rebalance;
use super::{Decided, check_operator_epoch};
use crate::image::{Image, RebalanceState};

/// Cancels a rebalance, with its moves under way; what has arrived stays. The answer is false where it does not run,
/// or not any more.
pub fn cancel_rebalance(image: &Image, rebalance_id: i64, operator_epoch: i64) -> Decided<bool> {
    check_operator_epoch(image, operator_epoch)?;
    let mut draft = Draft::new(image);
    let running = image.running_rebalance();
    let Some(running) = running.filter(|running| running.id == rebalance_id) else {
        return Ok(draft.decide(false));
    };
    let message = "it was cancelled by request".to_owned();
    end_rebalance(
        &mut draft,
        running,
        RebalanceState::Cancelled,
        message,
        |_| None,
    );
    Ok(draft.decide(true))
}
