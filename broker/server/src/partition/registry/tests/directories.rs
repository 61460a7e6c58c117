//! Several data directories.

use foz_metadata::record::{
    DeleteTopicRecord, PurgeDeletedTopicRecord, Record, RestoreTopicRecord,
};

use super::*;

pub(super) fn world_of(directories: usize) -> World {
    let data = tempfile::tempdir().unwrap();
    for n in 0..directories {
        fs::create_dir(data.path().join(format!("data-{n}"))).unwrap();
    }
    World::within(data)
}

pub(super) fn bytes(topic_id: Uuid) -> Bytes {
    Bytes::copy_from_slice(topic_id.as_bytes())
}

/// `orders`, with replicas here alone.
pub(super) fn topic(topic_id: Uuid, partitions: i32) -> Vec<Record> {
    let topic = Fact::Topic(TopicRecord {
        id: bytes(topic_id),
        name: "orders".to_owned(),
        ..TopicRecord::default()
    });
    let partitions = (0..partitions).map(|index| {
        Fact::Partition(PartitionRecord {
            topic_id: bytes(topic_id),
            index,
            replicas: vec![0],
            isr: vec![0],
            leader: 0,
            ..PartitionRecord::default()
        })
    });
    let facts = std::iter::once(topic).chain(partitions);
    facts.map(Record::from).collect()
}

pub(super) fn deletion(topic_id: Uuid) -> Record {
    let deletion = DeleteTopicRecord {
        topic_id: bytes(topic_id),
        deleted_at_ms: 1,
        grace_ends_at_ms: 2,
        operator_epoch: 0,
    };
    Fact::DeleteTopic(deletion).into()
}

/// What is below each directory, without what is not of `orders`.
pub(super) fn spread(world: &World) -> Vec<Vec<String>> {
    let names = |path: PathBuf| {
        let entries = fs::read_dir(path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("orders-")).collect();
        names.sort();
        names
    };
    data_dirs(world.data.path())
        .into_iter()
        .map(names)
        .collect()
}

fn counts(world: &World) -> Vec<usize> {
    spread(world).iter().map(Vec::len).collect()
}

fn finish(world: &World) {
    for directory in world.partitions().directories().all() {
        assert!(world.partitions().remove_deleted(directory, &|| true));
        world.partitions().checkpoint(directory);
    }
}

/// In which directory its log is.
pub(super) fn place(world: &World, index: i32) -> usize {
    let partition = world.partitions().get(TOPIC_ID, index).unwrap();
    let all = world.partitions().directories().all();
    all.iter().position(|it| partition.is_in(it)).unwrap()
}

