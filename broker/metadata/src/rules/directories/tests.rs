use super::*;
use crate::image::{NO_LEADER, SupportedFeatures};

const ME: i32 = 1;
/// Of the broker's newest registration, and of those before.
const NEWEST: i64 = 20;
const UNHEARD: i64 = 15;
const OLDER: i64 = 10;
const T: Uuid = Uuid::from_u128(77);

fn id(directory: u128) -> Uuid {
    Uuid::from_u128(directory)
}

/// Each with the epochs that its disk may name, the newest first.
fn known(directories: &[(u128, &[i64])]) -> Broker {
    let directories = directories.iter().map(|(directory, epochs)| Directory {
        id: id(*directory),
        epoch: epochs[0],
        previous_epochs: epochs[1..].iter().rev().copied().collect(),
    });
    Broker {
        node_id: ME,
        epoch: NEWEST,
        incarnation: id(9),
        directories: directories.collect(),
        host: "h".to_owned(),
        port: 9092,
        replication_host: "h".to_owned(),
        replication_port: 9091,
        reported_rack: None,
        version: "1".to_owned(),
        features: SupportedFeatures::of_this_program(),
        fenced: true,
        stopping: false,
        short_of_space: false,
    }
}

/// As its broker finds it; `logs` are indexes of the topic.
fn found(directory: u128, disk_epoch: i64, intact: bool, logs: &[i32]) -> DataDirectory {
    DataDirectory {
        id: id(directory),
        disk_epoch,
        intact,
        logs: logs.iter().map(|index| (T, *index)).collect(),
    }
}

fn replicas(replicas: &[i32], never_in_sync: &[i32]) -> Partition {
    Partition {
        replicas: replicas.to_vec(),
        isr: Vec::new(),
        leader: NO_LEADER,
        leader_epoch: 1,
        partition_epoch: 1,
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        never_in_sync: never_in_sync.to_vec(),
        adding_replicas: Vec::new(),
        removing_replicas: Vec::new(),
        rebalance_id: 0,
        offline: Vec::new(),
    }
}

fn in_doubt(topic_id: Option<Uuid>, topic: &str, index: i32, missing: bool) -> LogInDoubt {
    LogInDoubt {
        topic_id,
        topic: topic.to_owned(),
        index,
        missing,
    }
}

struct Case {
    known: Option<Broker>,
    found: Vec<DataDirectory>,
    offline: i32,
    in_doubt: Vec<LogInDoubt>,
}

impl Case {
    fn of(known: &[(u128, &[i64])], found: Vec<DataDirectory>, offline: i32) -> Self {
        Self {
            known: Some(self::known(known)),
            found,
            offline,
            in_doubt: Vec::new(),
        }
    }

    fn doubting(self, in_doubt: Vec<LogInDoubt>) -> Self {
        Self { in_doubt, ..self }
    }

    fn disks(&self) -> Disks<'_> {
        Disks::judge(
            (ME, NEWEST + 1),
            self.known.as_ref(),
            &self.found,
            self.offline,
            &self.in_doubt,
        )
    }

    fn of_replica(&self, index: i32, partition: &Partition) -> ReplicaData {
        self.disks().of_replica((T, "t", index), partition)
    }
}

use ReplicaData::{EndInDoubt, Lost, Offline, Whole};

