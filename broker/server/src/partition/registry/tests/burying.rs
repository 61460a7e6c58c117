//! Topics that are deleted and brought back, whatever the broker sees of it.

use foz_metadata::record::{
    DeleteTopicRecord, PurgeDeletedTopicRecord, Record, RestoreTopicRecord,
};

use super::*;

const GRACE_END: i64 = 2;

fn topic_id() -> Bytes {
    Bytes::copy_from_slice(TOPIC_ID.as_bytes())
}

fn deletion() -> Record {
    let deletion = DeleteTopicRecord {
        topic_id: topic_id(),
        deleted_at_ms: 1,
        grace_ends_at_ms: GRACE_END,
        operator_epoch: 0,
    };
    Fact::DeleteTopic(deletion).into()
}

/// Broker 1 leads it again.
fn restoration(name: &str) -> Vec<Record> {
    let restored = Fact::RestoreTopic(RestoreTopicRecord {
        topic_id: topic_id(),
        name: name.to_owned(),
    });
    let change = Fact::PartitionChange(PartitionChangeRecord {
        topic_id: topic_id(),
        partition_epoch: 7,
        leader_epoch: Some(7),
        ..PartitionChangeRecord::default()
    });
    vec![restored.into(), change.into()]
}

fn purge() -> Record {
    let purge = PurgeDeletedTopicRecord {
        topic_id: topic_id(),
    };
    Fact::PurgeDeletedTopic(purge).into()
}

/// Of the same name, led here.
fn another() -> Vec<Record> {
    let id = Bytes::copy_from_slice(Uuid::from_u128(8).as_bytes());
    let topic = Fact::Topic(TopicRecord {
        id: id.clone(),
        name: "orders".to_owned(),
        ..TopicRecord::default()
    });
    let partition = Fact::Partition(PartitionRecord {
        topic_id: id,
        replicas: vec![0],
        isr: vec![0],
        leader: 0,
        ..PartitionRecord::default()
    });
    vec![topic.into(), partition.into()]
}

fn buried() -> String {
    format!("orders-0.{}-deleted", TOPIC_ID.simple())
}

fn end_offset(world: &World) -> i64 {
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    partition.log().log_end_offset()
}

impl World {
    /// Broker 0 is away for it, and begins with what comes of it.
    async fn restart_after(mut self, batches: Vec<Vec<Record>>) -> Self {
        for records in batches {
            let batch = Batch {
                follows: self.image.offset(),
                term: 1,
                records,
            };
            self.image = Arc::new(self.image.apply(&batch).unwrap());
        }
        let world = self.restart(|_| {}).await;
        let changes = Changes::between(&Image::default(), &world.image);
        let partitions = world.partitions();
        partitions.set_strays_aside(&world.image, 0);
        partitions.apply(&world.broker, &world.image, &changes);
        world.broker.image.store(Arc::clone(&world.image));
        world
    }
}

#[tokio::test]
async fn what_is_deleted_comes_back_with_its_records_beside_a_new_topic_of_the_name() {
    let (mut world, partition) = follower();
    world.commit(vec![deletion()]);
    assert!(world.partitions().get(TOPIC_ID, 0).is_none());
    assert!(partition.fetch_position().is_none());
    assert_eq!(directories(&world), ["orders-0"], "nobody waits for that");
    let deletions = world.directory().deletions();
    tokio::time::timeout(Duration::from_secs(5), deletions.notified())
        .await
        .unwrap();
    assert!(world.remove_deleted());
    assert_eq!(directories(&world), [buried()]);
    world.commit(another());
    let new = world.partitions().get(Uuid::from_u128(8), 0).unwrap();
    assert_eq!((new.led(), new.log().log_end_offset()), (Some(0), 0));

    world.commit(restoration("old"));
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    assert_eq!(partition.log().log_end_offset(), 3);
    assert_eq!(partition.fetch_position().unwrap().offset, 3);
    assert_eq!(partition.name(), "old-0");
    assert_eq!(directories(&world), ["orders-0"]);
    assert!(world.data.path().join("old-0").is_dir());
    assert_eq!((world.offline(), world.repair()), (0, None));
}

