use std::sync::Arc;

/// What fits in no batch of `__consumer_offsets`, so that the group goes on without it. For the broker's log:
/// nobody's request asks for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// Members keep the target they have; the next one is tried after a while.
    #[error(
        "the target assignment of epoch {epoch} takes {bytes} bytes, max.message.bytes of __consumer_offsets is \
         {bytes_max}: members keep that of epoch {kept_epoch}"
    )]
    Target {
        /// That of the group.
        epoch: i32,
        /// Of the target that stays.
        kept_epoch: i32,
        /// Of the batch.
        bytes: usize,
        /// A batch may have so many.
        bytes_max: usize,
    },
    /// The member stays where it is.
    #[error(
        "the next step of member {member_id} takes {bytes} bytes, max.message.bytes of __consumer_offsets is \
         {bytes_max}: it keeps what it has"
    )]
    Step {
        /// Whose.
        member_id: Arc<str>,
        /// Of the batch.
        bytes: usize,
        /// A batch may have so many.
        bytes_max: usize,
    },
    /// It matches what it has matched before, if anything.
    #[error(
        "what {regex} matches takes {bytes} bytes, max.message.bytes of __consumer_offsets is {bytes_max}: its \
         members keep what it has matched before"
    )]
    Regex {
        /// The regular expression.
        regex: Arc<str>,
        /// Of the batch.
        bytes: usize,
        /// A batch may have so many.
        bytes_max: usize,
    },
}
