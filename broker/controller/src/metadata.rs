//! The committed metadata, as every controller has it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use foz_metadata::Image;
use foz_metadata::image::ApplyError;
use foz_metadata::record::Batch;
use foz_quorum::{RestoreError, StateMachine};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::history::{CommittedBatch, History};

/// What was committed and applied here. Cheap to share behind its `Arc`.
#[derive(Debug)]
pub struct Metadata {
    image: ArcSwap<Image>,
    history: Mutex<History>,
    offset: watch::Sender<i64>,
}

impl Metadata {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            image: ArcSwap::default(),
            history: Mutex::default(),
            offset: watch::Sender::new(0),
        })
    }

    /// The newest committed image.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// The offset of the newest committed image; it changes after the image did.
    #[must_use]
    pub fn offset(&self) -> watch::Receiver<i64> {
        self.offset.subscribe()
    }

    /// At most `count` batches after `offset`; `None` when the first of them is not kept any more.
    pub(crate) fn batches_after(&self, offset: i64, count: usize) -> Option<Vec<CommittedBatch>> {
        let history = self.history.lock();
        // Under the history's lock, so that both are of the same moment.
        history.after(offset, self.image.load().offset(), count)
    }

    fn publish(&self, image: Image, batch: Option<CommittedBatch>) {
        let offset = image.offset();
        {
            let mut history = self.history.lock();
            match batch {
                Some(batch) => history.push(batch),
                None => history.clear(),
            }
            self.image.store(Arc::new(image));
        }
        self.offset.send_replace(offset);
    }
}

/// The quorum's end of [`Metadata`].
#[derive(Debug)]
pub(crate) struct MetadataState(pub(crate) Arc<Metadata>);

impl StateMachine for MetadataState {
    fn apply(&mut self, index: u64, term: u64, data: &[u8]) -> bool {
        let batch = match Batch::decode_from(data) {
            Ok(batch) => batch,
            Err(error) => panic!("the batch at Raft index {index} cannot be used: {error}"),
        };
        if u64::try_from(batch.term) != Ok(term) {
            tracing::warn!(
                index,
                term,
                batch.term,
                "a batch names another term than its entry"
            );
            return false;
        }
        match self.0.image().apply(&batch) {
            Ok(image) => {
                let records = Bytes::copy_from_slice(data);
                let batch = CommittedBatch {
                    offset: image.offset(),
                    records,
                };
                self.0.publish(image, Some(batch));
                true
            }
            Err(error @ ApplyError::DoesNotFollow { .. }) => {
                tracing::info!(index, term, %error, "a batch was rejected");
                false
            }
            // To go on without it would be another truth than the other controllers have.
            Err(error @ ApplyError::Unusable { .. }) => {
                panic!("the batch at Raft index {index} cannot be used: {error}")
            }
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.image().encode()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.0.publish(Image::decode(snapshot)?, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use foz_metadata::record::{ClusterRecord, Fact};

    use super::*;

    fn batch(follows: i64, term: i64) -> Vec<u8> {
        let fact = Fact::Cluster(ClusterRecord {
            cluster_id: format!("c{follows}"),
        });
        Batch {
            follows,
            term,
            records: vec![fact.into()],
        }
        .encode_to_bytes()
        .to_vec()
    }

    #[test]
    fn batches_that_follow_are_applied_and_kept_and_others_change_nothing() {
        let metadata = Metadata::new();
        let mut state = MetadataState(metadata.clone());
        assert!(state.apply(1, 1, &batch(0, 1)));
        assert!(state.apply(2, 2, &batch(1, 2)));
        for (term, follows) in [(2, 1), (2, 3), (1, 2)] {
            assert!(!state.apply(3, term, &batch(follows, i64::try_from(term).unwrap())));
        }
        assert!(
            !state.apply(3, 3, &batch(2, 2)),
            "the entry's term is another one"
        );
        assert_eq!(
            (metadata.image().cluster_id(), *metadata.offset().borrow()),
            ("c1", 2)
        );
        assert_eq!(metadata.batches_after(0, 9).unwrap().len(), 2);
    }

    #[test]
    fn a_restored_snapshot_replaces_everything() {
        let mut source = MetadataState(Metadata::new());
        assert!(source.apply(1, 1, &batch(0, 1)));
        let metadata = Metadata::new();
        let mut state = MetadataState(metadata.clone());
        state.restore(&source.snapshot()).unwrap();
        assert_eq!(*metadata.image(), *source.0.image());
        assert_eq!(metadata.batches_after(0, 9), None);
        assert_eq!(metadata.batches_after(1, 9), Some(vec![]));
        assert!(state.restore(b"garbage").is_err());
    }
}
