//! Which offset is the newest of each key, in memory that was agreed on beforehand.
//!
//! Keys are known by a hash alone, as in Kafka's `SkimpyOffsetMap`: 24 bytes for a key of any length. Two keys
//! with one hash would cost a record, so nobody may be able to find such a pair: SipHash under keys that are
//! drawn at random for each process, twice, which makes 128 bits. A fast hash whose seed does not reach all of
//! its state (xxHash among them) has pairs that collide under every seed, and keys are what clients choose. The
//! standard library has SipHash, so it costs no dependency; it is not what bounds the speed of a pass.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::black_box;

/// Bytes of a key's entry: its hash and its offset.
const ENTRY_BYTES: usize = 24;
/// Fuller than this (Kafka's `log.cleaner.io.buffer.load.factor`, 0.9) searches become long.
const LOAD_PERCENT: usize = 90;
/// One is free at any time, where a search for a key that is not there ends.
const SLOTS_MIN: usize = 2;
const FREE: u64 = 0;

/// Keys that are worth looking up together, see [`OffsetMap::fetch`].
pub(super) const KEYS_AT_ONCE: usize = 64;

/// Of a key, in one map.
pub(super) type KeyHash = [u64; 2];

/// The hash of a key, and one more than its offset: all zeros is a free slot.
type Entry = [u64; 3];

/// Open addressing, in a table of fixed size.
#[derive(Debug)]
pub(super) struct OffsetMap {
    slots: Vec<Entry>,
    keys: usize,
    keys_max: usize,
    hash: RandomState,
}

/// The map holds as many keys as it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl OffsetMap {
    /// For up to `keys` different keys where that fits into `bytes`; for one at least.
    pub(super) fn new(bytes: usize, keys: u64) -> Self {
        let wanted = usize::try_from(keys)
            .unwrap_or(usize::MAX)
            .saturating_mul(100)
            / LOAD_PERCENT;
        let slots = (bytes / ENTRY_BYTES)
            .min(wanted.saturating_add(1))
            .max(SLOTS_MIN);
        Self {
            // Zeros: the kernel gives pages when they are written to.
            slots: vec![[FREE; 3]; slots],
            keys: 0,
            keys_max: (slots * LOAD_PERCENT / 100).clamp(1, slots - 1),
            hash: RandomState::new(),
        }
    }

    /// Brings the entries of these keys into the processor's caches. The map is larger than those, and looked up one
    /// after the other each key would be waited for.
    pub(super) fn fetch(&self, hashes: impl Iterator<Item = KeyHash>) {
        let entries = hashes.map(|hash| self.slots[self.first_slot(hash)][2]);
        black_box(entries.fold(0, |all, entry| all ^ entry));
    }

    /// The offset, which is not negative, is the newest of the key.
    pub(super) fn put(&mut self, hash: KeyHash, offset: i64) -> Result<(), Full> {
        let at = self.find(hash);
        if is_free(&self.slots[at]) {
            if self.keys == self.keys_max {
                return Err(Full);
            }
            self.keys += 1;
        }
        self.slots[at] = [hash[0], hash[1], offset as u64 + 1];
        Ok(())
    }

    pub(super) fn get(&self, hash: KeyHash) -> Option<i64> {
        let entry = &self.slots[self.find(hash)];
        (!is_free(entry)).then(|| (entry[2] - 1) as i64)
    }

    /// How many keys it knows.
    pub(super) fn len(&self) -> usize {
        self.keys
    }

    /// Takes so many keys more, whichever they are.
    pub(super) fn has_room_for(&self, keys: usize) -> bool {
        keys <= self.keys_max - self.keys
    }

    /// It knows no key any more.
    pub(super) fn clear(&mut self) {
        self.slots.fill([FREE; 3]);
        self.keys = 0;
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * ENTRY_BYTES
    }

    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        let mut hasher = self.hash.build_hasher();
        hasher.write(key);
        let first = hasher.finish();
        // Of another text, the key and one byte more, so it tells what the first does not.
        hasher.write_u8(0xff);
        [first, hasher.finish()]
    }

    /// Where a search begins.
    fn first_slot(&self, hash: KeyHash) -> usize {
        ((u128::from(hash[0]) * self.slots.len() as u128) >> 64) as usize
    }

    /// The slot that holds the key, or the free one where it belongs.
    fn find(&self, hash: KeyHash) -> usize {
        let slots = self.slots.len();
        let mut at = self.first_slot(hash);
        // There is a free one.
        loop {
            let entry = &self.slots[at];
            if is_free(entry) || entry[..2] == hash {
                return at;
            }
            at += 1;
            if at == slots {
                at = 0;
            }
        }
    }
}