/// Partition 0 is in the first directory, 1 in the second, 2 in none.
#[test]
fn a_replica_is_what_the_directory_is_that_its_log_is_in() {
    let both: &[(u128, &[i64])] = &[(1, &[NEWEST]), (2, &[NEWEST])];
    // The second missed the newest registration.
    let one_behind: &[(u128, &[i64])] = &[(1, &[NEWEST]), (2, &[OLDER])];
    let whole = || found(1, NEWEST, true, &[0]);
    let second = |disk_epoch, intact| found(2, disk_epoch, intact, &[1]);
    for (known, found, offline, expected) in [
        // All are here and whole.
        (
            both,
            vec![whole(), second(NEWEST, true)],
            0,
            [Whole, Whole, Whole],
        ),
        (
            both,
            vec![whole(), second(NEWEST, true)],
            1,
            [Whole, Whole, Whole],
        ),
        (
            both,
            vec![whole(), second(NEWEST, true), self::found(3, -1, true, &[])],
            0,
            [Whole, Whole, Whole],
        ),
        // Of which the other one lost power.
        (
            both,
            vec![whole(), second(NEWEST, false)],
            0,
            [Whole, EndInDoubt, EndInDoubt],
        ),
        // What is offline then was never part of it.
        (
            both,
            vec![whole(), second(NEWEST, false)],
            1,
            [Whole, EndInDoubt, EndInDoubt],
        ),
        // An older state of it, which says that it has everything.
        (
            both,
            vec![whole(), second(OLDER, true)],
            0,
            [Whole, Lost, Lost],
        ),
        (
            both,
            vec![whole(), second(-1, true)],
            0,
            [Whole, Lost, Lost],
        ),
        // Swapped.
        (
            both,
            vec![whole(), self::found(3, -1, true, &[])],
            0,
            [Whole, Lost, Lost],
        ),
        // Swapped for one with logs, of which nobody knows what they are.
        (
            both,
            vec![whole(), self::found(3, NEWEST, true, &[1])],
            0,
            [Whole, Lost, Lost],
        ),
        // Taken out.
        (both, vec![whole()], 0, [Whole, Lost, Lost]),
        // It cannot be used.
        (both, vec![whole()], 1, [Whole, Offline, Offline]),
        (
            both,
            vec![found_of(1, false)],
            1,
            [EndInDoubt, Offline, Offline],
        ),
        (
            both,
            vec![self::found(1, OLDER, true, &[0])],
            1,
            [Lost, Offline, Offline],
        ),
        // One of the two is swapped, and the other cannot be used: it may have been there.
        (
            both,
            vec![self::found(3, -1, true, &[])],
            1,
            [Offline, Offline, Offline],
        ),
        // Back, after a registration without it; it does not have the log that is nowhere.
        (
            one_behind,
            vec![whole(), second(OLDER, true)],
            0,
            [Whole, EndInDoubt, Lost],
        ),
        (
            one_behind,
            vec![whole(), second(OLDER, false)],
            0,
            [Whole, EndInDoubt, Lost],
        ),
        // Another registered in its place since would have another id; a copy of before has another epoch.
        (
            one_behind,
            vec![whole(), second(OLDER - 1, true)],
            0,
            [Whole, Lost, Lost],
        ),
        (
            one_behind,
            vec![whole(), second(NEWEST, true)],
            0,
            [Whole, Lost, Lost],
        ),
        // The other one is taken out: what is offline may have been in that one, made anew.
        (one_behind, vec![second(OLDER, true)], 0, [Lost, Lost, Lost]),
        (
            one_behind,
            vec![second(OLDER, true), self::found(3, -1, true, &[])],
            0,
            [Lost, Lost, Lost],
        ),
        // Or it is an older state of it.
        (
            one_behind,
            vec![second(OLDER, true), self::found(1, OLDER - 1, true, &[0])],
            0,
            [Lost, Lost, Lost],
        ),
        (one_behind, vec![whole()], 1, [Whole, Offline, Offline]),
        (one_behind, vec![whole()], 0, [Whole, Lost, Lost]),
    ] {
        let case = Case::of(known, found, offline);
        let is_back = known[1].1 == [OLDER];
        let data = [0, 1, 2].map(|index| {
            let mut partition = replicas(&[1, 2, 3], &[]);
            if is_back && index > 0 {
                partition.offline = vec![ME];
            }
            case.of_replica(index, &partition)
        });
        assert_eq!(data, expected, "{known:?} {:?} {offline}", case.found);
    }
}

fn found_of(directory: u128, intact: bool) -> DataDirectory {
    found(directory, NEWEST, intact, &[0])
}

#[test]
fn a_registration_that_nobody_heard_of_changed_no_disk() {
    // Both were part of two registrations since they were unfenced with the oldest.
    let unheard: &[(u128, &[i64])] = &[
        (1, &[NEWEST, UNHEARD, OLDER]),
        (2, &[NEWEST, UNHEARD, OLDER]),
    ];
    for (epochs, expected) in [
        ([NEWEST, NEWEST], [Whole, Whole]),
        ([OLDER, OLDER], [Whole, Whole]),
        // It ended while it wrote that down.
        ([UNHEARD, OLDER], [Whole, Whole]),
        ([NEWEST, OLDER], [Whole, Whole]),
        ([OLDER, OLDER - 1], [Whole, Lost]),
        ([OLDER, UNHEARD - 1], [Whole, Lost]),
    ] {
        let directories = vec![
            found(1, epochs[0], true, &[0]),
            found(2, epochs[1], true, &[1]),
        ];
        let case = Case::of(unheard, directories, 0);
        let data = [0, 1].map(|index| case.of_replica(index, &replicas(&[1], &[])));
        assert_eq!(data, expected, "{epochs:?}");
    }
    // It was away in the newest one, and in none that it did not hear of before.
    let away: &[(u128, &[i64])] = &[(1, &[NEWEST]), (2, &[UNHEARD, OLDER])];
    let directories = vec![found(1, NEWEST, true, &[0]), found(2, OLDER, true, &[1])];
    let case = Case::of(away, directories, 0);
    let offline = Partition {
        offline: vec![ME],
        ..replicas(&[1], &[])
    };
    assert_eq!(case.of_replica(1, &offline), EndInDoubt);
}

