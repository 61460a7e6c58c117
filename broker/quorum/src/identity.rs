//! Raft ids.

use crate::kafka_uuid::KafkaUuid;

/// The id in Raft of a node with a volume: FNV-1a of both, never 0 (Raft's "nobody").
///
/// A node whose disk was wiped gets another directory id and so another Raft id: it can never vote a
/// second time, or deny entries it once acknowledged, under the name it had.
#[must_use]
pub fn raft_id(node_id: i32, directory_id: &KafkaUuid) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET_BASIS;
    for byte in node_id.to_be_bytes().iter().chain(directory_id.as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    if hash == 0 { OFFSET_BASIS } else { hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_depends_on_node_and_directory_and_never_changes() {
        let directory: KafkaUuid = "AAAAAAAAAAAAAAAAAAAAAQ".parse().unwrap();
        let other: KafkaUuid = "AAAAAAAAAAAAAAAAAAAAAg".parse().unwrap();
        // Fixed: the ids are on disks. Computed independently as FNV-1a 64 of the 20 bytes.
        assert_eq!(raft_id(1000, &directory), 0x22b3_4d68_5cf4_ab19);
        assert_ne!(raft_id(1000, &directory), raft_id(1000, &other));
        assert_ne!(raft_id(1000, &directory), raft_id(1001, &directory));
    }
}
