//! Bugs put in on purpose, to see that the checks find them.

/// One bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A produce with acks=all is answered when the leader has it.
    AcknowledgedBeforeReplicated,
    /// A leader counts one record too many as committed.
    HighWatermarkOffByOne,
    /// A leader takes a follower out of the ISR without asking the controller.
    IsrShrunkWithoutController,
    /// A follower files what it fetches under the leader epoch in which it fetches, not under that of the records.
    EpochOfRecordsNotKept,
    /// A new follower cuts its log to its high watermark, as before KIP-101.
    TruncatedToHighWatermark,
    /// A leader never says that a follower's log is another one.
    DivergenceNotChecked,
    /// A vote is answered before it is on the disk.
    VoteNotFlushed,
    /// Raft entries are acknowledged before they are on the disk.
    EntriesNotFlushed,
    /// A broker says of any disk that nothing of it is lost: ISR and ELR keep those that lost data.
    LostDiskCounts,
    /// A broker takes up what an older image says that it leads, before its registration counts.
    LeadsBeforeRegistration,
    /// A leader names no broker epochs, so an incarnation that is gone joins the ISR (KIP-903).
    BrokerEpochNotChecked,
    /// A leader waits for fewer replicas than the controller believes.
    MinInsyncNotKept,
    /// Where records are to be flushed before they are acknowledged, they are not.
    AcknowledgedBeforeFlushed,
    /// Whatever replica lives is elected.
    UncleanElection,
    /// What producers sent before is forgotten when a log changes hands.
    ProducerStateLost,
    /// A follower believes the leader's high watermark beyond its own log.
    FollowerHighWatermarkUnbounded,
}

impl Mutation {
    /// Every one.
    pub const ALL: [Self; 16] = [
        Self::AcknowledgedBeforeReplicated,
        Self::HighWatermarkOffByOne,
        Self::IsrShrunkWithoutController,
        Self::EpochOfRecordsNotKept,
        Self::TruncatedToHighWatermark,
        Self::DivergenceNotChecked,
        Self::VoteNotFlushed,
        Self::EntriesNotFlushed,
        Self::LostDiskCounts,
        Self::LeadsBeforeRegistration,
        Self::BrokerEpochNotChecked,
        Self::MinInsyncNotKept,
        Self::AcknowledgedBeforeFlushed,
        Self::UncleanElection,
        Self::ProducerStateLost,
        Self::FollowerHighWatermarkUnbounded,
    ];

    /// As the command line names it.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    /// Reads what [`Self::name`] writes.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}
