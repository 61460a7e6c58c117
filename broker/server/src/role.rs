//! The role `broker`: its start, what it says to the quorum, its stop.

mod image_applier;
mod lease;
mod observer;
mod registration;
mod start;

pub(crate) use start::{BrokerHandle, start_broker};
