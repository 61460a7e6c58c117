//! The ids of the topics that an object makes. The operator chooses them, so that it knows a topic for the object's own
//! although the answer to its creation was lost, with nothing written down before. Pure.

use crate::hash::fingerprint;
use crate::quorum::view::id_text;

/// The id of the topic that an object makes next: the object's uid, 16 bytes as Kubernetes chose them; after another
/// topic of the object (`before`, in Kafka's way of writing) one that follows from both. No id comes twice.
#[must_use]
pub fn topic_id(uid: &str, before: Option<&str>) -> Vec<u8> {
    let mut id = match (uuid(uid), before) {
        (Some(id), None) => id,
        (_, before) => {
            let text = format!("{uid}/{}", before.unwrap_or_default());
            let half = |salt: &str| fingerprint(format!("{salt}{text}").as_bytes()).to_be_bytes();
            [half("a/"), half("b/")].concat()
        }
    };
    // Kafka's tools take an argument that begins with `-` for an option.
    if id[0] >> 2 == 62 {
        id[0] |= 0x04;
    }
    id
}

/// As [`topic_id`], in Kafka's way of writing.
#[must_use]
pub fn topic_id_text(uid: &str, before: Option<&str>) -> String {
    id_text(&topic_id(uid, before))
}

fn uuid(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let is_uuid = digits.len() == 32 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
    is_uuid.then(|| (0..16).map_while(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::{topic_id, topic_id_text};
    use std::collections::BTreeSet;

    const UID: &str = "3f2b8c1e-9a44-4c0d-8f6e-5b1a2c3d4e5f";

    #[test]
    fn the_first_topic_has_the_uid_of_its_object_and_every_other_its_own() {
        let first = topic_id(UID, None);
        assert_eq!(first[..4], [0x3f, 0x2b, 0x8c, 0x1e]);
        let mut seen = BTreeSet::from([topic_id_text(UID, None)]);
        let mut before = topic_id_text(UID, None);
        for _ in 0..1000 {
            before = topic_id_text(UID, Some(&before));
            assert_eq!(before.len(), 22);
            assert!(seen.insert(before.clone()), "{before} came twice");
        }
        assert_eq!(topic_id(UID, Some("x")), topic_id(UID, Some("x")));
        assert_ne!(
            topic_id(UID, Some("x")),
            topic_id(&UID.replace('f', "e"), Some("x"))
        );
    }

    #[test]
    fn no_id_begins_like_an_option() {
        for start in 0..=255_u8 {
            let uid = format!("{start:02x}{}", &UID[2..]);
            assert!(!topic_id_text(&uid, None).starts_with('-'), "{uid}");
        }
        // What is no UUID is an id all the same.
        assert_eq!(topic_id("not-a-uuid", None).len(), 16);
        assert_eq!(topic_id("", None).len(), 16);
    }
}
