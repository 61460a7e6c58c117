use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Buf;

/// The topics of a `ConsumerProtocolSubscription`, or `None` when the bytes are none: a group may
/// put anything there, and then the coordinator does not know what it subscribes to.
///
/// All versions begin alike: version, then the array of topic names.
pub(crate) fn subscribed_topics(mut metadata: &[u8]) -> Option<BTreeSet<Arc<str>>> {
    let version = metadata.try_get_i16().ok()?;
    if version < 0 {
        return None;
    }
    let count = metadata.try_get_i32().ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..usize::try_from(count).ok()? {
        let length = usize::try_from(metadata.try_get_i16().ok()?).ok()?;
        let name = std::str::from_utf8(metadata.get(..length)?).ok()?;
        topics.insert(Arc::from(name));
        metadata.advance(length);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_topics_and_ignores_what_follows() {
        let bytes = b"\x00\x01\x00\x00\x00\x02\x00\x01b\x00\x01a\xff\xff\xff\xff\x00\x00\x00\x00";
        let topics = subscribed_topics(bytes).unwrap();
        assert_eq!(topics.iter().map(|t| &**t).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn refuses_what_is_no_subscription() {
        for bytes in [
            &b""[..],
            b"\x00",
            b"\xff\xff\x00\x00\x00\x00",
            b"\x00\x00\xff\xff\xff\xff",
            b"\x00\x00\x7f\xff\xff\xff\x00\x01a",
            b"\x00\x00\x00\x00\x00\x01\x00\x05a",
            b"\x00\x00\x00\x00\x00\x01\x00\x01\xff",
        ] {
            assert_eq!(subscribed_topics(bytes), None, "{bytes:?}");
        }
    }
}
