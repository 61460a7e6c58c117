//! What Fetch and Produce ask of `kafka-protocol` alike.

use bytes::Bytes;
use foz_protocol::topic::TopicRef;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::{Encodable, StrBytes};
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
