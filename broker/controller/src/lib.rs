//! A controller: one voter of the metadata quorum, and the active controller when it leads.
//!
//! It is a thin shell around two crates: `foz-quorum` replicates batches of records, `foz-metadata` has
//! the image and the rules. Here are the clocks, the sockets and the tasks.
//!
//! * [`Metadata`] is what every controller has: the committed image, behind one pointer, and the newest
//!   batches for observers that have only a little to catch up.
//! * `active` is the task that runs while this controller leads. It alone runs rules, one command after
//!   the other, against committed plus pending state; it proposes without waiting and answers when the
//!   quorum has committed. When leadership goes, what was not proposed is refused, and what was proposed
//!   but not confirmed is answered with "unknown outcome".
//! * `leases` decides who is alive. Time is the monotonic clock; a controller that becomes active gives
//!   every broker a fresh lease before it fences anyone. `observers` tells a process that died from one
//!   that only lost a stream.
//! * `restart_limits` decides which restart grants have lasted too long, and which controllers are back.
//! * `stop_wishes` knows who was asked to end and asks for a restart grant, and when that is everybody: then the cluster
//!   is being stopped, and nobody is held up.
//! * `rebalance` decides what a rebalance does next, from the image and from what brokers tell of their load.
//! * `handovers` knows which broker may stop, as nobody needs it as a leader any more.
//! * `services` are the gRPC calls of `foz-api`, one file each.
//!
//! Start with [`start`], then `active.rs`.

mod active;
mod applied;
mod ask_active;
mod config;
mod controller;
mod controller_features;
mod convert;
mod handovers;
mod history;
pub mod leases;
mod metadata;
mod metrics;
mod observers;
mod quorum_health;
mod rebalance;
mod replica_times;
mod restart_limits;
mod services;
mod stop_wishes;
mod wall_clock;

pub use ask_active::LetGo;
pub use config::ControllerConfig;
pub use controller::{ControllerHandle, StartError, start, start_on};
pub use foz_quorum::Voter;
pub use metadata::Metadata;
pub use rebalance::RebalanceLimits;
