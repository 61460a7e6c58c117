use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use uuid::Uuid;

/// A topic as groups see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Another one when it was deleted and made anew.
    pub id: Uuid,
    /// Never falls.
    pub partition_count: i32,
    hash: u64,
}

impl Topic {
    /// `racks` holds for each partition the racks of its replicas, in any order.
    pub fn new(name: &str, id: Uuid, racks: &[Vec<&str>]) -> Self {
        let mut hash = Fnv::new();
        hash.text(name);
        hash.bytes(id.as_bytes());
        hash.number(racks.len());
        for of_partition in racks {
            let mut of_partition = of_partition.clone();
            of_partition.sort_unstable();
            hash.number(of_partition.len());
            for rack in of_partition {
                hash.text(rack);
            }
        }
        Self {
            id,
            partition_count: racks.len() as i32,
            hash: hash.0,
        }
    }
}

/// The topics of the cluster, at one moment. A clone is cheap, and so is the next state of many.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    /// Another one when anything here differs: groups look at their topics again.
    version: u64,
    /// That at which a name last came: regular expressions are matched again.
    new_names_version: u64,
    by_name: RedBlackTreeMapSync<Arc<str>, Topic>,
    names: HashTrieMapSync<Uuid, Arc<str>>,
}

impl Topics {
    /// What a broker sees first: to it, all names have just come. `version` grows, and is that of no other state
    /// of the topics, on any broker: the offset of the metadata, say.
    pub fn new(version: u64, topics: impl IntoIterator<Item = (Arc<str>, Topic)>) -> Self {
        let by_name = RedBlackTreeMapSync::from_iter(topics);
        let name_of = |(name, topic): (&Arc<str>, &Topic)| (topic.id, name.clone());
        Self {
            version,
            new_names_version: version,
            names: by_name.iter().map(name_of).collect(),
            by_name,
        }
    }

    /// The next state that the broker sees: some topics are gone, then others have come or may be other than they
    /// were; none where nothing differs. A name whose topic is another has come anew: in between it may have been
    /// away. Growth, other racks and deletions bring none (as in Kafka).
    pub fn followed_by(
        &self,
        version: u64,
        gone: impl IntoIterator<Item = Uuid>,
        changed: impl IntoIterator<Item = (Arc<str>, Topic)>,
    ) -> Option<Self> {
        let mut next = self.clone();
        let mut differs = false;
        for id in gone {
            differs |= next.remove(&id);
        }
        for (name, topic) in changed {
            let before = next.get(&name).copied();
            if before == Some(topic) {
                continue;
            }
            differs = true;
            // Another of the name, or the same under another name, before.
            before.map(|before| next.remove(&before.id));
            next.remove(&topic.id);
            if !self.names.contains_key(&topic.id) {
                next.new_names_version = version;
            }
            next.names.insert_mut(topic.id, name.clone());
            next.by_name.insert_mut(name, topic);
        }
        next.version = version;
        differs.then_some(next)
    }

    /// Says whether it was there.
    fn remove(&mut self, id: &Uuid) -> bool {
        let name = self.names.get(id).cloned();
        if let Some(name) = &name {
            self.names.remove_mut(id);
            self.by_name.remove_mut(name);
        }
        name.is_some()
    }

    /// As it was given.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Of all topics.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    pub(super) fn new_names_version(&self) -> u64 {
        self.new_names_version
    }

    /// By name.
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(super) fn partition_count(&self, id: &Uuid) -> Option<i32> {
        let topic = self.get(self.name(id)?)?;
        Some(topic.partition_count)
    }

    pub(super) fn name(&self, id: &Uuid) -> Option<&Arc<str>> {
        self.names.get(id)
    }

    /// Tells states of these topics apart: it differs when one of them comes, goes, grows, is another of the same
    /// name or has replicas in other racks. Kafka's is another function; a group that comes from there assigns
    /// anew once.
    pub(super) fn hash<'a>(&self, names: impl IntoIterator<Item = &'a Arc<str>>) -> u64 {
        let mut hash = Fnv::new();
        for topic in names.into_iter().filter_map(|name| self.get(name)) {
            hash.bytes(&topic.hash.to_be_bytes());
        }
        hash.0
    }
}