#[tokio::test]
async fn what_is_purged_is_removed() {
    let (mut world, partition) = follower();
    drop(partition);
    world.commit(vec![deletion()]);
    world.commit(vec![purge()]);
    assert!(world.remove_deleted());
    world.checkpoint();
    assert_eq!(world.directory().logs().buried(), []);
    let data = fs::read_dir(world.data.path()).unwrap();
    let directories = data.filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(directories.count(), 0);
}

#[tokio::test]
async fn a_broker_that_was_away_does_right_with_what_it_finds() {
    let at_once = |mut first: Vec<Record>, then: Vec<Record>| {
        first.extend(then);
        first
    };
    let deleted = || vec![deletion()];
    for (away, end, left) in [
        (vec![deleted()], None, vec![buried()]),
        (
            vec![deleted(), another()],
            None,
            vec!["orders-0".to_owned(), buried()],
        ),
        (
            vec![deleted(), restoration("orders")],
            Some(3),
            vec!["orders-0".to_owned()],
        ),
        (vec![deleted(), restoration("old")], Some(3), vec![]),
        (
            vec![deleted(), at_once(restoration("old"), another())],
            Some(3),
            vec!["orders-0".to_owned()],
        ),
    ] {
        // It sees nothing of it, or the deletion.
        for seen in [0, 1] {
            let (mut world, partition) = follower();
            drop(partition);
            let mut away = away.clone();
            for records in away.drain(..seen) {
                world.commit(records);
                assert!(world.remove_deleted());
            }
            let world = world.restart_after(away).await;
            assert!(world.remove_deleted());
            assert_eq!(directories(&world).len(), left.len(), "{left:?}");
            for name in &left {
                assert!(directories(&world).contains(name), "{left:?}");
            }
            match end {
                Some(end) => assert_eq!(end_offset(&world), end),
                None => assert!(world.partitions().get(TOPIC_ID, 0).is_none()),
            }
            assert_eq!((world.offline(), world.repair()), (0, None));
        }
    }
}

#[tokio::test]
async fn what_was_purged_while_the_broker_was_away_goes_if_it_knew_of_the_deletion() {
    let (mut world, partition) = follower();
    drop(partition);
    world.commit(vec![deletion()]);
    assert!(world.remove_deleted());
    let world = world.restart_after(vec![vec![purge()]]).await;
    // Should the metadata have been set back, there is time to see it.
    world.remove_forgotten(GRACE_END - 1);
    assert_eq!(directories(&world), [buried()]);
    world.remove_forgotten(GRACE_END);
    assert!(world.remove_deleted());
    world.checkpoint();
    assert_eq!(directories(&world), Vec::<String>::new());

    let (world, partition) = follower();
    drop(partition);
    let world = world
        .restart_after(vec![vec![deletion()], vec![purge()]])
        .await;
    let left = directories(&world);
    assert!(left.len() == 1 && left[0].ends_with("-stray"), "{left:?}");
}

#[tokio::test]
async fn an_empty_log_does_not_take_the_place_of_one_that_is_lost() {
    let (mut world, partition) = follower();
    drop(partition);
    world.commit(vec![deletion()]);
    assert!(world.remove_deleted());
    fs::remove_dir_all(world.data.path().join(buried())).unwrap();
    let mut world = world.restart_after(vec![restoration("orders")]).await;
    assert!(world.partitions().get(TOPIC_ID, 0).is_none());
    assert_eq!(world.offline(), 1);
    assert_eq!(world.repair(), Some(Leave::WithoutSomeData));
    // Nobody counts on it any more: it copies what the leader has.
    let partition_epoch = 8;
    let left = Fact::PartitionChange(PartitionChangeRecord {
        topic_id: topic_id(),
        partition_epoch,
        isr: Some(NodeIds::from(vec![1])),
        ..PartitionChangeRecord::default()
    });
    world.commit(vec![left.into()]);
    assert_eq!(end_offset(&world), 0);
    assert_eq!((world.offline(), world.repair()), (0, None));
}

