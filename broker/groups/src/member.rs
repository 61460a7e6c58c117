use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;

use crate::effect::WaiterId;

/// A request that is answered later, and the version to answer at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) id: WaiterId,
    pub(crate) api_version: i16,
}

/// A way of assigning partitions that a member supports, with what it tells the leader for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: Arc<str>,
    pub(crate) metadata: Bytes,
}

/// A member of a classic group.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    /// Set for a static member (KIP-345).
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// In the member's order of preference; names are unique.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<Waiter>,
    pub(crate) awaiting_sync: Option<Waiter>,
    /// Joined and not yet through its first rebalance: it has no way to send heartbeats, so its
    /// session is bounded even while it waits.
    pub(crate) is_new: bool,
}

impl Member {
    /// The metadata for a protocol; empty when the member does not support it.
    pub(crate) fn metadata(&self, protocol_name: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|protocol| &*protocol.name == protocol_name)
            .map(|protocol| protocol.metadata.clone())
            .unwrap_or_default()
    }

    pub(crate) fn supports(&self, protocol_name: &str) -> bool {
        self.protocols
            .iter()
            .any(|protocol| &*protocol.name == protocol_name)
    }

    /// A member that waits for the coordinator is alive by definition, unless it is new.
    pub(crate) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

/// Copies the protocols out of the request's frame, so that a member does not keep the frame
/// alive; of a repeated name only the first counts.
pub(crate) fn protocols_of(request: &[JoinGroupRequestProtocol]) -> Vec<Protocol> {
    let mut protocols: Vec<Protocol> = Vec::with_capacity(request.len());
    for protocol in request {
        if !protocols
            .iter()
            .any(|known| *known.name == *protocol.name.as_str())
        {
            protocols.push(Protocol {
                name: Arc::from(protocol.name.as_str()),
                metadata: Bytes::copy_from_slice(&protocol.metadata),
            });
        }
    }
    protocols
}
