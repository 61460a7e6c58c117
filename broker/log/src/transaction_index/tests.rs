use proptest::prelude::*;

use super::*;

fn aborted(first_offset: i64, marker_offset: i64, last_stable_offset: i64) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: 7,
        first_offset,
        marker_offset,
        last_stable_offset,
    }
}

fn append(index: &TransactionIndex, entry: AbortedTransaction) {
    index.write_ahead(&entry).unwrap();
    index.publish(&entry);
}

fn found(index: &TransactionIndex, from: i64, to: i64) -> (Vec<AbortedTransaction>, bool) {
    let mut found = Vec::new();
    let is_complete = index.collect(from, to, &mut found).unwrap();
    (found, is_complete)
}

struct World {
    dir: tempfile::TempDir,
    handles: Arc<FileHandles>,
}

impl World {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            handles: FileHandles::new(4),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("00000000000000000010.txnindex")
    }

    fn open(&self) -> Option<TransactionIndex> {
        if !self.path().exists() {
            return Some(TransactionIndex::new(&self.handles, self.path()));
        }
        TransactionIndex::open(&self.handles, self.path(), 10).unwrap()
    }
}

#[test]
fn what_overlaps_is_found_and_the_walk_ends_where_everything_was_decided() {
    let world = World::new();
    let index = world.open().unwrap();
    assert_eq!(found(&index, 0, i64::MAX), (vec![], false));
    assert!(!world.path().exists());
    let entries = [aborted(4, 12, 11), aborted(13, 14, 11), aborted(11, 20, 21)];
    entries.iter().for_each(|entry| append(&index, *entry));
    for (from, to, expected, is_complete) in [
        (0, 5, &entries[..1], true),
        (0, 11, &entries[..1], true),
        (12, 12, &[entries[0], entries[2]][..], true),
        (13, 13, &entries[2..], true),
        (12, 14, &entries[..], true),
        (13, 21, &entries[1..], true),
        (13, 22, &entries[1..], false),
        (21, 22, &[][..], false),
    ] {
        let (aborted, complete) = found(&index, from, to);
        assert_eq!(
            (&aborted[..], complete),
            (expected, is_complete),
            "{from} {to}"
        );
    }
    let again = world.open().unwrap();
    assert_eq!(found(&again, 12, 14).0, entries);
    assert_eq!(again.last_marker_offset(), Some(20));
}

#[test]
fn what_was_only_written_ahead_does_not_count() {
    let world = World::new();
    let index = world.open().unwrap();
    append(&index, aborted(4, 12, 13));
    index.write_ahead(&aborted(13, 14, 15)).unwrap();
    assert_eq!(found(&index, 0, 99).0, [aborted(4, 12, 13)]);
    assert_eq!(fs::metadata(world.path()).unwrap().len(), 68);
    append(&index, aborted(13, 15, 16));
    assert_eq!(
        found(&index, 0, 99).0,
        [aborted(4, 12, 13), aborted(13, 15, 16)]
    );
    index.write_ahead(&aborted(16, 17, 18)).unwrap();
    index.trim().unwrap();
    assert_eq!(fs::metadata(world.path()).unwrap().len(), 68);
}

#[test]
fn a_walk_that_finds_what_is_there_writes_nothing() {
    let world = World::new();
    let index = world.open().unwrap();
    let entries = [aborted(4, 12, 13), aborted(13, 14, 15), aborted(15, 16, 17)];
    entries.iter().for_each(|entry| append(&index, *entry));
    let before = fs::metadata(world.path()).unwrap().modified().unwrap();
    let index = world.open().unwrap();
    index.keep_before(14).unwrap();
    assert_eq!(index.last_marker_offset(), Some(12));
    index.go_on_with(&entries[1..], true).unwrap();
    assert_eq!(found(&index, 0, 99).0, entries);
    assert_eq!(
        fs::metadata(world.path()).unwrap().modified().unwrap(),
        before
    );
    // What is in memory need not be on the disk.
    index.keep_before(14).unwrap();
    index.go_on_with(&entries[1..], false).unwrap();
    let rewritten = fs::metadata(world.path()).unwrap().modified().unwrap();
    assert_ne!(rewritten, before);
    index.keep_before(13).unwrap();
    index.go_on_with(&[aborted(3, 15, 16)], true).unwrap();
    assert_eq!(
        found(&world.open().unwrap(), 0, 99).0,
        [entries[0], aborted(3, 15, 16)]
    );
}

