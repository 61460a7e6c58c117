//! Deleted topics whose time is over are purged.

use std::sync::Arc;

use super::Decided;
use super::draft::Draft;
use super::purge_deleted_topics::purge;
use crate::image::{DeletedTopic, Image};

/// How many one call purges: brokers remove the files of each.
pub const DELETED_TOPICS_EXPIRED_PER_CALL_MAX: usize = 1000;

/// A controller purges nothing of a longer grace before it has been active for so long.
pub const EXPIRE_ACTIVE_MS_MIN: i64 = 600_000;

/// Purges what nobody brought back in time; the answer is how many. A clock that was set back holds them longer; one that
/// is ahead, on the controller that has become active, would take all of them at once: so it has been active for
/// `active_ms`, by a clock that nobody sets, for as long as the grace was, or [`EXPIRE_ACTIVE_MS_MIN`].
///
/// The order of the records allows them to be split over several batches.
pub fn expire_deleted_topics(image: &Image, now_ms: i64, active_ms: i64) -> Decided<usize> {
    let mut draft = Draft::new(image);
    let is_over = over_deleted_topics(image, now_ms).filter(|it| {
        let grace_ms = it.grace_ends_at_ms.saturating_sub(it.deleted_at_ms);
        active_ms >= grace_ms.min(EXPIRE_ACTIVE_MS_MIN)
    });
    let mut purged = 0;
    for deleted in is_over.take(DELETED_TOPICS_EXPIRED_PER_CALL_MAX) {
        purge(&mut draft, deleted.topic.id);
        purged += 1;
    }
    Ok(draft.decide(purged))
}

/// Whose grace is over by this clock.
pub fn over_deleted_topics(image: &Image, now_ms: i64) -> impl Iterator<Item = &Arc<DeletedTopic>> {
    let topics = image.deleted_topics();
    topics.filter(move |it| it.grace_ends_at_ms <= now_ms)
}