/// FNV-1a, 64 bits: stable over versions and machines, since it is stored.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn number(&mut self, number: usize) {
        self.bytes(&(number as u64).to_be_bytes());
    }

    /// With its length in front, so that no two lists of texts look alike.
    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.bytes(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, id and the racks of each partition.
    type Made<'a> = (&'a str, u128, &'a [&'a [&'a str]]);

    fn hash(topics: &[Made<'_>]) -> u64 {
        let topics = topics.iter().map(|(name, id, racks)| {
            let racks = Vec::from_iter(racks.iter().map(|racks| racks.to_vec()));
            let topic = Topic::new(name, Uuid::from_u128(*id), &racks);
            (Arc::from(*name), topic)
        });
        let topics = Topics::new(1, topics);
        topics.hash(&["orders", "other"].map(Arc::from))
    }

    #[test]
    fn whatever_matters_of_a_topic_changes_the_hash() {
        let states: [&[Made<'_>]; 9] = [
            &[],
            &[("orders", 1, &[&["a"]])],
            &[("orders", 2, &[&["a"]])],
            &[("other", 1, &[&["a"]])],
            &[("orders", 1, &[&["b"]])],
            &[("orders", 1, &[&["a", "b"]])],
            &[("orders", 1, &[&["ab"]])],
            &[("orders", 1, &[&["a"], &["b"]])],
            &[("orders", 1, &[&["a"]]), ("other", 2, &[&["a"]])],
        ];
        for (index, one) in states.iter().enumerate() {
            for other in &states[..index] {
                assert_ne!(hash(one), hash(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn what_does_not_matter_changes_nothing() {
        let orders = ("orders", 1, &[&["a", "b"][..]][..]);
        let turned = ("orders", 1, &[&["b", "a"][..]][..]);
        let unheard_of = ("unheard-of", 3, &[&["a"][..]][..]);
        assert_eq!(hash(&[orders]), hash(&[turned, unheard_of]));
    }

    /// It is stored: were it another in the next version, every group would assign anew. The numbers are of
    /// FNV-1a as another program computes it.
    #[test]
    fn the_hash_stays_what_it_is() {
        let racks: &[&[&str]] = &[&["a", "b"], &["c"]];
        let orders = ("orders", 0x0123_4567_89ab_cdef_u128, racks);
        assert_eq!(hash(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(&[orders]), 0xec30_cd26_33be_3498);
        assert_eq!(hash(&[orders, ("other", 2, &[])]), 0xa834_1bcd_9a5f_a574);
    }

    #[test]
    fn names_come_with_topics_and_nothing_else() {
        let made = |made: &[(&str, u128, usize, &str)]| {
            let topics = made.iter().map(|(name, id, partition_count, rack)| {
                let racks = vec![vec![*rack]; *partition_count];
                let topic = Topic::new(name, Uuid::from_u128(*id), &racks);
                (Arc::from(*name), topic)
            });
            Vec::from_iter(topics)
        };
        let mut topics = Topics::new(5, made(&[("orders", 1, 1, "a")]));
        assert_eq!(topics.new_names_version(), 5);
        for (version, next, expected) in [
            (6, &[("orders", 1, 2, "a")][..], 5),
            (7, &[("orders", 1, 2, "b")], 5),
            (8, &[("orders", 1, 2, "b"), ("other", 2, 1, "a")], 8),
            (9, &[("other", 2, 1, "a")], 8),
            (10, &[("other", 3, 1, "a")], 10),
            (11, &[], 10),
            (12, &[("orders", 1, 2, "b")], 12),
        ] {
            let gone = Vec::from_iter(topics.names.keys().copied().filter(|id| {
                let mut next = next.iter();
                !next.any(|(_, of_next, ..)| Uuid::from_u128(*of_next) == *id)
            }));
            topics = topics.followed_by(version, gone, made(next)).unwrap();
            assert_eq!(topics.version(), version);
            assert_eq!(topics.names().count(), next.len());
            assert_eq!(topics.new_names_version(), expected, "{version}");
            assert!(topics.followed_by(99, [Uuid::nil()], made(next)).is_none());
        }
    }

    #[test]
    fn a_topic_under_another_name_and_another_of_its_name_leave_nothing_behind() {
        let topic = |name: &str, id| Topic::new(name, Uuid::from_u128(id), &[vec![]]);
        let topics = Topics::new(1, [(Arc::from("orders"), topic("orders", 1))]);
        let renamed = topics.followed_by(2, [], [(Arc::from("old"), topic("old", 1))]);
        let renamed = renamed.unwrap();
        assert_eq!(Vec::from_iter(renamed.names().map(|name| &**name)), ["old"]);
        let other = topics.followed_by(2, [], [(Arc::from("orders"), topic("orders", 2))]);
        let other = other.unwrap();
        assert_eq!(other.name(&Uuid::from_u128(1)), None);
        assert_eq!(other.partition_count(&Uuid::from_u128(2)), Some(1));
    }
}
