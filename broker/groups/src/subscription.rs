use std::collections::BTreeSet;
use std::sync::Arc;

use foz_records::{ConsumerProtocolSubscription, Message};

/// The topics of a `ConsumerProtocolSubscription`, or `None` when the bytes are none: a group may
/// put anything there, and then the coordinator does not know what it subscribes to.
///
/// Read as version 0, with which all others begin: whatever the version is, and whatever comes behind,
/// as in Kafka. One with more topics than a request may have elements is none either.
pub(crate) fn subscribed_topics(metadata: &[u8]) -> Option<BTreeSet<Arc<str>>> {
    let (_version, rest) = metadata.split_first_chunk::<2>()?;
    let subscription = ConsumerProtocolSubscription::decode(0, rest).ok()?;
    Some(subscription.topics.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_topics_and_ignores_what_follows() {
        let bytes = b"\x00\x01\x00\x00\x00\x02\x00\x01b\x00\x01a\xff\xff\xff\xff\x00\x00\x00\x00";
        let topics = subscribed_topics(bytes).unwrap();
        assert_eq!(topics.iter().map(|t| &**t).collect::<Vec<_>>(), ["a", "b"]);
        // Version 9, with user data and what nobody knows yet.
        let bytes = b"\x00\x09\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x01u?";
        assert_eq!(subscribed_topics(bytes).unwrap().len(), 1);
        // Kafka does not look at the version, so one below zero is as good.
        let bytes = b"\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff";
        assert_eq!(subscribed_topics(bytes), Some(BTreeSet::new()));
    }

    #[test]
    fn refuses_what_is_no_subscription() {
        for bytes in [
            &b""[..],
            b"\x00",
            b"\x00\x00\xff\xff\xff\xff",
            b"\x00\x00\x7f\xff\xff\xff\x00\x01a",
            b"\x00\x00\x00\x00\x00\x01\x00\x05a",
            b"\x00\x00\x00\x00\x00\x01\x00\x01\xff",
            // User data that is not there, and that is cut short.
            b"\x00\x00\x00\x00\x00\x01\x00\x01a",
            b"\x00\x00\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x02u",
        ] {
            assert_eq!(subscribed_topics(bytes), None, "{bytes:?}");
        }
    }

    /// Fifty million empty names are a hundred megabytes on the wire, and gigabytes here.
    #[test]
    fn refuses_more_topics_than_a_request_has_elements() {
        let subscription = |topics: u32| {
            let names = vec![0; 2 * topics as usize];
            [&[0, 0], &topics.to_be_bytes()[..], &names, &[0xff; 4]].concat()
        };
        assert_eq!(subscribed_topics(&subscription(250_001)), None);
        let topics = subscribed_topics(&subscription(250_000));
        assert_eq!(topics, Some(BTreeSet::from(["".into()])));
    }
}
