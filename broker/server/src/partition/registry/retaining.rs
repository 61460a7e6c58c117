//! Drops what is not to be kept.

use tracing::warn;

use super::Partitions;
use crate::partition::wall_clock_ms;

impl Partitions {
    /// Drops what retention no longer keeps, as long as `proceed` says so. It looks into every log, also those that
    /// nobody uses. Blocks.
    pub(crate) fn apply_retention(&self, proceed: &dyn Fn() -> bool) {
        // Only of partitions that the metadata has given: before that nobody knows what their topics
        // keep, and Kafka's default would delete what `retention.ms=-1` keeps for ever. Followers drop
        // their own, too.
        for partition in self.all() {
            if !proceed() {
                return;
            }
            if let Err(error) = partition.log.apply_retention(wall_clock_ms()) {
                warn!(partition = partition.name(), %error, "retention not applied");
            }
        }
    }
}
