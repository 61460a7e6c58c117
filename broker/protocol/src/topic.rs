//! How a request names a topic.

use bytes::{BufMut, BytesMut};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::wire::put_nullable_string;

/// By name up to Produce 12 and Fetch 12, by id from 13 on (KIP-516). Ids are never reused, so a
/// request by id never meets a topic that was deleted and created again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicRef {
    /// Its name.
    Name(StrBytes),
    /// Its id.
    Id(Uuid),
}

impl std::fmt::Display for TopicRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

impl TopicRef {
    /// As a response names it; a name in a version with ids, or the other way round, is what the
    /// request had, so the version fits.
    pub(crate) fn put(&self, flexible: bool, out: &mut BytesMut) {
        match self {
            Self::Name(name) => put_nullable_string(out, flexible, Some(name)),
            Self::Id(id) => out.put_slice(id.as_bytes()),
        }
    }
}
