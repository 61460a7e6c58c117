//! Where replicas should be, and the moves that bring them there.
//!
//! [`plan`] is a function from a [`Cluster`] (brokers, partitions, what they weigh) and a [`Goal`] to a
//! [`Plan`]: a list of [`Move`]s, each the new replicas of one partition, or to a [`Refusal`] that says what
//! cannot be. [`next_batch`] says which moves to begin now, [`move_state`] how far one is by what the metadata
//! says, [`Estimate`] how long the rest takes.
//!
//! What holds for every plan:
//! * A partition keeps its number of replicas, and none is on a broker twice. No new replica goes to a broker
//!   that is cordoned, drained or not alive, or whose disk it would fill beyond the limit.
//! * No partition is spread over its racks less evenly than before, unless draining leaves no other way, and then
//!   as little as possible. A move adds before it takes away, so this holds at every step of every order.
//! * The same input, in whatever order, gives the same plan, and planning again after the moves gives none.
//! * As few replicas are copied as the goal allows; a new order of the same replicas copies nothing.
//!
//! No minimum of replicas in sync is needed for planning: a reassignment ends only when every replica that stays
//! is in sync. [`move_state`] holds a move back while its partition has fewer in sync than it should.
//!
//! The crate knows nothing of the rest of Foz and does no I/O. Sums are kept in `i128`, so that no count of bytes
//! can overflow; all decisions are on integers or on floats computed in the same order each time.
//!
//! Start with [`cluster`], then `full.rs`; what "even" means is in `quota.rs`, the rule of racks in
//! `assignment.rs`, and when it is time to begin in `uneven.rs`.

pub mod batch;
pub mod cluster;
pub mod estimate;
pub mod goal;
pub mod move_state;
pub mod plan;
pub mod refusal;
pub mod spread;

mod added;
mod assignment;
mod counts;
mod detours;
mod drain;
mod exchange;
mod full;
mod leaders;
mod order;
mod quota;
mod racks;
mod settle;
mod uneven;

pub use batch::{Batch, Limits, next_batch};
pub use cluster::{Broker, Cluster, InvalidCluster, Partition};
pub use estimate::Estimate;
pub use goal::{Goal, Thresholds};
pub use move_state::{MoveState, Observed, move_state};
pub use plan::{Move, Plan, plan};
pub use refusal::{CannotDrain, CannotDrainReason, Refusal};
pub use spread::{Spread, SpreadOf};
pub use uneven::{Uneven, UnevenOf};