/// By one thread and by several.
#[tokio::test]
async fn new_logs_are_spread_and_found_where_they_are() {
    for partitions in [7, 200] {
        let mut world = world_of(3);
        world.commit(topic(TOPIC_ID, partitions));
        let third = usize::try_from(partitions / 3).unwrap();
        let made = counts(&world);
        assert!(
            made.iter().all(|it| (third..=third + 1).contains(it)),
            "{made:?}"
        );
        let places: Vec<_> = (0..partitions).map(|index| place(&world, index)).collect();
        let before = spread(&world);
        let mut world = world.restart(|_| {}).await;
        let image = Arc::clone(&world.image);
        world.partitions().set_strays_aside(&image, 0);
        let changes = Changes::between(&Image::default(), &image);
        world
            .broker
            .partitions
            .apply(&world.broker, &image, &changes);
        assert_eq!(spread(&world), before);
        let found: Vec<_> = (0..partitions).map(|index| place(&world, index)).collect();
        assert_eq!(found, places);
        for directory in world.partitions().directories().all() {
            let here = world.partitions().all_in(directory).len();
            assert_eq!(here, directory.logs().logs().len());
        }
        assert!(world.fatal.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_deleted_topic_stays_and_comes_back_in_each_directory() {
    let mut world = world_of(3);
    world.commit(topic(TOPIC_ID, 6));
    let places: Vec<_> = (0..6).map(|index| place(&world, index)).collect();
    world.commit(vec![deletion(TOPIC_ID)]);
    finish(&world);
    let buried = spread(&world);
    assert!(buried.iter().all(|it| it.len() == 2), "{buried:?}");
    assert!(
        buried.iter().flatten().all(|it| it.ends_with("-deleted")),
        "{buried:?}"
    );
    // Another one of that name goes anywhere, and then is given up.
    let other = Uuid::from_u128(8);
    world.commit(topic(other, 6));
    assert_eq!(counts(&world), [4, 4, 4]);
    let restored = Fact::RestoreTopic(RestoreTopicRecord {
        topic_id: bytes(TOPIC_ID),
        name: "orders".to_owned(),
    });
    world.commit(vec![deletion(other), restored.into()]);
    let purge = Fact::PurgeDeletedTopic(PurgeDeletedTopicRecord {
        topic_id: bytes(other),
    });
    world.commit(vec![purge.into()]);
    finish(&world);
    let found: Vec<_> = (0..6).map(|index| place(&world, index)).collect();
    assert_eq!(found, places);
    assert_eq!(counts(&world), [2, 2, 2]);
}

#[tokio::test]
async fn what_is_damaged_in_one_directory_is_offline_and_goes_from_there() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 4));
    let damaged = (place(&world, 0), "orders-0");
    let mut world = world
        .restart(|data| {
            let log = data_dirs(data)[damaged.0].join(damaged.1);
            fs::write(log.join("partition.metadata"), "nonsense").unwrap();
            // Held by somebody else there, it would be made anew there.
            fs::write(log.join("00000000000000000000.log"), "nonsense").unwrap();
        })
        .await;
    let image = Arc::clone(&world.image);
    world.partitions().set_strays_aside(&image, 0);
    let changes = Changes::between(&Image::default(), &image);
    world
        .broker
        .partitions
        .apply(&world.broker, &image, &changes);
    assert_eq!(world.offline(), 1);
    assert!(
        world.partitions().get(TOPIC_ID, 0).is_none(),
        "none is made beside it"
    );
    assert_eq!(counts(&world), [2, 2]);
    let in_doubt = world.partitions().found_in_doubt();
    assert_eq!(in_doubt.len(), 1, "{in_doubt:?}");
    assert_eq!(in_doubt[0].name.to_string(), "orders-0");
    world.change(moved_to(&[1], 1));
    assert_eq!(world.offline(), 0);
    finish(&world);
    let left = counts(&world);
    assert_eq!((left[damaged.0], left[1 - damaged.0]), (1, 2));
}

/// Somebody has a replica moved away and back, and says where it is to be.
#[tokio::test]
async fn a_replica_that_comes_back_is_made_where_somebody_wants_it_and_there_is_one_of_it() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 1));
    for epoch in 1..9 {
        let to = 1 - place(&world, 0);
        world.change(moved_to(&[1], 2 * epoch));
        assert!(world.partitions().get(TOPIC_ID, 0).is_none());
        world.partitions().directories().want((TOPIC_ID, 0), to);
        world.change(moved_to(&[0], 2 * epoch + 1));
        assert_eq!(place(&world, 0), to);
        let named = spread(&world);
        let named: Vec<_> = named
            .iter()
            .flatten()
            .filter(|it| *it == "orders-0")
            .collect();
        assert_eq!(named.len(), 1);
    }
    // For as long as it is not made, and once.
    let wants = |world: &World| world.partitions().directories().wants((TOPIC_ID, 0));
    for (epoch, to) in [(100, 0), (200, 1)] {
        world.change(moved_to(&[1], epoch));
        world.partitions().directories().want((TOPIC_ID, 0), to);
        world.change(moved_to(&[2], epoch + 1));
        assert_eq!(wants(&world), Some(to), "others move on meanwhile");
        world.change(moved_to(&[0], epoch + 2));
        assert_eq!((place(&world, 0), wants(&world)), (to, None));
    }
    world.change(moved_to(&[1], 300));
    world.partitions().directories().want((TOPIC_ID, 0), 1);
    world.commit(vec![deletion(TOPIC_ID)]);
    assert_eq!(wants(&world), None);
}

#[tokio::test]
async fn a_directory_in_which_nothing_can_be_made_comes_after_the_others() {
    let mut world = world_of(2);
    let [first, _] = &data_dirs(world.data.path())[..] else {
        panic!("two");
    };
    fs::rename(first, world.data.path().join("aside")).unwrap();
    world.commit(topic(TOPIC_ID, 1));
    let name = TopicPartition::new("orders", 0);
    assert!(world.partitions().is_not_made(&name));
    assert_eq!(world.repair(), None);
    assert_eq!(place(&world, 0), 1);
    assert!(!world.partitions().is_not_made(&name));
    // Nor is it what somebody wants.
    world.change(moved_to(&[1], 1));
    world.partitions().directories().want((TOPIC_ID, 0), 0);
    world.change(moved_to(&[0], 2));
    assert_eq!(place(&world, 0), 1);
    assert!(world.fatal.try_recv().is_err());
}

