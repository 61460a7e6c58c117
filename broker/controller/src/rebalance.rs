//! What a rebalance does next, worked out from the metadata and from what brokers tell of their load.
//!
//! No plan is kept in the metadata: it says what a rebalance is for, and which reassignments under way are its own
//! ([`Partition::rebalance_id`](foz_metadata::image::Partition::rebalance_id)). The active controller plans anew when
//! it has to, so another one that takes over, a topic that is deleted and a broker that dies need nothing special.
//!
//! Pure: `active/rebalance.rs` gives the image, the loads and the time, off the task that runs rules, and hands the
//! step to a rule, which checks everything again on the image of that moment.
//!
//! Start with `stepper.rs`.

mod begun;
mod conversion;
mod current_plan;
mod limits;
mod loads;
mod pace;
mod planning;
mod preview;
mod stepper;
mod under_way;
mod waiting;

pub use limits::RebalanceLimits;
pub(crate) use loads::{CopiedPartition, Disk, LoadedPartition, Loads, Report};
pub(crate) use planning::{Planned, plan};
pub(crate) use preview::preview;
pub(crate) use stepper::{Step, Stepper};
