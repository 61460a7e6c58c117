//! A broker with several directories: what happens to one of them, or to one log, is nothing to the others.

use foz_metadata::image::Image;
use foz_metadata::record::{Batch, DirectoryRecord, Fact, Record, RegisterBrokerRecord};
use foz_metadata::rules::{
    DataDirectory, ErrorCode, LogInDoubt, NewTopic, RegisterBroker, register_broker,
};
use uuid::Uuid;

use crate::support::{cluster, commit, create, epoch, fence, new_topic, registration, unfence};

const DIRECTORIES: [u128; 2] = [1000, 2000];

/// What the next process of broker 0 says: both directories are there and whole. Of the topic `t` partition 0 is in the first,
/// 1 in the second, and 2 in none.
fn next(image: &Image) -> RegisterBroker {
    let known = image.broker(0).unwrap();
    let id = image.topic("t").map_or(Uuid::nil(), |topic| topic.id);
    let directories = DIRECTORIES.into_iter().zip([0, 1]);
    let directories = directories.map(|(directory, index)| DataDirectory {
        id: Uuid::from_u128(directory),
        disk_epoch: known.epoch,
        intact: true,
        logs: vec![(id, index)],
    });
    RegisterBroker {
        directories: directories.collect(),
        ..registration(0, known.incarnation.as_u128() + 1)
    }
}

fn register(image: &mut Image, request: &RegisterBroker) -> i64 {
    let decision = register_broker(image, request).unwrap();
    commit(image, decision)
}

/// The topic `t` with three partitions on three brokers, the first of which has two directories and is fenced.
fn two_directories() -> Image {
    let mut image = cluster(3);
    fence(&mut image, 0);
    let request = next(&image);
    register(&mut image, &request);
    unfence(&mut image, 0);
    let topic = NewTopic {
        assignments: vec![vec![0, 1, 2]; 3],
        config: [("min.insync.replicas".to_owned(), "3".to_owned())].into(),
        ..new_topic("t")
    };
    create(&mut image, topic);
    fence(&mut image, 0);
    assert_eq!((eligible(&image), lost(&image)), ([true; 3], [false; 3]));
    image
}

/// Whether broker 0 still has all of each partition.
fn eligible(image: &Image) -> [bool; 3] {
    [0, 1, 2].map(|index| image.partition("t", index).unwrap().elr.contains(&0))
}

/// Whether it may lack all.
fn lost(image: &Image) -> [bool; 3] {
    [0, 1, 2].map(|index| {
        let partition = image.partition("t", index).unwrap();
        partition.never_in_sync.contains(&0)
    })
}

fn swap(request: &mut RegisterBroker) {
    request.directories[1] = DataDirectory {
        id: Uuid::from_u128(3000),
        disk_epoch: -1,
        intact: true,
        logs: Vec::new(),
    };
}

#[test]
fn a_disk_takes_only_its_own_replicas_along() {
    type Change = fn(&mut RegisterBroker);
    let expected: [(Change, _, _); 6] = [
        (|_| {}, [true; 3], [false; 3]),
        // One more.
        (
            |request| {
                swap(request);
                let second = next_second(request);
                request.directories.push(second);
            },
            [true; 3],
            [false; 3],
        ),
        (
            |request| request.directories[1].intact = false,
            [true, false, false],
            [false; 3],
        ),
        (swap, [true, false, false], [false, true, true]),
        (
            |request| request.directories.truncate(1),
            [true, false, false],
            [false, true, true],
        ),
        (
            |request| request.directories[1].disk_epoch -= 1,
            [true, false, false],
            [false, true, true],
        ),
    ];
    for (at, (change, has_all, has_nothing)) in expected.into_iter().enumerate() {
        let mut image = two_directories();
        let mut request = next(&image);
        change(&mut request);
        register(&mut image, &request);
        assert_eq!(
            (eligible(&image), lost(&image)),
            (has_all, has_nothing),
            "{at}"
        );
        // Once more: nothing comes back by that.
        image = Image::decode(&image.encode()).unwrap();
        let mut again = next(&image);
        again.directories.clone_from(&request.directories);
        for directory in &mut again.directories {
            directory.disk_epoch = epoch(&image, 0);
        }
        register(&mut image, &again);
        assert_eq!(
            (eligible(&image), lost(&image)),
            (has_all, has_nothing),
            "{at}"
        );
    }
}

