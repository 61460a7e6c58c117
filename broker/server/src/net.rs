//! Sockets of clients: accepting, framing, order, bounds.

pub(crate) mod budget;
pub(crate) mod connection;
pub(crate) mod listener;
