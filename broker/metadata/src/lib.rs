//! The cluster's truth: what is known about brokers, topics, partitions and configs, and the rules that
//! change it.
//!
//! * [`Image`] is an immutable snapshot of everything. Cloning it copies a few pointers, so readers take
//!   one and keep it as long as they like.
//! * [`record::Batch`] is what the metadata quorum replicates: facts that turn the image at one offset
//!   into the image at the next. [`Image::apply`] rejects a batch that does not follow and decides
//!   nothing else, so every controller and every broker of whatever version computes the same image.
//! * [`rules`] decide: one file for each command, run by the active controller only. Each is a plain
//!   function from the image and the command to records and an answer, or to a refusal.
//! * [`config`] is the table of every config key: its type, default, bounds and synonyms.
//! * [`Changes`] says cheaply what a batch touched.
//!
//! The crate does no I/O: time, random numbers and ids are passed in.
//!
//! Start with [`image`], then `rules/create_topics.rs`; for who is in sync and who leads,
//! `rules/partition_change.rs`; for who may stop, `rules/acquire_restart.rs`.

pub mod config;
pub mod image;
pub mod record;
pub mod rules;
pub mod topic_name;

pub use image::{Changes, Image};