/// As it was before [`swap`].
fn next_second(request: &RegisterBroker) -> DataDirectory {
    let first = &request.directories[0];
    DataDirectory {
        id: Uuid::from_u128(DIRECTORIES[1]),
        logs: vec![(first.logs[0].0, 1)],
        ..first.clone()
    }
}

#[test]
fn a_log_takes_no_other_along() {
    for missing in [false, true] {
        let mut image = two_directories();
        let mut request = next(&image);
        request.in_doubt = vec![LogInDoubt {
            topic_id: None,
            topic: "t".to_owned(),
            index: 2,
            missing,
        }];
        register(&mut image, &request);
        let expected = ([true, true, false], [false, false, missing]);
        assert_eq!((eligible(&image), lost(&image)), expected);
    }
}

#[test]
fn a_directory_that_was_taken_out_and_comes_back_is_another_one() {
    let mut image = two_directories();
    let mut without = next(&image);
    without.directories.truncate(1);
    let with = next(&image);
    register(&mut image, &without);
    let mut both = next(&image);
    both.directories[1].disk_epoch = with.directories[1].disk_epoch;
    register(&mut image, &both);
    assert_eq!(lost(&image), [false, true, true]);
}

#[test]
fn only_what_was_unfenced_is_heard_by_the_disks_that_were_part_of_it() {
    let mut image = two_directories();
    let heard = epoch(&image, 0);
    let request = next(&image);
    register(&mut image, &request);
    let previous = |image: &Image| {
        let directories = image.broker(0).unwrap().directories.iter();
        directories
            .map(|it| it.previous_epochs.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(previous(&image), [vec![heard], vec![heard]]);
    unfence(&mut image, 0);
    assert_eq!(previous(&image), [Vec::<i64>::new(), vec![]]);
}

#[test]
fn who_asks_again_with_other_directories_registers_anew() {
    let mut image = two_directories();
    let request = next(&image);
    let epoch = register(&mut image, &request);
    let again = register_broker(&image, &request).unwrap();
    assert_eq!((again.answer, again.records), (epoch, vec![]));
    let mut fewer = request.clone();
    fewer.directories.truncate(1);
    assert!(register(&mut image, &fewer) > epoch);
    assert_eq!(lost(&image), [false, true, true]);
}

/// The second was away, and what was in it may have been made anew in the first, which cannot be used now.
#[test]
fn a_directory_that_is_older_than_one_that_is_away_is_not_taken() {
    let mut image = two_directories();
    let before = epoch(&image, 0);
    let mut first = next(&image);
    first.directories.truncate(1);
    first.offline_directories = 1;
    register(&mut image, &first);
    let mut again = next(&image);
    again.directories[1].disk_epoch = before;

    let mut second = again.clone();
    second.directories.remove(0);
    second.offline_directories = 1;
    let third = DataDirectory {
        id: Uuid::from_u128(3000),
        disk_epoch: -1,
        intact: true,
        logs: Vec::new(),
    };
    let mut with_third = second.clone();
    with_third.directories.push(third.clone());
    for request in [&second, &with_third] {
        let refusal = register_broker(&image, request).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidRegistration);
        let older = second.directories[0].id;
        assert_eq!(refusal.older_directories, [older]);
        let message = format!(
            "of broker 0 these directories are older than one that cannot be used now: {older}; bring that one back, or take it out of log.dirs"
        );
        assert_eq!(refusal.message, message);
    }
    // Both are here, or it is said that the other one will not be: what is marked may have been in that one.
    let mut both = image.clone();
    register(&mut both, &again);
    assert_eq!(lost(&both), [false, false, true]);
    let mut taken_out = image.clone();
    second.offline_directories = 0;
    register(&mut taken_out, &second);
    assert_eq!(lost(&taken_out), [true; 3]);

    // Without it, and both are remembered.
    with_third.directories.remove(0);
    with_third.offline_directories = 2;
    register(&mut image, &with_third);
    let offline = [0, 1, 2].map(|index| image.partition("t", index).unwrap().offline.clone());
    assert_eq!(offline, [[0], [0], [0]]);
    let mut all = next(&image);
    let epochs: Vec<_> = image
        .broker(0)
        .unwrap()
        .directories
        .iter()
        .map(|it| (it.id, it.epoch))
        .collect();
    for directory in &mut all.directories {
        directory.disk_epoch = epochs.iter().find(|it| it.0 == directory.id).unwrap().1;
    }
    all.directories.push(DataDirectory {
        disk_epoch: epoch(&image, 0),
        ..third
    });
    register(&mut image, &all);
    let offline = [0, 1, 2].map(|index| image.partition("t", index).unwrap().offline.clone());
    assert_eq!(offline, [[], [], [0; 0]]);
    assert_eq!(lost(&image), [false, false, true]);
}

#[test]
fn directories_that_cannot_be_are_refused() {
    let image = two_directories();
    let refused = |change: &dyn Fn(&mut RegisterBroker)| {
        let mut request = next(&image);
        change(&mut request);
        let refusal = register_broker(&image, &request).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidRegistration);
        refusal.message
    };
    let message = refused(&|request| request.directories[1].id = request.directories[0].id);
    assert!(message.contains("the same directory.id"), "{message}");
    let message = refused(&|request| request.offline_directories = -1);
    assert!(message.contains("is -1 and must be 0 or more"), "{message}");
    let message = refused(&|request| request.directories[1].id = Uuid::from_u128(1001));
    assert!(
        message.contains("belongs to broker 1, not to broker 0"),
        "{message}"
    );
    let message = refused(&|request| {
        let more = (0..63).map(|id| DataDirectory {
            id: Uuid::from_u128(5000 + id),
            disk_epoch: -1,
            intact: false,
            logs: Vec::new(),
        });
        request.directories.extend(more);
    });
    assert!(
        message.contains("65 directories") && message.contains("64 are the most"),
        "{message}"
    );
}

