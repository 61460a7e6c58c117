//! The pipeline of a Topic: dereference → validate → plan → apply → status.

pub mod dereference;
mod execute;
pub mod index;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod reconcile;
pub mod replication_factor;
pub mod status;
pub mod topic_id;
pub mod validate;

/// The finalizer of Topics.
pub const FINALIZER: &str = "foz.dev/topic";
