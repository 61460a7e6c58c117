//! The metadata quorum: the Raft group of the controllers.
//!
//! A [`StateMachine`] is replicated over 1, 3 or 5 controllers with TiKV's `raft` crate. Messages go
//! over tonic; the log, the votes and the snapshots are files below `quorum/` in the data directory;
//! Raft runs on a thread of its own.
//!
//! What holds:
//! - What [`Quorum::propose`] acknowledged is on the disks of a majority and in the local state
//!   machine. No vote and no entry is answered before it was fsynced.
//! - A failed write or fsync ends the quorum on this controller ([`Quorum::failure`]); it is never
//!   tried again.
//! - The cluster id is minted once, by the founder, after every configured controller said that its
//!   disk is empty. A disk that was wiped never founds beside others that are not: it joins as a new
//!   voter, under a new Raft id ([`raft_id`]).
//! - A controller that the configured ones know nothing of joins by itself, as long as its own configuration names
//!   all who vote. One that was removed ([`Quorum::remove_voter`]) does not, until it is let in
//!   ([`Quorum::add_voter`]).
//! - Bounds: a batch has at most 4 MiB; 64 MiB may wait to be committed, 32 MiB received from others
//!   may wait to be seen, 256 messages may wait for each of the others.
//!
//! Start with [`start`] and [`Quorum`]; inside, with `replica` (the thread), `formation` (the rules by
//! which a quorum comes to be), `joining` and `leaving` (the rules by which it grows and shrinks), `succession` (how the end of the leader's process is noticed), `storage` (the
//! files) and `transport` (the messages).

mod command;
mod config;
mod disk;
pub mod entries;
mod error;
mod formation;
mod former;
mod identity;
mod joining;
mod kafka_uuid;
mod leaving;
mod membership;
pub mod meta_properties;
mod quorum;
mod raft_log;
mod replica;
mod service;
mod start;
mod state_machine;
mod status;
mod storage;
pub mod succession;
mod transport;
mod wire;

pub use config::{ConfigError, QuorumConfig, Voter};
pub use error::{ChangeVotersError, ProposeError, QuorumFailure, StartError, TransferError};
pub use identity::raft_id;
pub use kafka_uuid::{KafkaUuid, KafkaUuidError};
pub use meta_properties::{MetaProperties, MetaPropertiesError};
pub use quorum::Quorum;
pub use service::QuorumService;
pub use start::start;
pub use state_machine::{RestoreError, StateMachine};
pub use status::{Leadership, Member, MemberStatus, QuorumStatus};
pub use storage::StorageError;
