//! What a start does, by what it finds: each row on real files, and those that files hardly come to by themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::world::*;
use crate::log_move::unfinished::{Decided, Found, Kind, MoveStep, Records, decide};
use crate::names::{future_directory_name, moved_directory_name};
use crate::{PageCache, TopicPartition, finish_moves};

const U: Uuid = Uuid::from_u128(1);
const V: Uuid = Uuid::from_u128(2);
const KEY: (Uuid, i32) = (TOPIC_ID, 0);

fn found(data: usize, kind: Kind) -> Found {
    Found {
        data,
        path: PathBuf::from(format!("{data}/{kind:?}")),
        kind,
        topic_id: Some(TOPIC_ID),
        partition: partition(),
        records: Records::Some,
    }
}

fn with(records: Records, it: Found) -> Found {
    Found { records, ..it }
}

fn of(topic_id: Option<Uuid>, it: Found) -> Found {
    Found { topic_id, ..it }
}

/// For each step a letter and the directory that it is about.
fn said(decided: &Decided) -> String {
    let steps = decided.steps.iter().map(|step| {
        let (letter, it) = match step {
            MoveStep::Flush(data) => return format!("F{data} "),
            MoveStep::GiveName(it) => ('N', it),
            MoveStep::Remove(it) => ('R', it),
            MoveStep::SetAside(it) => ('A', it),
        };
        let kind = match it.kind {
            Kind::Log => 'l',
            Kind::Future(_) => 'f',
            Kind::Moved(_) => 'm',
        };
        format!("{letter}{kind}{} ", it.data)
    });
    let mut said: String = steps.collect();
    for (set, word) in [
        (&decided.in_doubt, "doubt"),
        (&decided.waiting, "wait"),
        (&decided.going_on, "on"),
    ] {
        if !set.is_empty() {
            assert_eq!(set, &BTreeSet::from([KEY]));
            said += word;
        }
    }
    let named = decided.named_in_doubt().into_iter();
    let named = named.map(|(topic_id, name)| (topic_id, name.partition));
    assert!(named.eq(decided.in_doubt.iter().copied()));
    said.trim().to_owned()
}

#[test]
fn each_row_is_decided_as_the_table_says() {
    let (log, future, moved) = (Kind::Log, Kind::Future, Kind::Moved);
    let other = Some(Uuid::from_u128(99));
    let f = |data, unique| found(data, future(unique));
    let m = |data, unique| found(data, moved(unique));
    let l = |data| found(data, log);
    let empty = |it| with(Records::NeverAny, it);
    let unknown = |it| with(Records::Unknown, it);
    for (n, (found, all_usable, otherwise)) in [
        (vec![m(0, U), f(1, U)], "F0 Nf1 Rm0", "F0 Nf1 Rm0"),
        (vec![m(0, U), l(1)], "F1 Rm0", "F1 Rm0"),
        (vec![m(0, U)], "Am0 doubt", "wait"),
        (vec![f(1, U), l(0)], "on", "on"),
        (vec![f(1, U), l(1)], "F1 Rf1", "F1 Rf1"),
        (vec![f(1, U)], "Af1 doubt", "wait"),
        (vec![m(0, U), f(1, U), l(2)], "F2 Rf1 Rm0", "F2 Rf1 Rm0"),
        (vec![m(0, U), f(2, V), l(1)], "F1 Rm0 on", "F1 Rm0 on"),
        // What no crash of ours leaves.
        (vec![], "", ""),
        (vec![l(0)], "", ""),
        (vec![m(0, U), f(2, V)], "Am0 Af2 doubt", "wait"),
        (vec![f(1, U), f(2, V), l(0)], "Rf1 Rf2", "Rf1 Rf2"),
        // The topic was deleted and made anew.
        (vec![f(1, U), of(other, l(0))], "Af1 doubt", "wait"),
        (vec![f(1, U), of(other, l(1))], "Af1 doubt", "Af1 doubt"),
        (vec![f(1, U), of(other, l(1)), l(0)], "F0 Rf1", "F0 Rf1"),
        (
            vec![m(0, U), f(1, U), of(other, l(0))],
            "F0 Nf1 Rm0",
            "F0 Nf1 Rm0",
        ),
        (
            vec![m(0, U), f(1, U), of(other, l(1))],
            "Af1 Am0 doubt",
            "Af1 Am0 doubt",
        ),
        // Directories that do not tell whose they are.
        (vec![of(None, m(0, U)), f(1, U)], "F0 Nf1 Rm0", "F0 Nf1 Rm0"),
        (vec![m(0, U), of(None, f(1, U))], "F0 Nf1 Rm0", "F0 Nf1 Rm0"),
        (vec![of(None, m(0, U))], "", ""),
        (vec![of(None, f(1, U)), l(0)], "", ""),
        (vec![m(0, U), f(1, U), of(None, l(1))], "wait", "wait"),
        (vec![f(1, U), of(None, l(0))], "wait", "wait"),
        (vec![f(1, U), of(None, l(1))], "wait", "wait"),
        // The log was made anew while the others were away, and nobody has written to it.
        (vec![m(0, U), empty(l(1))], "F1 Am0", "F1 Am0"),
        (
            vec![m(0, U), f(1, U), empty(l(2))],
            "F2 Af1 Am0",
            "F2 Af1 Am0",
        ),
        (vec![f(1, U), empty(l(1))], "F1 Af1", "F1 Af1"),
        (
            vec![m(0, U), f(1, U), unknown(l(2))],
            "F2 Af1 Am0",
            "F2 Af1 Am0",
        ),
        (vec![unknown(m(0, U)), empty(l(1))], "F1 Am0", "F1 Am0"),
        (vec![unknown(m(0, U)), l(1)], "F1 Rm0", "F1 Rm0"),
        (vec![empty(m(0, U)), empty(l(1))], "F1 Rm0", "F1 Rm0"),
        (vec![f(1, U), empty(l(0))], "on", "on"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            said(&decide(&found, true)),
            all_usable,
            "row {n}, all usable"
        );
        assert_eq!(said(&decide(&found, false)), otherwise, "row {n}");
    }
}

