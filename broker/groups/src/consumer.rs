//! Kafka's consumer groups of KIP-848, as a pure core: the broker decides who reads what, and members converge
//! to it one by one.
//!
//! A [`ConsumerGroup`] changes by [`ConsumerRecord`]s only. Each call reads the group, applies the records that
//! it returns, and is to have them appended as one batch; its response goes out once they are committed, and so
//! does one without records once those of the calls before it are. An append that fails at once is undone
//! ([`ConsumerGroup::undo`]) before anything is built on it; when it fails later, leadership is lost.
//!
//! Invariants:
//! - A partition has one owner. It is taken by the member that it is assigned to, and let go of only when that
//!   member says that it has revoked it, leaves, or is fenced. Its next owner is told of it after that.
//! - The group's epoch only grows. The target assignment is of the newest epoch or of an earlier one; a member's
//!   epoch is that of the target it has last moved to.
//! - Who sends an epoch that is not its own learns so and changes nothing, but for the one before it: the answer
//!   with the new one may have been lost.
//! - Replaying the records gives the same group.
//!
//! A request that says what its member has frees all else, so one that comes late, after the member has given it
//! up and sent another over a new connection, would free what the member reads by now. Unlike Kafka, which takes
//! it, a group refuses what comes over an older connection than the newest that spoke for the member. Connections
//! are in no record: a coordinator that takes over on another broker need not know them, since what was sent to
//! the one before does not come to it; one that is loaded again on the same broker hears late requests as Kafka
//! does, until the member has spoken once.
//!
//! That a partition is not read twice rests on what members say that they have: whatever they may read, also what
//! they are only about to. Java's consumer says what its callbacks have been through, and sends all of it when it
//! connects anew; what it is told and takes up at that very moment is freed too early, as with Kafka's coordinator.
//!
//! Start reading at `heartbeat.rs`, then `step.rs` and `reconcile.rs`. `classic.rs` and `migrate.rs` are about members that
//! speak the classic protocol, while a group changes from one to the other.

pub(crate) mod classic;
mod commit;
mod config;
mod connection;
mod describe;
mod group;
mod heartbeat;
mod leave;
mod member;
pub(crate) mod migrate;
mod reconcile;
mod record;
mod refused;
mod regex;
mod sender;
mod step;
mod target;
mod timer;
mod too_large;
mod topics;
mod turn;
mod undo;
mod validate;

#[cfg(test)]
mod tests;

pub use classic::ClassicMember;
pub use commit::{CommitApi, CommitRule};
pub use config::{ConsumerGroupConfig, MigrationPolicy};
pub use group::{ConsumerGroup, ConsumerGroupState};
pub use heartbeat::HeartbeatOutcome;
pub use member::{ConsumerMember, CurrentAssignment, EpochPartitions, MemberMetadata, MemberState};
pub use record::{ConsumerRecord, GroupEpoch, TargetEpoch};
pub use refused::Refused;
pub use regex::{Resolution, ResolvedRegex};
pub use timer::{ConsumerTimer, TimerChange};
pub use too_large::TooLarge;
pub use topics::{Topic, Topics};
pub use turn::GroupChange;
pub use undo::Undo;
pub use validate::REGEX_BYTES_MAX;
pub(crate) use validate::validate;

/// Joins, or comes back after it was fenced.
const JOIN_EPOCH: i32 = 0;
/// Leaves.
const LEAVE_EPOCH: i32 = -1;
/// A static member leaves for a while: its partitions wait for it until its session ends.
const LEAVE_FOR_A_WHILE_EPOCH: i32 = -2;