#[tokio::test]
async fn a_replica_that_a_cancelled_move_had_brought_goes_with_the_restoration() {
    let (mut world, partition) = follower();
    drop(partition);
    world.commit(vec![deletion()]);
    let mut records = restoration("orders");
    records.pop();
    let change = PartitionChangeRecord {
        topic_id: topic_id(),
        partition_epoch: 7,
        leader_epoch: Some(7),
        replicas: Some(NodeIds::from(vec![1, 2])),
        isr: Some(NodeIds::from(vec![1])),
        ..PartitionChangeRecord::default()
    };
    records.push(Fact::PartitionChange(change).into());
    world.commit(records);
    assert!(world.partitions().get(TOPIC_ID, 0).is_none());
    assert_eq!(world.directory().logs().buried(), []);
    assert!(!directories(&world).contains(&buried()));
}

/// No mark can be written there: the disk is full.
fn without_room(world: &World) {
    let mark = world
        .data
        .path()
        .join("orders-0/deleted-topic-checkpoint.tmp");
    std::os::unix::fs::symlink("/dev/full", mark).unwrap();
}

/// As long as this is there.
fn block_mark(world: &World) -> std::path::PathBuf {
    let mark = world
        .data
        .path()
        .join("orders-0/deleted-topic-checkpoint.tmp");
    fs::create_dir(&mark).unwrap();
    mark
}

#[tokio::test]
async fn a_deletion_without_room_for_the_mark_stops_nothing_and_goes_on_later() {
    let (mut world, partition) = follower();
    drop(partition);
    world.commit(vec![deletion()]);
    without_room(&world);
    assert!(!world.remove_deleted());
    assert!(world.fatal.try_recv().is_err());
    assert!(!world.directory().logs().has_failed_flush());
    // Its name is not free yet, so the new one is made later.
    let in_the_way = block_mark(&world);
    world.commit(another());
    assert_eq!(world.offline(), 1);
    assert_eq!(world.repair(), None, "nobody else could take it over");
    fs::remove_dir(in_the_way).unwrap();
    assert!(world.remove_deleted());
    assert_eq!(world.repair(), None);
    assert_eq!(world.offline(), 0);
    assert_eq!(directories(&world).len(), 2);

    world.commit(restoration("old"));
    assert_eq!(end_offset(&world), 3);
}

#[tokio::test]
async fn a_topic_that_never_got_its_log_takes_nothing_of_the_one_before() {
    let (mut world, partition) = follower();
    drop(partition);
    world.commit(vec![deletion()]);
    let in_the_way = block_mark(&world);
    world.commit(another());
    assert_eq!(world.offline(), 1);
    let deletion_of_the_other = DeleteTopicRecord {
        topic_id: Bytes::copy_from_slice(Uuid::from_u128(8).as_bytes()),
        deleted_at_ms: 2,
        grace_ends_at_ms: GRACE_END,
        operator_epoch: 0,
    };
    world.commit(vec![Fact::DeleteTopic(deletion_of_the_other).into()]);
    assert_eq!(world.offline(), 0);
    fs::remove_dir(in_the_way).unwrap();
    assert!(world.remove_deleted());
    assert_eq!(directories(&world), [buried()]);

    world.commit(restoration("orders"));
    assert_eq!(end_offset(&world), 3);
}

#[tokio::test]
async fn what_could_not_be_buried_comes_back_later_and_may_be_given_up() {
    for is_given_up in [false, true] {
        let (mut world, partition) = follower();
        drop(partition);
        world.commit(vec![deletion()]);
        let in_the_way = block_mark(&world);
        assert!(!world.remove_deleted());
        if is_given_up {
            world.commit(vec![purge()]);
            assert!(world.remove_deleted());
            world.checkpoint();
            assert_eq!(directories(&world), Vec::<String>::new());
            continue;
        }
        world.commit(restoration("orders"));
        assert!(world.partitions().get(TOPIC_ID, 0).is_none());
        assert_eq!(world.offline(), 1, "it does not serve a log that is closed");
        fs::remove_dir(in_the_way).unwrap();
        world.repair();
        assert_eq!((end_offset(&world), world.offline()), (3, 0));
        let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
        assert_eq!(partition.fetch_position().unwrap().offset, 3);
    }
}

