//! The coordinator from outside: one request at a time (tables), whole stories, and random
//! interleavings. Every reply is also encoded at the version of its request.

mod adding;
mod admin;
mod appends;
mod connections;
mod ending;
mod expiry;
mod failover;
mod harness;
mod initializing;
mod loading;
mod markers;
mod model;
