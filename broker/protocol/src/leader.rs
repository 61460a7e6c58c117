//! The hint that Produce and Fetch responses carry where the leader is another broker (KIP-951), so
//! that a client need not ask for metadata first.

use bytes::{BufMut, BytesMut};

use crate::wire::{put_no_tagged_fields, put_nullable_string, put_unsigned_varint};

/// The leader of a partition and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    /// Its node id.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
}

impl LeaderIdAndEpoch {
    const BYTES: u32 = 4 + 4 + 1;

    /// As a tagged field.
    pub(crate) fn put_tagged(self, tag: u32, out: &mut BytesMut) {
        put_unsigned_varint(out, tag);
        put_unsigned_varint(out, Self::BYTES);
        out.put_i32(self.leader_id);
        out.put_i32(self.leader_epoch);
        put_no_tagged_fields(out, true);
    }
}

/// Where a broker is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// Its node id.
    pub node_id: i32,
    /// Its advertised host.
    pub host: String,
    /// Its advertised port.
    pub port: i32,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

/// The tagged fields that end a response: the endpoints in tag 0 where the version has them.
pub(crate) fn put_node_endpoints(
    out: &mut BytesMut,
    flexible: bool,
    version_has_them: bool,
    endpoints: &[NodeEndpoint],
) {
    if endpoints.is_empty() || !version_has_them {
        put_no_tagged_fields(out, flexible);
        return;
    }
    let mut field = BytesMut::new();
    put_unsigned_varint(&mut field, endpoints.len() as u32 + 1);
    for endpoint in endpoints {
        field.put_i32(endpoint.node_id);
        put_nullable_string(&mut field, true, Some(&endpoint.host));
        field.put_i32(endpoint.port);
        put_nullable_string(&mut field, true, endpoint.rack.as_deref());
        put_no_tagged_fields(&mut field, true);
    }
    put_unsigned_varint(out, 1);
    put_unsigned_varint(out, 0);
    put_unsigned_varint(out, field.len() as u32);
    out.put_slice(&field);
}