/// Its broker was counted on with another log while this one was away.
#[test]
fn a_log_that_was_away_while_another_one_took_its_place_is_lost() {
    let known: &[(u128, &[i64])] = &[(1, &[NEWEST]), (2, &[OLDER])];
    let partition = replicas(&[1, 2, 3], &[]);
    let back = || found(2, OLDER, true, &[0]);
    for (first, offline, expected) in [
        // The newer one is there, and this one is set aside.
        (Some(found(1, NEWEST, true, &[0])), 0, Whole),
        (Some(found(1, NEWEST, false, &[0])), 0, EndInDoubt),
        (Some(found(1, OLDER - 1, true, &[0])), 0, Lost),
        // Nobody knows where it is.
        (Some(found(1, NEWEST, true, &[])), 0, Lost),
        (None, 0, Lost),
    ] {
        for turned in [false, true] {
            let mut found = vec![back()];
            found.extend(first.clone());
            if turned {
                found.reverse();
            }
            let case = Case::of(known, found, offline);
            assert_eq!(
                case.of_replica(0, &partition),
                expected,
                "{first:?} {offline}"
            );
        }
    }
}

/// What is in it may have been made anew in the one that is away, and nobody would know that after the next registration.
#[test]
fn a_directory_that_is_older_than_one_that_is_away_is_named() {
    let known = known(&[
        (1, &[NEWEST]),
        (2, &[UNHEARD, OLDER]),
        (3, &[OLDER]),
        (4, &[OLDER]),
    ]);
    // What was taken out before is older than all, and so may be an older state of one; what was never used holds nothing.
    for (second, expected) in [
        (found(5, OLDER - 1, true, &[]), vec![id(5)]),
        (found(5, -1, true, &[]), vec![]),
        (found(2, OLDER - 1, true, &[]), vec![id(2)]),
        (found(2, UNHEARD, true, &[]), vec![]),
        (found(2, OLDER, true, &[]), vec![]),
    ] {
        let found = [found(1, NEWEST, true, &[]), second];
        assert_eq!(older_than_away(&known, &found), expected, "{found:?}");
    }
    for (here, expected) in [
        (vec![1, 2, 3, 4], vec![]),
        // The newest that are away count.
        (vec![1], vec![]),
        (vec![1, 2, 5], vec![]),
        (vec![1, 3, 4], vec![3, 4]),
        (vec![1, 4, 2], vec![]),
        (vec![5, 2, 3], vec![2, 3]),
        (vec![4], vec![4]),
        (vec![5], vec![]),
    ] {
        let epoch = |directory: u128| match directory {
            1 => NEWEST,
            5 => -1,
            _ => OLDER,
        };
        let found = here
            .iter()
            .map(|directory| found(*directory, epoch(*directory), true, &[]));
        let found: Vec<_> = found.collect();
        let expected: Vec<_> = expected.into_iter().map(id).collect();
        assert_eq!(older_than_away(&known, &found), expected, "{here:?}");
    }
}

/// It was in a directory that is not here any more, and the others would have it if it had been made anew.
#[test]
fn a_replica_that_comes_back_without_a_log_is_lost() {
    let both: &[(u128, &[i64])] = &[(1, &[NEWEST]), (2, &[NEWEST])];
    let whole = || vec![found(1, NEWEST, true, &[0]), found(2, NEWEST, true, &[1])];
    for (here, offline, expected) in [
        (whole(), 0, [Whole, Whole, Lost]),
        // What cannot be used then was never part of it.
        (whole(), 1, [Whole, Whole, Lost]),
        (whole()[..1].to_vec(), 1, [Whole, Offline, Offline]),
        (whole()[..1].to_vec(), 0, [Whole, Lost, Lost]),
    ] {
        let case = Case::of(both, here, offline);
        for replicas in [&[1][..], &[1, 2, 3]] {
            let marked = Partition {
                offline: vec![ME],
                ..self::replicas(replicas, &[])
            };
            let data = [0, 1, 2].map(|index| case.of_replica(index, &marked));
            assert_eq!(data, expected, "{:?} {offline} {replicas:?}", case.found);
        }
        let unmarked = case.of_replica(2, &self::replicas(&[1, 2, 3], &[]));
        assert_eq!(unmarked == Whole, case.found.len() == 2);
    }
}

