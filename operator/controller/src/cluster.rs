//! The pipeline of a Cluster: dereference → validate → plan → apply → status. Its pods are restarted by a [`roll`].

pub mod build;
pub mod defaults;
pub mod denials;
pub mod dereference;
mod execute;
mod feature_levels;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod further_volumes;
pub mod missing_pods;
mod moving;
pub mod observed;
pub mod owned;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod reconcile;
pub mod roll;
mod rolling;
pub mod scaling;
pub mod status;
#[cfg(test)]
mod status_tests;
pub mod storage_classes;
pub mod suspend;
mod unreachable_volumes;
pub mod validate;
pub mod volumes;
mod voters;