/// Versions before this one knew ids alone.
#[test]
fn a_registration_of_an_older_version_is_read_as_it_was_meant() {
    let id = |directory: u128| Uuid::from_u128(directory).as_bytes().to_vec().into();
    let record = RegisterBrokerRecord {
        node_id: 0,
        epoch: 7,
        incarnation: id(1),
        directory_ids: vec![id(1000), id(2000)],
        previous_epochs: vec![3, 5],
        host: "h".to_owned(),
        port: 9092,
        ..RegisterBrokerRecord::default()
    };
    let of_now = RegisterBrokerRecord {
        directory_ids: Vec::new(),
        previous_epochs: Vec::new(),
        directories: [1000, 2000]
            .map(|directory| DirectoryRecord {
                id: id(directory),
                epoch: 7,
                previous_epochs: vec![3, 5],
            })
            .into(),
        ..record.clone()
    };
    let read = |record| {
        let batch = Batch {
            follows: 0,
            term: 1,
            records: vec![Record::from(Fact::RegisterBroker(record))],
        };
        Image::default().apply(&batch).unwrap()
    };
    let image = read(record);
    assert_eq!(image.broker(0).unwrap().directories.len(), 2);
    assert_eq!(image, read(of_now));
    assert_eq!(Image::decode(&image.encode()).unwrap(), image);
}
