//! The ids of the topics that an object makes. The operator chooses them, so that it knows a topic for the object's own
//! although the answer to its creation was lost, with nothing written down before. Pure.

use std::iter::successors;

use crate::hash::fingerprint;
use crate::quorum::view::{from_id_text, id_text};

/// Whoever deletes more topics of one object within their grace has to purge some.
const IDS_MAX: usize = 32;

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

/// The ids under which an object may make its next topic, in this order: one that a deleted topic has is taken as long as
/// that can be brought back. An older topic of the object that was brought back comes before others once more.
pub fn topic_ids(uid: &str, before: Option<&str>) -> impl Iterator<Item = Vec<u8>> {
    let first = topic_id(uid, before);
    let next = move |id: &Vec<u8>| Some(topic_id(uid, Some(&id_text(id))));
    successors(Some(first), next).take(IDS_MAX)
}

/// Whether it is one of [`topic_ids`].
#[must_use]
pub fn is_made_by(uid: &str, before: Option<&str>, id: &[u8]) -> bool {
    topic_ids(uid, before).any(|it| it == id)
}

/// Reads an id in Kafka's way of writing, or as hexadecimal digits, with dashes or without.
#[must_use]
pub fn parse_topic_id(text: &str) -> Option<Vec<u8>> {
    from_id_text(text).or_else(|| uuid(text))
}

fn uuid(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let is_uuid = digits.len() == 32 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
    is_uuid.then(|| (0..16).map_while(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::{IDS_MAX, is_made_by, parse_topic_id, topic_id, topic_ids};
    use crate::quorum::view::id_text;
    use std::collections::BTreeSet;

    const UID: &str = "3f2b8c1e-9a44-4c0d-8f6e-5b1a2c3d4e5f";

    fn topic_id_text(uid: &str, before: Option<&str>) -> String {
        id_text(&topic_id(uid, before))
    }

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
    fn an_object_has_more_ids_than_one_for_its_next_topic() {
        let ids: Vec<_> = topic_ids(UID, Some("x")).collect();
        assert_eq!(ids.len(), IDS_MAX);
        assert_eq!(ids[0], topic_id(UID, Some("x")));
        assert_eq!(ids[1], topic_id(UID, Some(&id_text(&ids[0]))));
        assert!(is_made_by(UID, Some("x"), &ids[IDS_MAX - 1]));
        assert!(!is_made_by(UID, Some("y"), &ids[0]));
    }

    #[test]
    fn an_id_is_read_as_the_tools_and_the_disks_write_it() {
        let id = topic_id(UID, None);
        for text in [
            &*id_text(&id),
            UID,
            &UID.replace('-', ""),
            &UID.to_uppercase(),
        ] {
            assert_eq!(parse_topic_id(text), Some(id.clone()), "{text}");
        }
        for wrong in ["", "latest", "orders", &UID[1..], &id_text(&id)[1..]] {
            assert_eq!(parse_topic_id(wrong), None, "{wrong}");
        }
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
