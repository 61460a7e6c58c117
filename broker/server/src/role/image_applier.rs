//! Brings the broker in line with each new image: partitions are there before clients hear of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use foz_metadata::image::ApplyError;
use foz_metadata::record::Batch;
use foz_metadata::{Changes, Image};

use crate::broker::Broker;

/// The only one who changes the broker's image.
pub(crate) struct ImageApplier {
    broker: Arc<Broker>,
    image: Arc<Image>,
    /// What `meta.properties` says; `None` on a new volume.
    cluster_id: Option<String>,
    /// Logs of topics that were deleted while the broker was away have been looked for.
    strays_set_aside: bool,
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
            strays_set_aside: false,
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
        self.advance(image, changes).await;
        Ok(())
    }

    /// Takes one committed batch.
    pub(crate) async fn apply(&mut self, batch: &Batch) -> Result<(), ApplyError> {
        let image = Arc::new(self.image.apply(batch)?);
        let changes = Changes::of_batch(&self.image, batch);
        self.advance(image, changes).await;
        Ok(())
    }

    async fn advance(&mut self, image: Arc<Image>, changes: Changes) {
        self.image = Arc::clone(&image);
        let broker = Arc::clone(&self.broker);
        // An older image must not delete what it does not know yet. There is always a batch after the
        // registration: the one that lets this broker in.
        let registered = broker.registered_offset.load(Ordering::Acquire);
        let set_strays_aside =
            may_set_strays_aside(self.strays_set_aside, registered, image.offset());
        self.strays_set_aside |= set_strays_aside;
        // Opening and deleting logs is file work.
        let applied = tokio::task::spawn_blocking(move || {
            if set_strays_aside {
                broker.partitions.set_strays_aside(&image);
            }
            broker.partitions.apply(&broker, &image, &changes);
            broker.coordinators.apply(&broker, &image, &changes);
            broker.image.store(Arc::clone(&image));
            broker.metrics.metadata_offset.set(image.offset());
            broker.applied_offset.send_replace(image.offset());
        });
        if let Err(failure) = applied.await {
            // A panic half-way through would leave partitions and image apart.
            std::panic::resume_unwind(failure.into_panic());
        }
    }
}

/// `registered` is -1 before the registration.
fn may_set_strays_aside(already: bool, registered: i64, offset: i64) -> bool {
    !already && registered >= 0 && offset >= registered
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
    fn an_image_from_before_the_registration_deletes_nothing() {
        assert!(!may_set_strays_aside(false, -1, 100), "not registered yet");
        assert!(!may_set_strays_aside(false, 7, 6));
        assert!(may_set_strays_aside(false, 7, 7));
        assert!(!may_set_strays_aside(true, 7, 8), "once is enough");
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
