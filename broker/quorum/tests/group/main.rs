//! Groups of controllers over real connections and real files.

#![allow(clippy::unwrap_used)] // the harness is test code too

mod formation;
mod full_disk;
mod harness;
mod membership;
mod proxy;
mod replication;
mod single;
mod small_disk;
mod succession;
mod voters;
