//! A fingerprint that is the same in every version of the operator.

/// FNV-1a, 64 bits. It tells contents apart that differ by accident, not by malice. The standard
/// library's hasher may change between versions of Rust: an upgrade of the operator would then look
/// like a change of everything.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    /// The published test vectors: http://www.isthe.com/chongo/tech/comp/fnv/
    #[test]
    fn published_vectors() {
        assert_eq!(fingerprint(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fingerprint(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
