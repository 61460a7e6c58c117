//! What a controller is told when it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use foz_quorum::Voter;

use crate::leases::{LEASE, RECONNECT_GRACE};
use crate::rebalance::RebalanceLimits;
use crate::restart_limits::RESTART_TIME_LIMIT;

/// All that [`crate::start`] needs to know. Make one with [`ControllerConfig::new`] and change what
/// differs.
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// From 1000; one of `voters`.
    pub node_id: i32,
    /// `host:port` on which gRPC is served, as `0.0.0.0:9093`. What others call is in `voters`.
    pub listen: String,
    /// The volume: it holds `meta.properties` and the quorum's files.
    pub data_dir: PathBuf,
    /// The controllers that found the quorum.
    pub voters: Vec<Voter>,
    /// Of the program, for people.
    pub version: String,
    /// The controller's properties file: defaults of broker keys that nobody set by a request.
    pub properties: BTreeMap<String, String>,
    /// How long a broker stays unfenced without a beat.
    pub lease: Duration,
    /// How long a broker whose lease stream closed, but which still observes, may take to open another one.
    pub reconnect_grace: Duration,
    /// How long a restart grant lasts when its node does not come back.
    pub restart_time_limit: Duration,
    /// How much a rebalance does at once.
    pub rebalance: RebalanceLimits,
}

impl ControllerConfig {
    /// The usual timing and no properties.
    #[must_use]
    pub fn new(
        node_id: i32,
        listen: String,
        data_dir: PathBuf,
        voters: Vec<Voter>,
        version: String,
    ) -> Self {
        Self {
            node_id,
            listen,
            data_dir,
            voters,
            version,
            properties: BTreeMap::new(),
            lease: LEASE,
            reconnect_grace: RECONNECT_GRACE,
            restart_time_limit: RESTART_TIME_LIMIT,
            rebalance: RebalanceLimits::default(),
        }
    }
}
