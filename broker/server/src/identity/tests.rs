use super::*;

/// By the next process.
fn found(data_dir: &Path) -> (i64, bool) {
    let claimed = claim(data_dir, 0).unwrap();
    (claimed.disk_epoch, claimed.page_cache_survived)
}

#[test]
fn a_directory_keeps_its_node_and_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let first = claim(dir.path(), 3).unwrap().identity;
    assert_eq!(first.cluster_id(), None);
    first.join("A", 1).unwrap();
    let again = claim(dir.path(), 3).unwrap().identity;
    assert_eq!(again.directory_id(), first.directory_id());
    assert_eq!(again.cluster_id().as_deref(), Some("A"));
    let refused = again.join("B", 2).unwrap_err().to_string();
    assert!(
        refused.contains("cluster A") && refused.contains("cluster B"),
        "{refused}"
    );
    let refused = claim(dir.path(), 4).unwrap_err().to_string();
    assert!(
        refused.contains("node 3") && refused.contains("node 4"),
        "{refused}"
    );
}

#[test]
fn partitions_of_nobody_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("lost+found")).unwrap();
    // A crash during the first claim.
    std::fs::write(dir.path().join("meta.properties.tmp"), "node.").unwrap();
    claim(dir.path(), 0).unwrap();
    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir(other.path().join("orders-0")).unwrap();
    let refused = claim(other.path(), 0).unwrap_err().to_string();
    assert!(refused.contains("orders-0"), "{refused}");
}

/// The files below it, `meta.properties` with what it says.
fn contents(data_dir: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(data_dir).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn directories_that_do_not_belong_together_are_refused_and_left_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let [known, copy, stranger, fresh, linked] =
        ["known", "copy", "stranger", "fresh", "linked"].map(|name| dir.path().join(name));
    claim(&known, 0).unwrap().identity.join("A", 7).unwrap();
    claim(&stranger, 0).unwrap().identity.join("B", 9).unwrap();
    std::fs::create_dir(&copy).unwrap();
    let file = foz_quorum::meta_properties::FILE_NAME;
    std::fs::copy(known.join(file), copy.join(file)).unwrap();
    std::os::unix::fs::symlink(dir.path().join("fresh"), &linked).unwrap();
    let within = known.join("within");
    let other_node = dir.path().join("other-node");
    claim(&other_node, 1).unwrap();
    let used = dir.path().join("used");
    std::fs::create_dir_all(used.join("orders-0")).unwrap();
    for (data_dirs, expected) in [
        ([&fresh, &known, &copy], "directory.id"),
        ([&fresh, &known, &stranger], "cluster A"),
        ([&fresh, &known, &stranger], "cluster B"),
        ([&fresh, &known, &linked], "the same directory"),
        ([&fresh, &known, &within], "one is within the other"),
        ([&fresh, &within, &known], "one is within the other"),
        ([&fresh, &known, &other_node], "node 1"),
        ([&fresh, &known, &used], "orders-0"),
    ] {
        let before = contents(&known);
        let refused = claim_all(&data_dirs.map(Clone::clone), 0).unwrap_err();
        let refused = format!("{refused:#}");
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(contents(&fresh), [], "{refused}");
        let _ = std::fs::remove_dir(&within);
        let after = contents(&known);
        let is_within = |(path, _): &&(PathBuf, String)| *path != within;
        let before: Vec<_> = before.iter().filter(is_within).collect();
        assert_eq!(after.iter().collect::<Vec<_>>(), before, "{refused}");
    }
}

#[test]
fn a_new_directory_comes_beside_one_that_has_a_past() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
    claim(&old, 0).unwrap().identity.join("A", 7).unwrap();
    let claimed = claim_all(&[new.clone(), old.clone()], 0).unwrap().usable;
    let past = claimed
        .iter()
        .map(|it| (it.disk_epoch, it.page_cache_survived));
    assert_eq!(past.collect::<Vec<_>>(), [(-1, false), (7, true)]);
    assert_eq!(claimed[0].identity.data_dir(), new);
    assert_ne!(
        claimed[0].identity.directory_id(),
        claimed[1].identity.directory_id()
    );
    for claimed in &claimed {
        claimed.identity.join("A", 8).unwrap();
    }
    let claimed = claim_all(&[old, new], 0).unwrap().usable;
    assert!(
        claimed
            .iter()
            .all(|it| it.disk_epoch == 8 && it.page_cache_survived)
    );
}

