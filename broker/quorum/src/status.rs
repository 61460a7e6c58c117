//! What the quorum tells about itself.

use crate::config::Voter;
use crate::kafka_uuid::KafkaUuid;

/// Who leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Raft's term; 0 before the quorum is formed.
    pub term: u64,
    /// The leader of the term, when known.
    pub leader: Option<Voter>,
    /// This controller leads, and has applied the first entry of its own term: all that earlier
    /// leaders committed is in its state machine.
    pub is_self: bool,
}

/// A member of the Raft group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id in Raft: see [`crate::raft_id`].
    pub raft_id: u64,
    /// Kafka's node id.
    pub node_id: i32,
    /// The volume it votes with.
    pub directory_id: KafkaUuid,
    /// `host:port` of its gRPC listener.
    pub address: String,
}

/// A member, as the group sees it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who it is.
    pub member: Member,
    /// It votes; else it is a learner that catches up.
    pub is_voter: bool,
    /// On the leader: the last index it is known to hold.
    pub matched: Option<u64>,
    /// On the leader: it answered within the last election timeout.
    pub is_active: Option<bool>,
}

/// Where the log stands. All zero before the quorum is formed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuorumStatus {
    /// Raft's term.
    pub term: u64,
    /// The last entry in the log.
    pub last_index: u64,
    /// The last entry known to be committed.
    pub committed: u64,
    /// The last entry given to the state machine.
    pub applied: u64,
    /// The newest snapshot.
    pub snapshot_index: u64,
    /// The first entry still in the log.
    pub first_index: u64,
    /// This controller votes.
    pub is_voter: bool,
    /// The disk has no room for the log: this controller takes part in nothing until it has.
    pub stands_still: bool,
    /// The group's members, ascending by node id.
    pub members: Vec<MemberStatus>,
    /// Node ids that were removed and do not come back by themselves, ascending; on the leader without those that it
    /// would let in.
    pub retired: Vec<i32>,
}
