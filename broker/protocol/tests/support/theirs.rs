//! What Fetch and Produce ask of `kafka-protocol` alike.

use bytes::Bytes;
use foz_protocol::leader::NodeEndpoint;
use foz_protocol::topic::TopicRef;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

pub(crate) fn text() -> impl Strategy<Value = StrBytes> {
    ".{0,20}".prop_map(StrBytes::from_string)
}

pub(crate) fn encode(request: &impl Encodable, version: i16) -> Bytes {
    let mut out = Vec::new();
    request
        .encode(&mut out, version)
        .expect("it fits the version");
    Bytes::from(out)
}

pub(crate) fn topic_ref(name: &TopicName, id: Uuid, version: i16) -> TopicRef {
    if version >= 13 {
        TopicRef::Id(id)
    } else {
        TopicRef::Name(name.0.clone())
    }
}

/// Where a leader is that a response hints at.
pub(crate) fn node_endpoint() -> impl Strategy<Value = NodeEndpoint> {
    (
        any::<i32>(),
        ".{0,200}",
        any::<i32>(),
        option::of(".{0,20}"),
    )
        .prop_map(|(node_id, host, port, rack)| NodeEndpoint {
            node_id,
            host,
            port,
            rack,
        })
}

/// The endpoints of a response of theirs, as ours. A macro: each of their responses has a type of its own
/// for the same four fields.
macro_rules! node_endpoints {
    ($theirs:expr) => {
        $theirs
            .iter()
            .map(|endpoint| NodeEndpoint {
                node_id: endpoint.node_id.0,
                host: endpoint.host.to_string(),
                port: endpoint.port,
                rack: endpoint.rack.as_ref().map(ToString::to_string),
            })
            .collect::<Vec<_>>()
    };
}
pub(crate) use node_endpoints;