fn is_free(entry: &Entry) -> bool {
    entry[2] == FREE
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn put(map: &mut OffsetMap, key: &[u8], offset: i64) -> Result<(), Full> {
        map.put(map.hash(key), offset)
    }

    fn get(map: &OffsetMap, key: &[u8]) -> Option<i64> {
        map.get(map.hash(key))
    }

    #[test]
    fn memory_is_what_was_given_or_less() {
        for (bytes, keys, slots, keys_max) in [
            (24 * 1000, u64::MAX, 1000, 900),
            (24 * 1000, 90, 101, 90),
            (24 * 1000, 1, 2, 1),
            (24 * 1000, 0, 2, 1),
            (0, 0, 2, 1),
            (25, 1000, 2, 1),
            (24 * 10, 1000, 10, 9),
        ] {
            let map = OffsetMap::new(bytes, keys);
            assert_eq!(
                (map.slots.len(), map.keys_max),
                (slots, keys_max),
                "{bytes} {keys}"
            );
            assert_eq!(map.bytes(), slots * 24);
            assert!(map.keys_max as u64 >= keys.min(1) && map.keys_max < slots);
        }
    }

    #[test]
    fn a_full_map_takes_keys_it_knows_and_no_others() {
        let mut map = OffsetMap::new(24 * 10, 1000);
        for key in 0..9_u8 {
            assert_eq!(put(&mut map, &[key], i64::from(key)), Ok(()));
        }
        assert_eq!(put(&mut map, b"one more", 9), Err(Full));
        assert_eq!(put(&mut map, &[3], 10), Ok(()));
        assert_eq!(
            (get(&map, &[3]), get(&map, b"one more"), map.len()),
            (Some(10), None, 9)
        );
    }

    #[test]
    fn no_part_of_a_hash_says_another_key() {
        let map = OffsetMap::new(24 * 10, 10);
        let key = b"key".to_vec();
        let longer = [key.clone(), vec![0xff]].concat();
        let (short, long) = (map.hash(&key), map.hash(&longer));
        assert!(short[0] != long[0] && short[1] != long[1] && short[0] != short[1]);
        assert_ne!(map.hash(b""), map.hash(&[0]));
    }

    #[test]
    fn an_emptied_map_knows_nothing_and_has_all_its_room() {
        let mut map = OffsetMap::new(24 * 10, 1000);
        assert!(map.has_room_for(9) && !map.has_room_for(10));
        put(&mut map, b"a", 0).unwrap();
        assert!(map.has_room_for(8) && !map.has_room_for(9));
        map.clear();
        assert!(map.has_room_for(9) && !map.has_room_for(10));
        assert_eq!((get(&map, b"a"), map.len()), (None, 0));
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            puts in proptest::collection::vec((proptest::collection::vec(0..3_u8, 0..4), 0..i64::MAX), 0..200),
            bytes in 0..24 * 150_usize,
        ) {
            let mut map = OffsetMap::new(bytes, puts.len() as u64);
            let mut model = HashMap::new();
            for (key, offset) in puts {
                match put(&mut map, &key, offset) {
                    Ok(()) => { model.insert(key, offset); }
                    Err(Full) => prop_assert!(model.len() == map.keys_max && !model.contains_key(&key)),
                }
            }
            prop_assert_eq!(map.len(), model.len());
            for (key, offset) in &model {
                prop_assert_eq!(get(&map, key), Some(*offset));
            }
            prop_assert_eq!(get(&map, b"never put"), None);
        }
    }
}