/// Of a log with 9 records, one in each of the places.
fn prepare(root: &Path, named: &TopicPartition, places: &[(&str, Kind)]) {
    let made = root.join("made");
    {
        let config_of = |_: &TopicPartition, _| config();
        let handles = crate::FileHandles::new(8);
        let survived = PageCache::Survived;
        let (directory, _) =
            crate::LogDirectory::open(&made, survived, 1, &handles, NOW_MS, &config_of, &|_| {})
                .unwrap();
        let log = directory.create(named.clone(), TOPIC_ID, config(), NOW_MS);
        append(&log.unwrap(), 9);
    }
    for (place, kind) in places {
        let data = root.join(place);
        fs::create_dir_all(&data).unwrap();
        let name = match kind {
            Kind::Log => named.to_string(),
            Kind::Future(unique) => future_directory_name(named, *unique),
            Kind::Moved(unique) => moved_directory_name(named, *unique),
        };
        let target = data.join(&name);
        copy_tree(&made.join(named.to_string()), &target);
        if name.len() == 255 && matches!(kind, Kind::Future(_)) {
            let text = format!("version: 0\npartition: {named}\n");
            fs::write(target.join("partition-name"), text).unwrap();
        }
    }
    fs::remove_dir_all(made).unwrap();
}

/// What the directories end with, after the dot.
fn ends(root: &Path) -> Vec<String> {
    let end = |place: &str, name: String| {
        let end = name.rsplit_once('-').map_or("", |(_, end)| end);
        let end = if end.starts_with(|c: char| c.is_ascii_digit()) {
            "log"
        } else {
            end
        };
        format!("{place} {end}")
    };
    let of = |place| {
        names(&root.join(place))
            .into_iter()
            .map(move |it| end(place, it))
    };
    ["a", "b"].into_iter().flat_map(of).collect()
}

