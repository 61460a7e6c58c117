//! The pipeline of a Rebalance: dereference → validate → plan → apply → status.
//!
//! What holds for it:
//! - Replicas are moved by the active controller; a Rebalance asks for it, and follows it by the number that the quorum
//!   gave it.
//! - One Rebalance of a Cluster at a time: the one that runs, else the oldest that is approved. The Cluster's own
//!   scaling comes first.
//! - With mode DrainBrokers it asks the quorum for a plan only. That the brokers are cordoned and drained is the
//!   Cluster's pass to do ([`crate::cluster::scaling`]), as those that scaling empties are: so there is one drain, and
//!   nobody takes it from another. It lasts as long as the object is there.
//! - Deleting one that runs cancels it. The finalizer that sees to it lets go when the Cluster is gone.
//!
//! Start with [`plan`].

pub mod claim;
pub mod dereference;
mod execute;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod planned;
pub mod reconcile;
pub mod status;
pub mod validate;

/// The finalizer of Rebalances.
pub const FINALIZER: &str = "foz.dev/rebalance";