#[tokio::test]
async fn what_is_restored_takes_records_only_once_no_mark_speaks_of_it() {
    let (mut world, partition) = follower();
    drop(partition);
    world.commit(vec![deletion()]);
    assert!(world.remove_deleted());
    world.commit(restoration("orders"));
    let mark = world.data.path().join("orders-0/deleted-topic-checkpoint");
    assert!(!mark.exists());
    let world = world.restart(|_| {}).await;
    assert_eq!((directories(&world).len(), world.offline()), (1, 0));
}

/// A broker that is counted on for what it has must not hold up partitions that never had anything.
#[tokio::test]
async fn a_partition_that_was_added_to_a_restored_topic_gets_its_log_whatever_its_epoch() {
    let (mut world, partition) = follower();
    drop(partition);
    world.commit(vec![deletion()]);
    world.commit(restoration("orders"));
    let added = Fact::Partition(PartitionRecord {
        topic_id: topic_id(),
        index: 1,
        replicas: vec![0],
        isr: Vec::new(),
        elr: vec![0],
        last_known_elr: vec![0],
        leader: -1,
        leader_epoch: 2,
        ..PartitionRecord::default()
    });
    let world = world.restart_after(vec![vec![added.into()]]).await;
    let added = world.partitions().get(TOPIC_ID, 1).unwrap();
    assert_eq!((added.log().log_end_offset(), world.offline()), (0, 0));
}

#[tokio::test]
async fn what_is_damaged_is_kept_for_its_own_topic() {
    // Its files tell of which topic it is, or nothing does but its name.
    for is_readable in [true, false] {
        let (world, partition) = follower();
        drop(partition);
        let world = world
            .restart(|data| {
                let metadata = data.join("orders-0/partition.metadata");
                let told = fs::read(&metadata).unwrap();
                damage(data);
                if is_readable {
                    fs::write(metadata, told).unwrap();
                    fs::write(data.join("orders-0/deleted-topic-checkpoint"), "?").unwrap();
                }
            })
            .await;
        assert_eq!(world.offline(), 1);
        let away = match is_readable {
            true => vec![vec![deletion()], another()],
            false => vec![vec![deletion()]],
        };
        let mut image = Image::clone(&world.image);
        for records in away {
            let batch = Batch {
                follows: image.offset(),
                term: 1,
                records,
            };
            image = image.apply(&batch).unwrap();
        }
        world.partitions().set_strays_aside(&image, 0);
        assert!(world.remove_deleted());
        assert_eq!(directories(&world), [buried()], "{is_readable}");
        assert_eq!(world.offline(), 0);
    }
}

/// It was behind, and a snapshot brings it up.
#[tokio::test]
async fn a_running_broker_may_see_a_deletion_and_its_end_at_once() {
    for name in ["orders", "old"] {
        let (mut world, partition) = follower();
        drop(partition);
        let before = Arc::clone(&world.image);
        let mut image = Image::clone(&before);
        for records in [vec![deletion()], restoration(name)] {
            let batch = Batch {
                follows: image.offset(),
                term: 1,
                records,
            };
            image = image.apply(&batch).unwrap();
        }
        let image = Arc::new(image);
        let changes = Changes::between(&before, &image);
        world.partitions().apply(&world.broker, &image, &changes);
        world.broker.image.store(Arc::clone(&image));
        world.image = image;
        assert_eq!((end_offset(&world), world.offline()), (3, 0), "{name}");
        let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
        assert_eq!(partition.name(), format!("{name}-0"));
        assert!(world.remove_deleted());
        assert_eq!(world.directory().logs().buried(), []);
    }
}
