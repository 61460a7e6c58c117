//! One file for each anomaly or small family of them. Those that need the order of events follow the history
//! as it comes; the others look at the tables when it has ended.

pub(crate) mod committed_offsets;
pub(crate) mod cycles;
pub(crate) mod end_offsets;
pub(crate) mod exactly_once;
pub(crate) mod leader_epochs;
pub(crate) mod lost_writes;
pub(crate) mod poll_order;
pub(crate) mod reordered;
pub(crate) mod replicas;
pub(crate) mod transactions;
