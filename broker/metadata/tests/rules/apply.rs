//! What an image says to batches that are not its next one.

use foz_metadata::image::ApplyError;
use foz_metadata::record::{Batch, Record};

use crate::support::cluster;

#[test]
fn batches_that_do_not_follow_or_are_not_known_are_told_apart() {
    let image = cluster(1);
    let batch = |follows, term, records| Batch {
        follows,
        term,
        records,
    };
    for (follows, term) in [
        (image.offset() - 1, 1),
        (image.offset() + 1, 1),
        (image.offset(), 0),
    ] {
        let refused = image.apply(&batch(follows, term, vec![]));
        assert!(
            matches!(refused, Err(ApplyError::DoesNotFollow { .. })),
            "{follows} {term}"
        );
    }
    let unknown = image.apply(&batch(image.offset(), 1, vec![Record { record: None }]));
    assert!(matches!(
        unknown,
        Err(ApplyError::Unusable { position: 0, .. })
    ));
}
