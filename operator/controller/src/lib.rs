//! The operator: makes Clusters and Topics what their objects say, keeps them so, and carries Rebalances out.
//!
//! Each kind has one pipeline, and every step but the first and the last two is a plain function:
//! *dereference* (all reads, from memory) → *validate* (into a type that cannot be wrong) → *plan* (a
//! list of actions, each with a reason) → *apply* → *status*.
//!
//! What holds:
//! - A pass over a world that is as it should be writes nothing: objects are compared before they are
//!   applied ([`apply::compare`]), statuses before they are written.
//! - A pass never waits for anything to happen. What is under way is in the status, and a watch brings
//!   the object back: of Kubernetes ([`world`]), or of the metadata quorum ([`quorum`]).
//! - No pod that serves is stopped without the metadata quorum's grant, unless a person insists
//!   ([`cluster::roll`]).
//! - Nothing here deletes a volume. A topic is deleted only by the id that its object answers for.
//! - Only the replica that holds the Lease acts ([`leader`]), and the metadata quorum refuses one that
//!   has been overtaken: every change carries the operator epoch.
//!
//! Start with [`cluster::reconcile`] and [`cluster::plan`]; [`topic::plan`] for topics, [`rebalance::plan`] for moves; [`term`] for how
//! it all runs.

pub mod apply;
pub mod args;
pub mod cluster;
pub mod conditions;
pub mod config_diff;
pub mod context;
pub mod error;
pub mod events;
pub mod hash;
pub mod http;
pub mod leader;
pub mod metrics;
pub mod names;
pub mod pass;
pub mod permissions;
pub mod quorum;
pub mod rebalance;
pub mod sentence;
pub mod term;
pub mod topic;
pub mod trigger;
pub mod volume_id;
pub mod world;