/// The process ended between a registration and its writing down.
#[test]
fn a_new_directory_that_did_not_hear_of_its_registration_takes_nothing_from_the_others() {
    let known: &[(u128, &[i64])] = &[(1, &[NEWEST]), (2, &[NEWEST, -1])];
    for (second, expected) in [
        (found(2, -1, false, &[]), [Whole, Whole]),
        // Somebody has put it there.
        (found(2, -1, false, &[1]), [EndInDoubt, EndInDoubt]),
        (found(2, NEWEST, false, &[]), [EndInDoubt, EndInDoubt]),
        // Another disk.
        (found(3, -1, false, &[]), [Lost, Lost]),
    ] {
        let case = Case::of(known, vec![found(1, NEWEST, true, &[0]), second], 0);
        let data = [1, 2].map(|index| case.of_replica(index, &replicas(&[1], &[])));
        assert_eq!(data, expected, "{:?}", case.found[1]);
        assert_eq!(case.of_replica(0, &replicas(&[1], &[])), Whole);
    }
    // Since then it was unfenced with its newest registration.
    let unfenced: &[(u128, &[i64])] = &[(1, &[NEWEST]), (2, &[NEWEST])];
    let found = vec![found(1, NEWEST, true, &[0]), found(2, -1, false, &[])];
    let case = Case::of(unfenced, found, 0);
    assert_eq!(case.of_replica(2, &replicas(&[1], &[])), Lost);
}

#[test]
fn nobody_vouches_for_what_was_never_registered() {
    let new = || vec![found(1, -1, true, &[]), found(2, NEWEST, true, &[1])];
    let nobody = Case {
        known: None,
        found: new(),
        offline: 0,
        in_doubt: Vec::new(),
    };
    for case in [nobody, Case::of(&[], new(), 0), Case::of(&[], new(), 1)] {
        for index in [1, 2] {
            assert_eq!(case.of_replica(index, &replicas(&[1], &[])), Lost);
        }
    }
}

#[test]
fn nobody_waits_for_a_replica_that_nobody_counts_on() {
    let case = || {
        Case::of(
            &[(1, &[NEWEST]), (2, &[NEWEST])],
            vec![found_of(1, true)],
            1,
        )
    };
    for (partition, expected) in [
        (replicas(&[1, 2, 3], &[]), Offline),
        (replicas(&[1, 2, 3], &[2]), Offline),
        (replicas(&[1, 2, 3], &[1]), Lost),
        // What it has is all there is.
        (replicas(&[1], &[1]), Offline),
    ] {
        assert_eq!(case().of_replica(1, &partition), expected, "{partition:?}");
        assert_eq!(case().of_replica(0, &partition), Whole, "{partition:?}");
    }
}