#[test]
fn a_new_directory_has_no_past() {
    let dir = tempfile::tempdir().unwrap();
    let claimed = claim(dir.path(), 0).unwrap();
    assert_eq!(claimed.disk_epoch, -1);
    assert!(!claimed.page_cache_survived);
}

#[test]
fn what_was_written_is_there_on_the_same_boot_and_mount_only() {
    let dir = tempfile::tempdir().unwrap();
    let identity = claim(dir.path(), 0).unwrap().identity;
    identity.join("A", 7).unwrap();
    assert_eq!(found(dir.path()), (7, true));

    let written = MetaProperties::read(dir.path()).unwrap().unwrap();
    for key in [BOOT_ID_KEY, MOUNT_KEY] {
        let mut other = written.clone();
        other.other.insert(key.to_owned(), "another".to_owned());
        other.write(dir.path()).unwrap();
        assert_eq!(found(dir.path()), (7, false), "{key}");
    }
    written.write(dir.path()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let file = foz_quorum::meta_properties::FILE_NAME;
    std::fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    assert!(!claim(copy.path(), 0).unwrap().page_cache_survived);
}

#[test]
fn after_a_failed_flush_nobody_believes_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let identity = claim(dir.path(), 0).unwrap().identity;
    identity.join("A", 7).unwrap();
    identity.distrust().unwrap();
    assert_eq!(found(dir.path()), (7, false));
    // Registered again before it stops.
    identity.join("A", 8).unwrap();
    assert_eq!(found(dir.path()), (8, false));
    let next = claim(dir.path(), 0).unwrap().identity;
    next.join("A", 9).unwrap();
    assert_eq!(found(dir.path()), (9, true), "a new life");
}

#[test]
fn data_that_is_fetched_again_is_believed_again() {
    let dir = tempfile::tempdir().unwrap();
    let identity = claim(dir.path(), 0).unwrap().identity;
    identity.join("A", 7).unwrap();
    identity.end_life().unwrap();
    assert_eq!(found(dir.path()), (7, false));
    identity.join("A", 8).unwrap();
    assert_eq!(found(dir.path()), (8, true));
}

#[test]
fn a_life_is_ended_where_there_is_no_room_to_say_so() {
    for has_spare in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let identity = claim(dir.path(), 0).unwrap().identity;
        identity.join("A", 7).unwrap();
        if has_spare {
            spare_file::make(dir.path(), 8_000).unwrap();
        }
        full_once(dir.path());
        identity.distrust().unwrap();
        assert!(!spare_file::release(dir.path()), "it was given for that");
        let left = MetaProperties::read(dir.path()).unwrap().unwrap();
        let boot = left.other.get(BOOT_ID_KEY).map(|id| id.replace('-', ""));
        let expected = (!has_spare).then(String::new);
        assert_eq!(boot, expected, "struck out, or written anew");
        assert_eq!(found(dir.path()), (7, false));
    }
}

#[test]
fn a_directory_joins_where_there_is_no_room_but_what_is_spared() {
    let dir = tempfile::tempdir().unwrap();
    let identity = claim(dir.path(), 0).unwrap().identity;
    identity.join("A", 7).unwrap();
    full_once(dir.path());
    assert!(is_shortage(&identity.join("A", 8).unwrap_err()));
    assert_eq!(identity.broker_epoch(), 7);
    assert_eq!(found(dir.path()), (7, true));
    spare_file::make(dir.path(), 8_000).unwrap();
    full_once(dir.path());
    identity.join("A", 8).unwrap();
    assert!(!spare_file::release(dir.path()), "it was given for that");
    assert_eq!((found(dir.path()), identity.broker_epoch()), ((8, true), 8));
}

/// The next file that is put beside `meta.properties` is one that takes nothing.
fn full_once(data_dir: &Path) {
    let temporary = format!("{}.tmp", foz_quorum::meta_properties::FILE_NAME);
    std::os::unix::fs::symlink("/dev/full", data_dir.join(temporary)).unwrap();
}

/// It may have refused that a flush failed.
#[test]
fn a_disk_that_takes_nothing_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    claim(dir.path(), 0).unwrap().identity.join("A", 7).unwrap();
    // No file can be put beside it.
    let temporary = format!("{}.tmp", foz_quorum::meta_properties::FILE_NAME);
    std::fs::create_dir(dir.path().join(temporary)).unwrap();
    assert!(claim(dir.path(), 0).is_err());
}

fn both(dir: &Path) -> [PathBuf; 2] {
    ["one", "other"].map(|name| dir.join(name))
}

fn doubts(data_dir: &Path) -> BTreeSet<String> {
    doubted(&MetaProperties::read(data_dir).unwrap().unwrap())
}

