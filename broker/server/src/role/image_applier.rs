//! Brings the broker in line with each new image: partitions are there before clients hear of them.
//!
//! It begins with an image from after this process was registered. An older one may say that this node
//! leads, with what its disk had in an earlier life; followers would cut their logs to that. And it may lack
//! topics whose logs are here.

use std::sync::Arc;

use foz_metadata::image::ApplyError;
use foz_metadata::record::Batch;
use foz_metadata::{Changes, Image};
use tokio::sync::watch;

use crate::blocking::blocking;
use crate::broker::Broker;

/// The only one who changes the broker's image.
pub(crate) struct ImageApplier {
    broker: Arc<Broker>,
    image: Arc<Image>,
    /// The broker lives by the image.
    has_begun: bool,
    /// What `meta.properties` says; `None` on a new volume.
    cluster_id: Option<String>,
}

/// Why a snapshot is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplaceError {
    /// The metadata is not of the cluster that the volume belongs to.
    #[error(
        "the volume belongs to cluster {volume}, and the quorum is cluster {quorum}: \
         mount a volume of cluster {quorum}, or an empty one"
    )]
    OtherCluster { volume: String, quorum: String },
    /// Topics that it does not know yet would be deleted.
    #[error("the snapshot is of offset {offset}, before {reached}, which was reached here")]
    Older { offset: i64, reached: i64 },
}

impl ImageApplier {
    /// Begins with the empty image.
    pub(crate) fn new(broker: Arc<Broker>, cluster_id: Option<String>) -> Self {
        Self {
            image: broker.image(),
            broker,
            cluster_id,
            has_begun: false,
        }
    }

    /// Of the image that was reached.
    pub(crate) fn offset(&self) -> i64 {
        self.image.offset()
    }

    /// Takes a snapshot.
    pub(crate) async fn replace(&mut self, image: Arc<Image>) -> Result<(), ReplaceError> {
        check(self.cluster_id.as_deref(), self.image.offset(), &image)?;
        let changes = Changes::between(&self.image, &image);
        self.take(image, changes).await;
        Ok(())
    }

    /// Takes one committed batch.
    pub(crate) async fn apply(&mut self, batch: &Batch) -> Result<(), ApplyError> {
        let image = Arc::new(self.image.apply(batch)?);
        let changes = Changes::of_batch(&self.image, batch);
        self.take(image, changes).await;
        Ok(())
    }

    /// Changes when the broker is registered: [`begin`](Self::begin) then.
    pub(crate) fn registered(&self) -> watch::Receiver<i64> {
        self.broker.registered_offset.subscribe()
    }

    /// To be called when the broker was registered.
    pub(crate) async fn begin(&mut self) {
        let registered = *self.broker.registered_offset.borrow();
        if self.has_begun || !may_begin(registered, self.image.offset()) {
            return;
        }
        self.has_begun = true;
        let changes = Changes::between(&Image::default(), &self.image);
        self.advance(changes, true).await;
    }

    async fn take(&mut self, image: Arc<Image>, changes: Changes) {
        self.image = image;
        if self.has_begun {
            self.advance(changes, false).await;
        } else {
            self.begin().await;
        }
    }

    async fn advance(&self, changes: Changes, is_first: bool) {
        let (broker, image) = (Arc::clone(&self.broker), Arc::clone(&self.image));
        // Opening and deleting logs is file work.
        // A panic half-way through would leave partitions and image apart: it ends this task.
        blocking(move || {
            if is_first {
                broker.partitions.set_strays_aside(&image, broker.node_id);
            }
            broker.partitions.apply(&broker, &image, &changes);
            broker.coordinators.apply(&broker, &image, &changes);
            broker.transactions.apply(&broker, &image);
            broker.image.store(Arc::clone(&image));
            if !changes.configs_changed.is_empty() {
                broker.fetchers.spread(&broker);
            }
            broker.metrics.metadata_offset.set(image.offset());
            broker.applied_offset.send_replace(image.offset());
        })
        .await;
    }
}

/// `registered` is -1 before the registration.
fn may_begin(registered: i64, offset: i64) -> bool {
    registered >= 0 && offset >= registered
}

fn check(volume: Option<&str>, reached: i64, image: &Image) -> Result<(), ReplaceError> {
    let quorum = image.cluster_id();
    match volume {
        // Nothing of this volume may be touched by another cluster's metadata.
        Some(volume) if !quorum.is_empty() && volume != quorum => {
            return Err(ReplaceError::OtherCluster {
                volume: volume.to_owned(),
                quorum: quorum.to_owned(),
            });
        }
        _ => {}
    }
    let offset = image.offset();
    if offset < reached {
        return Err(ReplaceError::Older { offset, reached });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_from_before_the_registration_counts_for_nothing() {
        assert!(!may_begin(-1, 100), "not registered yet");
        assert!(!may_begin(7, 6));
        assert!(may_begin(7, 7));
    }

    #[test]
    fn the_metadata_never_goes_back() {
        let image = Image::default();
        let reached = image.offset();
        assert!(check(None, reached, &image).is_ok());
        let refused = check(None, reached + 1, &image).unwrap_err();
        assert!(
            matches!(refused, ReplaceError::Older { offset, .. } if offset == reached),
            "{refused}"
        );
    }
}