#[test]
fn what_cannot_be_an_index_is_not_opened() {
    let entry = |first, marker, stable| {
        let mut bytes = Vec::new();
        aborted(first, marker, stable).encode(&mut bytes);
        bytes
    };
    let good = entry(4, 12, 13);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let world = World::new();
    for (bytes, is_one) in [
        (good.clone(), true),
        (Vec::new(), true),
        ([good.clone(), entry(13, 14, 15)].concat(), true),
        (good[..33].to_vec(), false),
        ([&good[..], &[0]].concat(), false),
        // A version, a producer, offsets that cannot be.
        (with(1, 1), false),
        (with(2, 0x80), false),
        (with(10, 0x80), false),
        (with(17, 13), false),
        (with(33, 14), false),
        (entry(12, 12, 13), false),
        (vec![0; 34], false),
        (entry(4, 9, 10), false),
        ([good.clone(), good.clone()].concat(), false),
    ] {
        fs::write(world.path(), &bytes).unwrap();
        assert_eq!(world.open().is_some(), is_one, "{bytes:?}");
    }
}

#[test]
fn damage_that_comes_later_is_an_error_and_no_answer() {
    let world = World::new();
    let index = world.open().unwrap();
    append(&index, aborted(4, 12, 13));
    fs::write(world.path(), [0xff; 34]).unwrap();
    let error = index.collect(0, 99, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("entry 0"), "{error}");
    assert!(!error.is_of_disk());
}

proptest! {
    #[test]
    fn it_is_a_list(
        steps in proptest::collection::vec((1..9_i64, 0..30_i64, 0..8_u8), 1..60),
    ) {
        let world = World::new();
        let mut index = world.open().unwrap();
        let (mut list, mut offset) = (Vec::<AbortedTransaction>::new(), 10);
        for (gap, back, what) in steps {
            match what {
                0..=4 => {
                    offset += gap;
                    let first = (offset - 1 - back).max(0);
                    let entry = aborted(first, offset, (offset + 1 - back / 2).max(0));
                    list.push(entry);
                    append(&index, entry);
                }
                5 => {
                    offset = (offset - back).max(10);
                    list.retain(|entry| entry.marker_offset < offset);
                    index.become_these(&list).unwrap();
                }
                6 => {
                    let from = offset - back;
                    let rest: Vec<_> = list
                        .iter()
                        .filter(|entry| entry.marker_offset >= from && entry.first_offset % 2 == 0)
                        .copied()
                        .collect();
                    list.retain(|entry| entry.marker_offset < from);
                    list.extend(&rest);
                    index.keep_before(from).unwrap();
                    index.go_on_with(&rest, gap % 2 == 0).unwrap();
                }
                _ => index = world.open().unwrap(),
            }
            prop_assert_eq!(index.len() as usize, list.len());
            let last = list.last().map(|entry| entry.marker_offset);
            prop_assert_eq!(index.last_marker_offset(), last);
            let (from, to) = (offset - back, offset - back + gap);
            let expected: Vec<_> = list
                .iter()
                .filter(|entry| entry.marker_offset >= from && entry.first_offset < to)
                .copied()
                .collect();
            let (found, is_complete) = found(&index, from, to);
            // Where the walk ends early, what comes later is not asked for.
            let same = if is_complete { expected.starts_with(&found) } else { expected == found };
            prop_assert!(same, "{:?} {:?}", expected, found);
        }
    }
}
