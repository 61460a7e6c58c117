//! Kafka's consumer groups, classic and of KIP-848, and committed offsets, as a pure core.
//!
//! One [`Coordinator`] stands for one partition of `__consumer_offsets`. It takes requests,
//! timers and the outcome of appends, and returns [`Effect`]s: replies to send and record
//! batches to append. It reads no clock, draws no random number and touches no log.
//!
//! Invariants:
//! - Every waiter gets exactly one reply, at once or after an append or a rebalance, also when the
//!   coordinator resigns.
//! - What a reply acknowledges was appended before: an offset is visible to a fetch, a group is
//!   Stable and a deletion is answered only after the append was confirmed. Appends are applied in
//!   the order they were handed out, whatever the order of their confirmations; one that fails is undone at once.
//! - A failed append leaves offsets and classic groups as they were, and whoever waited for it gets an error. What
//!   changes a consumer group is in force before it is committed, and told only then; it is undone when its append
//!   fails at once. When that fails later, the coordinator says [`Effect::Reload`].
//! - Nobody waits for an append for longer than `offsets.commit.timeout.ms`. What is committed later is in
//!   force then, although its client was told that it is not known.
//! - Offsets of a transaction are in force once its marker is committed, all of them of this partition at once, or
//!   never; the marker is acknowledged only then. Who asks for stable offsets is told none that may change by it.
//! - What was in the log above the high watermark when the coordinator was loaded is neither told nor passed
//!   over until it is committed: its groups are loading, all others are served.
//! - The generation of a group only grows, and each member has one assignment in a generation.
//! - Records have Kafka's bytes, so `kafka-dump-log --offsets-decoder` reads them, and replaying
//!   them in a [`Loader`] gives the acknowledged state back.
//!
//! Unlike Kafka, a group that never completed a rebalance and never committed writes no record:
//! nothing about it needs to survive a restart.
//!
//! Start reading at `coordinator.rs`, then `group.rs` (what a group is) and
//! `coordinator/rebalance.rs` (how it moves). `routing.rs` cuts a request that names several
//! groups into one per partition. `consumer.rs` is the core of KIP-848's groups, `assignor.rs` decides who
//! reads what in them, and `coordinator/consumer_groups.rs` has what the coordinator does with them. A group with
//! members goes from one protocol to the other in `coordinator/migration.rs`; an empty one takes that of the next
//! member. `pending.rs` has offsets that are committed in transactions (KIP-447), until a marker ends those.
//! `lag.rs` says how far behind groups are, for metrics.

mod append;
mod assignor;
mod config;
mod consumer;
mod coordinator;
mod counts;
mod effect;
mod group;
mod lag;
mod member;
mod now;
mod offsets;
mod partition;
mod pending;
#[cfg(test)]
mod processor_time;
mod record;
mod request;
mod response;
mod routing;
mod subscription;
mod timers;
mod transaction;

pub use append::AppendError;
pub use assignor::{Assignor, AssignorGroup, AssignorMember, Partitions};
pub use config::GroupConfig;
pub use consumer::{
    ClassicMember, CommitApi, CommitRule, ConsumerGroup, ConsumerGroupConfig, ConsumerGroupState,
    ConsumerMember, ConsumerRecord, ConsumerTimer, CurrentAssignment, EpochPartitions, GroupChange,
    GroupEpoch, HeartbeatOutcome, MemberMetadata, MemberState, MigrationPolicy, REGEX_BYTES_MAX,
    Refused, Resolution, ResolvedRegex, TargetEpoch, TimerChange, TooLarge, Topic, Topics, Undo,
};
pub use coordinator::{Coordinator, Loader};
pub use counts::GroupCounts;
pub use effect::{AppendToken, Effect, Record, WaiterId};
pub use group::GroupState;
pub use lag::{
    CommittedOffset, CommittedOffsets, END_AGE_MAX_MS, GroupOffsets, LABEL_BYTES_MAX, LeftOut,
    PartitionEnd, PartitionLag,
};
pub use now::Now;
pub use partition::partition_for;
pub use request::{Request, RequestContext};
pub use response::Response;
pub use routing::{Route, merge, split};
pub use transaction::{CompleteTransaction, TransactionalProducer};
