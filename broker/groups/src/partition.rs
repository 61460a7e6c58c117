/// The partition of `__consumer_offsets` that holds a group: Java's `String.hashCode` of the group
/// id (over UTF-16 units, wrapping at 32 bits), made non-negative as Kafka's `Utils.abs` does
/// (`i32::MIN` becomes 0), modulo the number of partitions.
///
/// # Panics
/// When `partition_count` is not positive.
pub fn partition_for(group_id: &str, partition_count: i32) -> i32 {
    assert!(
        partition_count > 0,
        "offsets.topic.num.partitions must be positive"
    );
    let hash = group_id
        .encode_utf16()
        .fold(0i32, |h, unit| h.wrapping_mul(31).wrapping_add(unit.into()));
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partition_count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_java_string_hash_code() {
        // From Utils.abs(s.hashCode()) % 50 on a JVM.
        for (group_id, partition) in [
            ("", 0),
            ("a", 47),
            ("my-group", 12),
            ("console-consumer-12345", 6),
            ("é𝄞", 7),
            // Its hash is i32::MIN.
            ("polygenelubricants", 0),
        ] {
            assert_eq!(partition_for(group_id, 50), partition, "{group_id}");
        }
    }

    #[test]
    fn hashes_utf16_units_not_bytes() {
        assert_eq!(partition_for("é", i32::MAX), 0xe9);
        // U+1D11E is the surrogate pair D834 DD1E.
        assert_eq!(partition_for("𝄞", i32::MAX), 0xd834 * 31 + 0xdd1e);
    }
}
