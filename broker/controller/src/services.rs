//! The gRPC services, one file for each call.

mod admin;
mod calls;
mod node;

pub(crate) use admin::AdminService;
pub(crate) use calls::Calls;
pub(crate) use node::{NodeService, ask_to_stop, controller_started};