#[test]
fn what_another_directory_says_of_one_that_failed_counts_until_a_registration_has_said_it() {
    let dir = tempfile::tempdir().unwrap();
    let data_dirs = both(dir.path());
    let claims = claim_all(&data_dirs, 0).unwrap();
    let [one, other] = [0, 1].map(|at: usize| Arc::clone(&claims.usable[at].identity));
    for identity in [&one, &other] {
        identity.join("A", 7).unwrap();
    }
    // Its disk takes not a word.
    other.doubt(one.directory_id()).unwrap();
    other.doubt(one.directory_id()).unwrap();
    let id = one.directory_id().to_string();
    // This process registers again, without it.
    other.join("A", 8).unwrap();
    assert_eq!(doubts(&data_dirs[1]), BTreeSet::from([id.clone()]));

    // It is away: whoever sees it next is to know.
    claim_all(&data_dirs[1..], 0).unwrap().usable[0]
        .identity
        .join("A", 9)
        .unwrap();
    assert_eq!(doubts(&data_dirs[1]), BTreeSet::from([id]));

    for _ in 0..2 {
        let claims = claim_all(&data_dirs, 0).unwrap();
        let found: Vec<_> = claims.usable.iter().collect();
        assert!(found[0].is_doubted && !found[0].page_cache_survived);
        assert_eq!(found[0].disk_epoch, 7);
        assert!(!found[1].is_doubted && found[1].page_cache_survived);
    }
    // The other one joins, and the process ends before this one does.
    let claims = claim_all(&data_dirs, 0).unwrap();
    claims.usable[1].identity.join("A", 10).unwrap();
    assert_eq!(doubts(&data_dirs[1]), BTreeSet::new());
    let claims = claim_all(&data_dirs, 0).unwrap();
    assert!(claims.usable[0].is_doubted && !claims.usable[0].page_cache_survived);
    for claimed in &claims.usable {
        claimed.identity.join("A", 11).unwrap();
    }
    let claims = claim_all(&data_dirs, 0).unwrap();
    let is_believed = |it: &Claimed| !it.is_doubted && it.page_cache_survived;
    assert!(claims.usable.iter().all(is_believed));
}

#[test]
fn one_that_fails_again_before_it_is_registered_is_as_doubtful_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let data_dirs = both(dir.path());
    let claims = claim_all(&data_dirs, 0).unwrap();
    let id = claims.usable[0].identity.directory_id();
    for claimed in &claims.usable {
        claimed.identity.join("A", 7).unwrap();
    }
    claims.usable[1].identity.doubt(id).unwrap();
    let claims = claim_all(&data_dirs, 0).unwrap();
    claims.usable[1].identity.doubt(id).unwrap();
    claims.usable[1].identity.join("A", 8).unwrap();
    assert_eq!(doubts(&data_dirs[1]), BTreeSet::from([id.to_string()]));
}

#[test]
fn a_directory_that_cannot_be_written_is_left_out_and_the_last_one_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let data_dirs = both(dir.path());
    let file = dir.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let dead = file.join("data");
    let claims = claim_all(&[dead.clone(), data_dirs[0].clone()], 0);
    // A mistake in log.dirs, and no failure.
    assert!(format!("{:#}", claims.unwrap_err()).contains("a-file"));
    for (errno, is_failure) in [(5, true), (30, true), (13, true), (2, false), (20, false)] {
        let mut offline = Offline::default();
        let error = io::Error::from_raw_os_error(errno);
        let result = Err::<(), _>(error).context("cannot write").context(errno);
        let result = offline.unless(&dead, result);
        assert_eq!(result.is_ok(), is_failure, "{errno}");
        let reasons: Vec<_> = offline.directories.iter().map(|it| &it.reason).collect();
        assert_eq!(reasons.len(), usize::from(is_failure), "{errno}");
        assert!(
            reasons.iter().all(|it| it.contains("cannot write")),
            "{reasons:?}"
        );
    }
    let refused = MetaPropertiesError::Io {
        path: dead,
        action: "write",
        source: io::Error::from_raw_os_error(5),
    };
    assert!(is_of_disk(&refused.into()));
}

#[test]
fn another_directory_under_the_same_path_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let identity = claim(&data_dir, 0).unwrap().identity;
    assert!(identity.is_in_place().unwrap());
    std::fs::rename(&data_dir, dir.path().join("unmounted")).unwrap();
    assert!(identity.is_in_place().is_err());
    std::fs::create_dir(&data_dir).unwrap();
    assert!(!identity.is_in_place().unwrap());
}
