//! What a controller is told about the quorum, checked once.

use std::path::PathBuf;
use std::time::Duration;

/// One entry of `controller.quorum.voters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Kafka's node id of the controller.
    pub node_id: i32,
    /// `host:port` of its gRPC listener.
    pub address: String,
}

/// All that [`crate::start`] needs to know. Make one with [`QuorumConfig::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct QuorumConfig {
    /// This controller; one of `voters`.
    pub node_id: i32,
    /// The directory that holds `meta.properties`; the quorum's files are in `quorum/` below it.
    pub data_dir: PathBuf,
    /// The controllers, this one included: those that found the quorum, and where each one listens.
    pub voters: Vec<Voter>,
    /// A snapshot is taken when this many entries were applied since the last one. The log keeps
    /// the entries since the snapshot before, in memory and on disk.
    pub snapshot_every_entries: u64,
    /// … or when the entries since the last one have this many bytes.
    pub snapshot_every_bytes: u64,
    /// Raft's logical clock. Heartbeats go out every second tick.
    pub tick: Duration,
    /// A follower that hears nothing for this many ticks, to twice as many, stands for election.
    pub election_ticks: usize,
    /// How often the others are asked while the quorum is not formed or has no leader.
    pub poll: Duration,
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// `controller.quorum.voters` has an entry of another shape.
    #[error(
        "controller.quorum.voters: {entry:?} is not <node id>@<host>:<port>, as in 1000@localhost:9093"
    )]
    Voter {
        /// The entry as it was given.
        entry: String,
    },
    /// `controller.quorum.voters` is empty.
    #[error("controller.quorum.voters: names no controller; give at least this one")]
    NoVoters,
    /// Two entries have the same node id.
    #[error("controller.quorum.voters: node id {node_id} is there twice")]
    Duplicate {
        /// The id.
        node_id: i32,
    },
    /// The node itself is not among the voters.
    #[error("node.id: {node_id} is not in controller.quorum.voters, which has {voters:?}")]
    NotAVoter {
        /// The value of `node.id`.
        node_id: i32,
        /// The node ids of the voters.
        voters: Vec<i32>,
    },
}

impl Voter {
    /// Reads the value of `controller.quorum.voters`: `1000@a:9093,1001@b:9093`.
    pub fn parse_list(value: &str) -> Result<Vec<Self>, ConfigError> {
        let entries = value
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        entries.map(Self::parse).collect()
    }

    fn parse(entry: &str) -> Result<Self, ConfigError> {
        let malformed = || ConfigError::Voter {
            entry: entry.to_owned(),
        };
        let (node_id, address) = entry.split_once('@').ok_or_else(malformed)?;
        let node_id = node_id
            .parse()
            .ok()
            .filter(|id| *id >= 0)
            .ok_or_else(malformed)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
        if host.is_empty() || port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(malformed());
        }
        Ok(Self {
            node_id,
            address: address.to_owned(),
        })
    }
}

impl QuorumConfig {
    /// The usual timing: heartbeats every 100 ms, elections after 500 to 1000 ms of silence.
    #[must_use]
    pub fn new(node_id: i32, data_dir: PathBuf, voters: Vec<Voter>) -> Self {
        Self {
            node_id,
            data_dir,
            voters,
            snapshot_every_entries: 10_000,
            snapshot_every_bytes: 8 << 20,
            tick: Duration::from_millis(50),
            election_ticks: 10,
            poll: Duration::from_millis(100),
        }
    }

    /// The node ids of the configured voters, ascending.
    #[must_use]
    pub fn voter_ids(&self) -> Vec<i32> {
        let mut ids: Vec<i32> = self.voters.iter().map(|voter| voter.node_id).collect();
        ids.sort_unstable();
        ids
    }

    /// Where the configuration says that a node listens.
    #[must_use]
    pub fn address_of(&self, node_id: i32) -> Option<&str> {
        let voter = self.voters.iter().find(|voter| voter.node_id == node_id)?;
        Some(&voter.address)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let ids = self.voter_ids();
        if ids.is_empty() {
            return Err(ConfigError::NoVoters);
        }
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConfigError::Duplicate { node_id: pair[0] });
        }
        if !ids.contains(&self.node_id) {
            return Err(ConfigError::NotAVoter {
                node_id: self.node_id,
                voters: ids,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_read_as_kafka_writes_them() {
        let voters = Voter::parse_list("1000@a.b:9093, 1001@[::1]:9094").unwrap();
        assert_eq!(
            voters[0],
            Voter {
                node_id: 1000,
                address: "a.b:9093".into()
            }
        );
        assert_eq!(
            voters[1],
            Voter {
                node_id: 1001,
                address: "[::1]:9094".into()
            }
        );
        for bad in [
            "1000",
            "1000@a",
            "x@a:1",
            "-1@a:1",
            "1@:9",
            "1@a:0",
            "1@a:99999",
            "1@a:",
        ] {
            let error = Voter::parse_list(bad).unwrap_err();
            assert_eq!(error, ConfigError::Voter { entry: bad.into() });
        }
    }

    #[test]
    fn a_group_that_cannot_work_is_refused() {
        let config = |node_id, voters: &str| {
            QuorumConfig::new(node_id, "/x".into(), Voter::parse_list(voters).unwrap()).check()
        };
        assert_eq!(config(1, ""), Err(ConfigError::NoVoters));
        assert_eq!(
            config(1, "1@a:1,1@b:1"),
            Err(ConfigError::Duplicate { node_id: 1 })
        );
        assert_eq!(config(3, "2@a:1,1@b:1"), {
            Err(ConfigError::NotAVoter {
                node_id: 3,
                voters: vec![1, 2],
            })
        });
        assert_eq!(config(1, "1@a:1"), Ok(()));
    }
}
