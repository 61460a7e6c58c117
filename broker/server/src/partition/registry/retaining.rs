//! Drops what is not to be kept.

use tracing::warn;

use super::Partitions;
use crate::partition::wall_clock_ms;

impl Partitions {
    /// Drops what retention no longer keeps. It looks into every log, also those that nobody uses.
    pub(crate) fn apply_retention(&self) {
        let now_ms = wall_clock_ms();
        // Only of partitions that the metadata has given: before that nobody knows what their topics
        // keep, and Kafka's default would delete what `retention.ms=-1` keeps for ever. Followers drop
        // their own, too.
        for partition in self.all() {
            if let Err(error) = partition.log.apply_retention(now_ms) {
                warn!(partition = partition.name(), %error, "retention not applied");
            }
        }
    }
}