#[test]
fn each_row_is_carried_out_also_for_the_longest_names() {
    let (log, future, moved) = (Kind::Log, Kind::Future, Kind::Moved);
    let long = TopicPartition::new("t".repeat(249), 12345);
    let many = TopicPartition::new("t".repeat(208), 12345);
    for named in [partition(), many, long] {
        for (n, (places, all_usable, expected)) in [
            (
                vec![("a", moved(U)), ("b", future(U))],
                true,
                vec!["a delete", "b log"],
            ),
            (
                vec![("a", moved(U)), ("b", log)],
                false,
                vec!["a delete", "b log"],
            ),
            (vec![("a", moved(U))], true, vec!["a stray"]),
            (vec![("a", moved(U))], false, vec!["a moved"]),
            (
                vec![("a", log), ("b", future(U))],
                true,
                vec!["a log", "b future"],
            ),
            (
                vec![("b", log), ("b", future(U))],
                true,
                vec!["b delete", "b log"],
            ),
            (vec![("b", future(U))], true, vec!["b stray"]),
            (vec![("b", future(U))], false, vec!["b future"]),
            (
                vec![("a", moved(U)), ("b", future(U)), ("a", log)],
                true,
                vec!["a delete", "a log", "b delete"],
            ),
            (
                vec![("b", moved(U)), ("b", future(V)), ("a", log)],
                true,
                vec!["a log", "b delete", "b future"],
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let root = new_root();
            for place in ["a", "b"] {
                fs::create_dir_all(root.path().join(place)).unwrap();
            }
            prepare(root.path(), &named, &places);
            let first = finish_moves(&paths(root.path()), all_usable).unwrap();
            let mut there = ends(root.path());
            there.sort();
            let mut expected = expected;
            expected.sort_unstable();
            assert_eq!(there, expected, "row {n} of {} bytes", named.topic.len());
            let again = finish_moves(&paths(root.path()), all_usable).unwrap();
            let done = (&again.named, &again.removed, &again.set_aside);
            assert_eq!(done, (&vec![], &vec![], &vec![]), "row {n}: once is enough");
            assert_eq!(again.going_on, first.going_on, "row {n}");
            // And the directories open with it.
            let world = World::open_only(root.path(), PageCache::Survived, again);
            world.assert_nothing_is_missed(&format!("row {n}"));
            let logs = world.directories.iter().flat_map(|it| it.logs());
            let futures = world.directories.iter().flat_map(|it| it.futures());
            let count = |end: &str| expected.iter().filter(|it| it.ends_with(end)).count();
            assert_eq!(
                logs.filter(|it| it.partition() == &named).count(),
                count("log")
            );
            assert_eq!(
                futures.filter(|it| it.partition() == &named).count(),
                count("future")
            );
        }
    }
}

/// It was made anew while what the move has left was away: that may be all that there is.
#[test]
fn what_a_move_has_left_goes_only_for_a_log_that_has_held_records() {
    for records in [0, 1] {
        let root = new_root();
        let left = [("b", Kind::Moved(U)), ("b", Kind::Future(U))];
        prepare(root.path(), &partition(), &left);
        let a = root.path().join("a");
        {
            let config_of = |_: &TopicPartition, _| config();
            let handles = crate::FileHandles::new(8);
            let lost = PageCache::Lost;
            let (directory, _) =
                crate::LogDirectory::open(&a, lost, 1, &handles, NOW_MS, &config_of, &|_| {})
                    .unwrap();
            let log = directory.create(partition(), TOPIC_ID, config(), NOW_MS);
            let log = log.unwrap();
            log.assign_leader_epoch(3, NOW_MS);
            append(&log, records);
            log.flush().unwrap();
        }
        if records == 0 {
            // Allocated ahead.
            let path = a.join("orders-0/00000000000000000000.log");
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(4096).unwrap();
        }
        let moves = finish_moves(&paths(root.path()), true).unwrap();
        let end = ["b stray", "b delete"][records as usize];
        assert_eq!(ends(root.path()), ["a log", end, end], "{records}");
        assert!(moves.in_doubt.is_empty(), "the log counts");
        let world = World::open_only(root.path(), PageCache::Survived, moves);
        assert_eq!(world.find().unwrap().1.log_end_offset(), records);
    }
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let error = finish_moves(&paths(root.path()), true).unwrap_err();
    assert!(matches!(error, crate::OpenError::InUse(_)), "{error}");
    drop(world);
}

/// Whoever finds files in a directory takes it for one that was in use.
#[test]
fn an_empty_directory_stays_empty() {
    let root = new_root();
    fs::create_dir(root.path().join("a")).unwrap();
    finish_moves(&paths(root.path()), true).unwrap();
    assert_eq!(fs::read_dir(root.path().join("a")).unwrap().count(), 0);
}

/// Of a creation that a crash interrupted: nothing that was decided waits for it.
#[test]
fn the_rest_of_a_creation_is_not_taken_for_the_log() {
    let root = new_root();
    fs::create_dir_all(root.path().join("b/orders-0")).unwrap();
    prepare(
        root.path(),
        &partition(),
        &[("a", Kind::Moved(U)), ("b", Kind::Future(U))],
    );
    let world = World::open(root.path(), PageCache::Survived);
    let (place, log) = world.find().unwrap();
    assert_eq!((place, log.log_end_offset()), (1, 9));
}

/// [`finish_moves`] may not have been called, by somebody who knows of no moves.
#[test]
fn a_directory_by_itself_deletes_nothing_that_may_be_a_log() {
    let root = new_root();
    let places = [
        ("b", Kind::Log),
        ("b", Kind::Future(U)),
        ("a", Kind::Moved(V)),
    ];
    fs::create_dir_all(root.path().join("a")).unwrap();
    prepare(root.path(), &partition(), &places);
    let world = World::open_only(root.path(), PageCache::Survived, Default::default());
    assert_eq!(ends(root.path()), ["a moved", "b log", "b stray"]);
    drop(world);
    let nameless = future_directory_name(&partition(), V);
    copy_tree(
        &root.path().join("b/orders-0"),
        &root.path().join("b").join(&nameless),
    );
    fs::write(
        root.path()
            .join("b")
            .join(&nameless)
            .join("partition.metadata"),
        "?",
    )
    .unwrap();
    let _world = World::open_only(root.path(), PageCache::Survived, Default::default());
    assert!(names(&root.path().join("b")).contains(&nameless));
}
