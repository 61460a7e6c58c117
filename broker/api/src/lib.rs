//! The gRPC contract of the metadata quorum, and a client that finds the active controller.
//!
//! It is all that the operator knows of the broker, and all that brokers know of the controllers.
//! The `.proto` files beside this crate are the contract; [`v1`] is made from them.
//!
//! Start with `proto/foz/v1/admin.proto`, then [`ActiveController`].

mod active_controller;

pub use active_controller::{
    ACTIVE_CONTROLLER_KEY, ActiveController, CallError, none_active, not_active,
};

/// The messages, clients and servers of package `foz.v1`.
#[allow(missing_debug_implementations, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("foz.v1");
}
