//! The coordinator from outside: one request at a time (tables), whole stories, and random
//! interleavings. Every reply is also encoded at the version of its request.

mod admin;
mod appends;
mod commits;
mod consumer_groups;
mod expiry;
mod harness;
mod interleavings;
mod joins;
mod lag;
mod limits;
mod loading;
mod migration;
mod static_members;
mod stories;
mod syncs;
mod transactional_commits;
mod transactions_model;
mod uncommitted;