#[tokio::test]
async fn a_burial_that_fails_keeps_no_other_log_out_of_its_directory() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 1));
    let at = place(&world, 0);
    world.commit(vec![deletion(TOPIC_ID)]);
    let log = data_dirs(world.data.path())[at].join("orders-0");
    fs::create_dir(log.join("deleted-topic-checkpoint.tmp")).unwrap();
    let other = Uuid::from_u128(8);
    for index in 0..2 {
        world.partitions().directories().want((other, index), at);
    }
    world.commit(topic(other, 2));
    let name = TopicPartition::new("orders", 0);
    assert!(world.partitions().is_not_made(&name), "its name is taken");
    let made = world.partitions().get(other, 1).unwrap();
    assert!(made.is_in(&world.partitions().directories().all()[at]));
}

/// What was deleted in one may come back beside what is made in the other: that one is not believed then.
#[tokio::test]
async fn a_directory_whose_names_cannot_be_flushed_is_out_of_use() {
    for by_who_removes_files in [false, true] {
        let mut world = world_of(2);
        world.commit(topic(TOPIC_ID, 1));
        let from = place(&world, 0);
        world.change(moved_to(&[1], 1));
        let data = data_dirs(world.data.path());
        let aside = world.data.path().join("aside");
        fs::rename(&data[from], &aside).unwrap();
        if by_who_removes_files {
            let directory = &world.partitions().directories().all()[from];
            assert!(!world.partitions().remove_deleted(directory, &|| true));
        } else {
            world
                .partitions()
                .directories()
                .want((TOPIC_ID, 0), 1 - from);
            world.change(moved_to(&[0], 2));
        }
        assert!(world.partitions().get(TOPIC_ID, 0).is_none());
        let all = world.partitions().directories().all();
        assert!(all[from].has_failed() && !all[1 - from].has_failed());
        assert!(all[from].failure().doubt(), "another one says it");
        world.change(moved_to(&[0], 3));
        // Not as long as both directories are of one registration.
        assert_eq!(world.repair(), Some(Leave::WithAllData));
        assert!(world.partitions().get(TOPIC_ID, 0).is_none());
        let all = world.partitions().directories().all();
        all[from].set_older();
        assert_eq!(world.repair(), None);
        assert_eq!(place(&world, 0), 1 - from);
        // Without the last one the process ends.
        world.change(moved_to(&[1], 4));
        let other = &data[1 - from];
        fs::rename(other, world.data.path().join("aside-too")).unwrap();
        let all = world.partitions().directories().all();
        assert!(!world.partitions().remove_deleted(&all[1 - from], &|| true));
        let reason = world.fatal.try_recv().unwrap();
        assert!(reason.contains("flush"), "{reason}");
    }
}

/// The next start would find two logs of that name.
#[tokio::test]
async fn the_rest_of_a_creation_in_another_directory_gives_way() {
    let mut world = world_of(3);
    for data_dir in data_dirs(world.data.path()) {
        let rest = data_dir.join("orders-0");
        fs::create_dir(&rest).unwrap();
        fs::write(rest.join("00000000000000000000.log"), "").unwrap();
    }
    world.commit(topic(TOPIC_ID, 1));
    assert_eq!(counts(&world).iter().sum::<usize>(), 1);
    assert_eq!(counts(&world)[place(&world, 0)], 1);
}

#[tokio::test]
async fn one_log_of_a_replica_that_two_directories_have_ends_the_start() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 1));
    let from = place(&world, 0);
    let data = data_dirs(world.data.path());
    let (from, to) = (data[from].join("orders-0"), data[1 - from].join("orders-0"));
    let World {
        broker, data: held, ..
    } = world;
    broker.fetchers.stop().await;
    drop(broker);
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let open = || {
        let claims = claim_all(&data_dirs(held.path()), 0).unwrap();
        let directories = Openings::new(claims, mpsc::channel(1).0);
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let reports = Reports {
            proposals: mpsc::unbounded_channel().0,
            damage: Arc::default(),
            due_checks: Arc::default(),
            awake: Arc::default(),
            to_write: Arc::default(),
            led: metrics.leader_partitions.clone(),
            broker_epoch: Arc::default(),
        };
        Partitions::open(
            directories,
            1,
            metrics,
            reports,
            &RecoveryProgress::default(),
        )
    };
    let refused = open().unwrap_err().to_string();
    for part in ["orders-0", "data-0", "data-1"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(from.exists() && to.exists(), "nothing was changed");
    fs::remove_dir_all(to).unwrap();
    open().unwrap();
}
