//! The kinds that a person writes: [`Cluster`], [`Topic`] and [`Rebalance`], group `foz.dev`, version `v1alpha1`.
//!
//! What holds for them:
//! - A rule that needs no running cluster is CEL in the schema, so that `kubectl apply` refuses with a
//!   sentence. Rules that compare with what was stored sit on the parent of the field they guard:
//!   unsetting the field does not slip past.
//! - Every rule has a folder `rules/<kind>/<what is wanted>` with one YAML that it takes and one that it
//!   refuses; the tests go through them offline, and a story of `e2e` on an API server. What a rule is on has
//!   a bound, or the API server takes no such definition.
//! - No field is declared that the operator does not honour.
//! - Every field has a description: it is what `kubectl explain` prints.
//! - Absent and `null` mean the same, as elsewhere in Kubernetes (see [`definitions`]).
//!
//! Start with [`cluster`], [`topic`] and [`rebalance`]. The YAML under `crds/` is [`rendered`], written by the binary
//! `foz-crdgen` and compared by a test.

pub mod balancing;
pub mod cluster;
pub mod definitions;
mod maps;
pub mod quantity;
pub mod rebalance;
pub mod storage;
pub mod topic;

pub use cluster::{Cluster, ClusterSpec, ClusterStatus};
pub use definitions::{definitions, rendered};
pub use rebalance::{Rebalance, RebalanceSpec, RebalanceStatus};
pub use topic::{Topic, TopicSpec, TopicStatus};

/// The API group of all kinds.
pub const GROUP: &str = "foz.dev";
/// The version of all kinds.
pub const VERSION: &str = "v1alpha1";
