use std::sync::Arc;

/// What a deadline of a member is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsumerTimer {
    /// Its session ends: [`super::ConsumerGroup::end_session`].
    Session,
    /// It has not revoked what it was asked to: [`super::ConsumerGroup::end_revocation`].
    Revocation,
    /// One of the classic protocol was told to rejoin and has not: [`super::ConsumerGroup::end_classic_wait`].
    Join,
    /// One of the classic protocol has joined and does not ask what it got: the same.
    Sync,
}

impl ConsumerTimer {
    /// All of a member.
    pub(crate) const ALL: [Self; 4] = [Self::Session, Self::Revocation, Self::Join, Self::Sync];
}

/// Sets a deadline of a member, in place of the one there was, or clears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerChange {
    /// Whose.
    pub member_id: Arc<str>,
    /// Which of the two.
    pub timer: ConsumerTimer,
    /// From now; `None` clears it.
    pub after_ms: Option<i32>,
}
