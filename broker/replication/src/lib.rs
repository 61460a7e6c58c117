//! How a partition is copied: the decisions of its leader and of its followers. Kafka's model: followers
//! pull, the in-sync replicas (ISR) decide what is committed, leader epochs decide who truncates.
//!
//! * [`Leader`] knows where its followers are. It moves the high watermark and proposes changes of the ISR
//!   to the controller.
//! * [`next_step`] is what a follower does with an answer: append, truncate, begin anew, wait.
//! * [`SessionCache`] and [`SessionClient`] are the two sides of incremental fetch sessions (KIP-227).
//! * [`CatchUpPace`] is how fast a follower gets what it missed while clients use the same leader.
//! * [`delete_before`] and [`Leader::low_watermark`] are DeleteRecords.
//! * [`acks`] is what a produce waits for.
//!
//! What holds at all times:
//! - The high watermark never goes back within a leader epoch, is at most the leader's durable offset, and
//!   moves only while the committed ISR has min.insync.replicas members.
//! - It is covered by every replica that the controller could elect. A replica that is being added counts
//!   from the proposal on; one that is being removed counts until the removal is known to be committed; a
//!   proposal whose outcome is unknown is taken to have been applied and not to have been applied.
//! - What a follower told an earlier leader epoch counts for nothing in this one.
//! - A follower cuts its log only where the current leader's epochs differ from its own.
//!
//! The crate does no I/O and knows no clock; every `now_ms` must be monotonic, since ISR membership hangs
//! on it. Random numbers are passed in. Same calls, same effects.
//!
//! Start reading at `leader.rs`, then `follower.rs`.

pub mod acks;
mod assignment;
mod catch_up;
mod delete_records;
mod follower;
mod leader;
mod proposal;
mod session;

pub use assignment::{Assignment, Cluster, LocalLog, Settings};
pub use catch_up::{CatchUpAnswer, CatchUpPace, ClientBytes};
pub use delete_records::{DELETE_ALL, delete_before};
pub use follower::{
    FailReason, FetchedPartition, FollowerLog, Progress, Step, next_step, progress_after_append,
};
pub use foz_protocol::fetch::EpochEndOffset;
pub use leader::{Effects, FetchRefused, FollowerFetch, FollowerView, Leader, ReplicaSelector};
pub use proposal::{IsrProposal, ProposalOutcome};
pub use session::{
    Begun, FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, SessionCache, SessionClient, SessionKind,
    SessionLimits, SessionProblem, SessionRequest, TopicIdPartition, next_epoch,
};
