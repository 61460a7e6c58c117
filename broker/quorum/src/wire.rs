//! The messages of `foz.quorum.v1`, and what they are turned into.

#![allow(missing_debug_implementations, unreachable_pub, clippy::all)]

tonic::include_proto!("foz.quorum.v1");
