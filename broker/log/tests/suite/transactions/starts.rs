//! What a start finds of transactions, whole or damaged.

use super::*;

#[test]
fn a_start_knows_what_was_known_before() {
    for (flushed, clean, page_cache) in [
        (true, true, PageCache::Lost),
        (true, false, PageCache::Lost),
        (false, false, PageCache::Survived),
        (false, false, PageCache::Lost),
    ] {
        let world = World::new(small_segments(400));
        let (directory, log) = world.log();
        fill(&log);
        let expected = knows(&log);
        assert_eq!((expected.0.len(), expected.1), (5, 20));
        if flushed {
            log.flush().unwrap();
        }
        if clean {
            World::stop(directory, log);
        } else {
            drop((directory, log));
        }
        let (_directory, log) = reopened(&world, page_cache);
        assert_eq!(knows(&log), expected, "{flushed} {clean} {page_cache:?}");
        // It goes on where it was.
        write(&log, 2, 1);
        end(&log, 2, false);
        commit_all(&log);
        assert_eq!(log.last_stable_offset(), log.log_end_offset());
        assert_eq!(log.aborted_in(20, 99).unwrap(), [aborted(2, 20, 25, 26)]);
    }
}

/// The files of indexes are as they were when nothing was flushed but the log; or as nobody left them.
#[test]
fn an_index_that_lacks_the_newest_or_has_too_much_is_mended() {
    type Damage = fn(&[u8]) -> Option<Vec<u8>>;
    // As right as any: the marker is not there.
    fn ahead(bytes: &[u8]) -> Vec<u8> {
        let mut ahead = bytes[..34].to_vec();
        ahead[18..26].copy_from_slice(&99_i64.to_be_bytes());
        ahead
    }
    let damage: [(&str, Damage); 7] = [
        ("gone", |_| None),
        ("empty", |_| Some(Vec::new())),
        ("torn", |bytes| Some(bytes[..bytes.len() - 7].to_vec())),
        ("zeros", |bytes| Some(vec![0; bytes.len()])),
        ("twice", |bytes| Some([bytes, &bytes[..34]].concat())),
        ("ahead", |bytes| Some([bytes, &ahead(bytes)].concat())),
        ("of another transaction", |bytes| {
            let mut bytes = bytes.to_vec();
            bytes[2 + 7] += 1;
            Some(bytes)
        }),
    ];
    for (what, damage) in damage {
        let world = World::new(LogConfig::default());
        let (directory, log) = world.log();
        fill(&log);
        let expected = knows(&log);
        drop((directory, log));
        let path = world.partition_dir().join("00000000000000000000.txnindex");
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 5 * 34);
        match damage(&bytes) {
            Some(damaged) => fs::write(&path, damaged).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let (_directory, log) = reopened(&world, PageCache::Lost);
        assert_eq!(knows(&log), expected, "{what}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}");
    }
}

/// Batches of records are checked when the log is in service (ADR 0026), but nobody goes by a marker that is not what it was.
#[test]
fn a_damaged_marker_is_found_by_the_start() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&log);
    commit_all(&log);
    directory.checkpoint().unwrap();
    drop((directory, log));
    let path = world.partition_dir().join("00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    let before_marker = Batches::new(&bytes).next().unwrap().unwrap().1.len();
    let marker = BatchHeader::parse(&bytes[before_marker..]).unwrap();
    assert!(marker.is_control());
    // The epoch of the coordinator.
    bytes[before_marker + marker.total_length() - 2] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (_directory, report) = world.open_after(PageCache::Survived);
    let errors: Vec<_> = report.offline.iter().map(|it| &it.error).collect();
    // So that it is fetched again from another replica.
    let [error @ OpenError::Corrupt { position, .. }] = errors[..] else {
        panic!("{errors:?}");
    };
    assert_eq!(*position, before_marker as u64);
    assert!(error.to_string().contains("CRC"), "{error}");
}

#[test]
fn a_damaged_index_of_a_segment_that_no_start_walks_over_is_made_anew() {
    for closed in [true, false] {
        let world = World::new(small_segments(400));
        let (directory, log) = world.log();
        fill(&log);
        let expected = knows(&log);
        World::stop(directory, log);
        let names = files(&world.partition_dir(), ".txnindex");
        assert!(names.len() > 2);
        let name = if closed {
            &names[1]
        } else {
            names.last().unwrap()
        };
        let path = world.partition_dir().join(name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, [&bytes[..], &[1, 2, 3]].concat()).unwrap();
        let (directory, report) = world.open();
        assert_eq!(report.findings.len(), 1, "{report:?}");
        let log = directory.get(&partition()).unwrap();
        assert_eq!(knows(&log), expected);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}