#[test]
fn a_log_in_doubt_is_so_alone() {
    let both: &[(u128, &[i64])] = &[(1, &[NEWEST]), (2, &[NEWEST])];
    let of = |doubt: &LogInDoubt, second: Option<DataDirectory>, offline| {
        let mut found = vec![found(1, NEWEST, true, &[0, 1])];
        found.extend(second);
        let case = Case::of(both, found, offline).doubting(vec![doubt.clone()]);
        [0, 1, 2].map(|index| case.of_replica(index, &replicas(&[1, 2], &[])))
    };
    let second = || Some(found(2, NEWEST, true, &[]));
    let other = Uuid::from_u128(78);
    for (doubt, expected) in [
        (in_doubt(Some(T), "t", 0, false), [EndInDoubt, Whole, Whole]),
        // Under the name that it had before.
        (in_doubt(Some(T), "u", 0, false), [EndInDoubt, Whole, Whole]),
        (in_doubt(Some(other), "t", 0, false), [Whole, Whole, Whole]),
        // Its files do not tell of which topic it is.
        (in_doubt(None, "t", 0, false), [EndInDoubt, Whole, Whole]),
        (in_doubt(None, "u", 0, false), [Whole, Whole, Whole]),
        (in_doubt(None, "t", 2, false), [Whole, Whole, EndInDoubt]),
        // Nothing is there of it.
        (in_doubt(None, "t", 2, true), [Whole, Whole, Lost]),
        // Of an earlier topic of that name, and this one has its log.
        (in_doubt(None, "t", 1, true), [Whole, EndInDoubt, Whole]),
    ] {
        assert_eq!(of(&doubt, second(), 0), expected, "{doubt:?}");
    }
    let damaged = in_doubt(None, "t", 2, false);
    let missing = in_doubt(None, "t", 2, true);
    // It may be in the one that cannot be used.
    assert_eq!(of(&damaged, None, 1)[2], Offline);
    // It was in the one that is here, and nobody would know that later.
    assert_eq!(of(&missing, None, 1)[2], Lost);
    let case = Case::of(both, vec![found(1, NEWEST, true, &[])], 1).doubting(vec![missing]);
    assert_eq!(case.of_replica(2, &replicas(&[1], &[])), Offline);
    assert_eq!(of(&damaged, None, 0)[2], Lost);
    let lost = Some(found(2, OLDER, true, &[0]));
    let damaged = in_doubt(Some(T), "t", 0, false);
    // In two directories: the newer one counts.
    assert_eq!(of(&damaged, lost.clone(), 0)[0], EndInDoubt);
    let as_new = Some(found(2, NEWEST, false, &[1]));
    assert_eq!(of(&in_doubt(None, "u", 0, false), as_new, 0)[1], EndInDoubt);
    let other = in_doubt(Some(T), "t", 1, false);
    assert_eq!(of(&other, lost, 0), [Whole, EndInDoubt, Lost]);
    // Said twice: the worse of it.
    for order in [[0, 1], [1, 0]] {
        let said = [
            in_doubt(Some(T), "t", 2, true),
            in_doubt(None, "t", 2, false),
        ];
        let said = order.map(|at| said[at].clone()).to_vec();
        let case = Case::of(
            both,
            vec![found(1, NEWEST, true, &[]), found(2, NEWEST, true, &[])],
            0,
        );
        let data = case.doubting(said).of_replica(2, &replicas(&[1, 2], &[]));
        assert_eq!(data, Lost);
    }
}

/// A log of which nobody knows the topic may be that of any topic of its name, but of none whose log is known.
#[test]
fn a_deleted_topic_whose_log_is_here_is_not_in_doubt_for_its_name() {
    let both: &[(u128, &[i64])] = &[(1, &[NEWEST]), (2, &[NEWEST])];
    for (topic_id, listed, expected, of_live) in [
        (None, &[0][..], Whole, EndInDoubt),
        (None, &[], EndInDoubt, EndInDoubt),
        (Some(T), &[0], EndInDoubt, EndInDoubt),
    ] {
        let found = vec![found(1, NEWEST, true, listed), found(2, NEWEST, true, &[])];
        let doubt = in_doubt(topic_id, "t", 0, false);
        let case = Case::of(both, found, 0).doubting(vec![doubt]);
        let (disks, partition) = (case.disks(), replicas(&[1], &[]));
        let deleted = disks.of_deleted_replica((T, "t", 0), &partition);
        assert_eq!(deleted, expected, "{topic_id:?} {listed:?}");
        assert_eq!(disks.of_replica((T, "t", 0), &partition), of_live);
    }
}

#[test]
fn what_may_come_back_is_not_forgotten() {
    let before: &[(u128, &[i64])] = &[
        (1, &[NEWEST]),
        (2, &[UNHEARD, OLDER]),
        (3, &[NEWEST, OLDER]),
    ];
    let after = |offline| {
        let found = vec![
            found(1, NEWEST, false, &[]),
            found(3, -1, true, &[]),
            found(4, -1, true, &[]),
        ];
        let case = Case::of(before, found, offline);
        let directories = case.disks().directories().to_vec();
        let directories = directories.into_iter();
        let directories = directories.map(|it| (it.id.as_u128(), it.epoch, it.previous_epochs));
        directories.collect::<Vec<_>>()
    };
    let here = [
        (1, NEWEST + 1, vec![NEWEST]),
        // The right disk is not that one any more.
        (3, NEWEST + 1, vec![]),
        // It does not know yet that it is one.
        (4, NEWEST + 1, vec![-1]),
    ];
    assert_eq!(after(0), here);
    assert_eq!(after(1)[..3], here);
    assert_eq!(after(1)[3..], [(2, UNHEARD, vec![OLDER])]);
}
