//! What can be wrong with a log, and one finding of it.

use std::fmt;

use serde::Serialize;

use crate::tables::Tables;

/// Kinds of anomalies; the names are those of Jepsen's Kafka checker where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Acknowledged or read before, the log was read past its offset, and it is not there.
    LostWrite,
    /// Acknowledged, and the final read ends before its offset.
    Unseen,
    /// One value at two offsets although its producer is idempotent.
    Duplicate,
    /// Acknowledged at one offset, found only at another.
    Misplaced,
    /// Two values at one offset.
    InconsistentOffsets,
    /// A value that was never sent there.
    Phantom,
    /// A record whose bytes are not those that were sent.
    PayloadMismatch,
    /// G1a: a definitely failed or aborted value was read.
    AbortedRead,
    /// A value was read before its transaction began to commit.
    PrecommittedRead,
    /// Of one transaction some values are visible and some are not.
    TornTransaction,
    /// G1c: committed transactions that read each other's writes in a circle.
    CircularFlow,
    /// G0: transactions whose writes lie around each other. Kafka allows it; judged only when asked.
    WriteCycle,
    /// Consume-transform-produce: a value has no output, or more than one.
    ExactlyOnce,
    /// A consumer went past records that are there.
    PollSkip,
    /// The same inside one poll.
    IntPollSkip,
    /// A consumer went back without a seek or a rebalance.
    NonmonotonicPoll,
    /// The same inside one poll.
    IntNonmonotonicPoll,
    /// An idempotent producer's values are not in the order in which it sent them.
    Reordered,
    /// A group read an older committed offset than one whose commit had succeeded.
    CommittedOffsetRegression,
    /// One client saw the end of a partition go back.
    EndOffsetRegression,
    /// The end of a partition is before what somebody had seen or got acknowledged.
    LatestBackwards,
    /// Leader epochs go down as offsets go up, or one record has two.
    LeaderEpochRegression,
    /// Two replicas of a partition differ.
    ReplicaDivergence,
    /// An offset that is negative or far from all others.
    WildOffset,
    /// The history breaks the rules of its own format.
    MalformedHistory,
}

impl Kind {
    /// What is missing may still come; what was skipped may turn out to have been deleted or aborted.
    pub(crate) fn waits_for_the_end(self) -> bool {
        matches!(
            self,
            Kind::LostWrite
                | Kind::Unseen
                | Kind::Phantom
                | Kind::TornTransaction
                | Kind::ExactlyOnce
                | Kind::PollSkip
                | Kind::IntPollSkip
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let debug = format!("{self:?}");
        for (at, letter) in debug.char_indices() {
            if letter.is_uppercase() && at > 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

/// One finding, with a sentence for people and the numbers of the events that prove it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    pub kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    pub says: String,
    /// Numbers of events, from 1: the lines of a single file.
    pub events: Vec<u32>,
}

impl Anomaly {
    pub(crate) fn new(kind: Kind, says: String) -> Self {
        Anomaly {
            kind,
            topic: None,
            partition: None,
            offset: None,
            value: None,
            says,
            events: Vec::new(),
        }
    }

    pub(crate) fn partition(mut self, tables: &Tables, partition: u32) -> Self {
        let partition = &tables.partitions[partition as usize];
        self.topic = Some(tables.topics[partition.topic as usize].name.clone());
        self.partition = Some(partition.number);
        self
    }

    pub(crate) fn offset(mut self, offset: i64) -> Self {
        self.offset = Some(offset);
        self
    }

    pub(crate) fn value(mut self, value: u64) -> Self {
        self.value = Some(value);
        self
    }

    /// 0 stands for "no event".
    pub(crate) fn events<const N: usize>(mut self, events: [u32; N]) -> Self {
        self.events
            .extend(events.into_iter().filter(|event| *event != 0));
        self.events.sort_unstable();
        self.events.dedup();
        self
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(topic) = &self.topic {
            write!(f, " {topic}")?;
            if let Some(partition) = self.partition {
                write!(f, "-{partition}")?;
            }
        }
        if let Some(offset) = self.offset {
            write!(f, " offset {offset}")?;
        }
        if let Some(value) = self.value {
            write!(f, " value {value}")?;
        }
        write!(f, ": {} (events {:?})", self.says, self.events)
    }
}
