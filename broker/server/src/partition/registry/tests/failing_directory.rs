//! One of several data directories fails while the broker runs.

use bytes::BytesMut;
use foz_metadata::record::RestoreTopicRecord;
use tokio::time::timeout;

use super::directories::{bytes, deletion, place, spread, topic, world_of};
use super::*;
use crate::identity::Claimed;

const REASON: &str = "its disk is gone";

/// As the task does that hears of it.
pub(super) fn fail(world: &World, at: usize) {
    let directory = &world.partitions().directories().all()[at];
    assert!(directory.failure().fail(REASON.to_owned(), false));
    while !directory.failure().distrusts_page_cache() {
        // Another thread writes that down.
        std::thread::yield_now();
    }
    take_offline(world);
}

fn take_offline(world: &World) {
    for directory in world.partitions().directories().failed() {
        let held = world.partitions().take_offline(&world.broker, directory);
        Partitions::put_to_rest(directory, &held);
    }
}

/// What follows from a registration.
fn register_anew(world: &World) {
    for directory in world.partitions().directories().failed() {
        directory.set_older();
    }
}

/// The partitions of `orders` whose logs are in a directory.
fn logs_in(world: &World, at: usize, partitions: i32) -> Vec<i32> {
    let here = (0..partitions).filter(|index| place(world, *index) == at);
    here.collect()
}

fn found(world: &World, index: i32) -> Result<(), ErrorCode> {
    let topic = world.image.topic("orders").unwrap();
    world.partitions().find(topic, index).map(|_| ())
}

fn keys(topic_id: Uuid, indexes: &[i32]) -> Vec<Key> {
    indexes.iter().map(|index| (topic_id, *index)).collect()
}

fn failed(world: &World) -> Vec<Key> {
    let failed = world.partitions().failed_replicas().into_iter();
    failed.collect()
}

/// What the quorum makes of a report.
fn offline(world: &World, indexes: &[i32]) -> Vec<foz_metadata::record::Record> {
    let changes = indexes.iter().map(|index| {
        let partition = world.image.partition("orders", *index).unwrap();
        Fact::PartitionChange(PartitionChangeRecord {
            topic_id: bytes(TOPIC_ID),
            index: *index,
            leader: Some(foz_metadata::image::NO_LEADER),
            leader_epoch: Some(partition.leader_epoch + 1),
            isr: Some(NodeIds::from(vec![])),
            offline: Some(NodeIds::from(vec![0])),
            partition_epoch: partition.partition_epoch + 1,
            ..PartitionChangeRecord::default()
        })
        .into()
    });
    changes.collect()
}

#[tokio::test]
async fn what_it_held_is_out_of_service_and_everything_else_goes_on() {
    let mut world = world_of(3);
    world.commit(topic(TOPIC_ID, 9));
    let gone = logs_in(&world, 1, 9);
    assert_eq!(gone.len(), 3);
    let logs = spread(&world);
    let stopped = world.partitions().get(TOPIC_ID, gone[0]).unwrap();
    fail(&world, 1);
    // Again, and nothing more happens.
    fail(&world, 1);
    for index in 0..9 {
        let expected = match gone.contains(&index) {
            true => Err(ErrorCode::KafkaStorageError),
            false => Ok(()),
        };
        assert_eq!(found(&world, index), expected, "{index}");
    }
    assert_eq!(stopped.led(), None);
    assert!(stopped.log().is_deleted());
    assert_eq!(world.offline(), 3);
    assert_eq!(failed(&world), keys(TOPIC_ID, &gone));

    // Before the quorum says so, after it, and whatever is looked after meanwhile.
    assert_eq!(world.repair(), None);
    let changes = Changes::between(&Image::default(), &world.image);
    let image = Arc::clone(&world.image);
    world.partitions().apply(&world.broker, &image, &changes);
    let records = offline(&world, &gone);
    world.commit(records);
    assert_eq!((world.repair(), world.offline()), (None, 3));
    for directory in world.partitions().directories().all() {
        world.partitions().checkpoint(directory);
        assert!(world.partitions().remove_deleted(directory, &|| true));
    }
    assert_eq!(spread(&world), logs, "none is made in the place of another");
    assert_eq!(world.partitions().in_doubt(&world.broker), []);
    assert!(world.fatal.try_recv().is_err());
}

/// Before the metadata have come, and before anybody has looked after it.
#[tokio::test]
async fn nothing_is_made_in_its_place_from_the_first_moment_on() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 40));
    let gone = logs_in(&world, 0, 40);
    let before = spread(&world);
    let mut world = world.restart(|_| {}).await;
    let directory = &world.partitions().directories().all()[0];
    assert!(directory.failure().fail(REASON.to_owned(), false));
    let image = Arc::clone(&world.image);
    world.partitions().set_strays_aside(&image, 0);
    let changes = Changes::between(&Image::default(), &image);
    world.partitions().apply(&world.broker, &image, &changes);
    for index in 0..40 {
        assert_eq!(
            found(&world, index).is_ok(),
            !gone.contains(&index),
            "{index}"
        );
    }
    take_offline(&world);
    assert_eq!(failed(&world), keys(TOPIC_ID, &gone));
    assert_eq!(spread(&world), before);
    assert!(world.fatal.try_recv().is_err());
}

#[tokio::test]
async fn new_logs_are_made_in_the_others() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 2));
    let gone = logs_in(&world, 0, 2);
    fail(&world, 0);
    world.commit(vec![deletion(TOPIC_ID)]);
    assert_eq!(
        failed(&world),
        keys(TOPIC_ID, &gone),
        "kept of a deleted topic"
    );
    let other = Uuid::from_u128(8);
    world.commit(topic(other, 4));
    for index in 0..4 {
        let partition = world.partitions().get(other, index).unwrap();
        let all = world.partitions().directories().all();
        assert!(partition.is_in(&all[1]), "{index}");
        assert_eq!(partition.led(), Some(0));
    }
    assert_eq!(failed(&world), keys(TOPIC_ID, &gone));
}

#[tokio::test]
async fn a_topic_that_is_brought_back_lacks_what_failed() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 2));
    let gone = logs_in(&world, 0, 2);
    world.commit(vec![deletion(TOPIC_ID)]);
    for directory in world.partitions().directories().all() {
        assert!(world.partitions().remove_deleted(directory, &|| true));
    }
    fail(&world, 0);
    assert_eq!(failed(&world), keys(TOPIC_ID, &gone));
    let restoration = RestoreTopicRecord {
        topic_id: bytes(TOPIC_ID),
        name: "orders".to_owned(),
    };
    world.commit(vec![Fact::RestoreTopic(restoration).into()]);
    for index in 0..2 {
        let expected = match gone.contains(&index) {
            true => Err(ErrorCode::KafkaStorageError),
            false => Ok(()),
        };
        assert_eq!(found(&world, index), expected, "{index}");
    }
}

#[tokio::test]
async fn a_replica_that_left_and_comes_back_is_made_anew() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 1));
    // Both are part of the newest registration.
    for directory in world.partitions().directories().all() {
        directory.identity().join("c", 1).unwrap();
    }
    let at = place(&world, 0);
    let older = world.partitions().get(TOPIC_ID, 0).unwrap();
    for _ in 0..5 {
        append(&world, &older);
    }
    drop(older);
    fail(&world, at);
    let replicas = |replicas: &[i32]| PartitionChangeRecord {
        replicas: Some(NodeIds::from(replicas.to_vec())),
        isr: Some(NodeIds::from(vec![1])),
        leader: Some(1),
        leader_epoch: Some(1),
        offline: Some(NodeIds::from(vec![])),
        ..PartitionChangeRecord::default()
    };
    world.change(replicas(&[1]));
    assert_eq!(failed(&world), [], "it is not this broker's any more");
    assert_eq!(world.offline(), 0);
    world.change(PartitionChangeRecord {
        leader_epoch: Some(2),
        ..replicas(&[1, 0])
    });
    // Both directories are part of the same registration: the next start could not tell which is the newer one.
    assert_eq!(found(&world, 0), Err(ErrorCode::KafkaStorageError));
    assert_eq!(world.repair(), Some(Leave::WithAllData));
    assert_eq!(spread(&world)[1 - at], Vec::<String>::new());
    register_anew(&world);
    assert_eq!(world.repair(), None);
    assert_eq!((place(&world, 0), world.offline()), (1 - at, 0));
    assert_eq!(failed(&world), []);
    take_three(&world.partitions().get(TOPIC_ID, 0).unwrap());
    // The next process finds both, and knows which is the newer one.
    let world = world.restart(|_| {}).await;
    let directories = world.partitions().directories().all();
    let name = TopicPartition::new("orders", 0);
    let held = directories.iter().map(|it| it.logs().get(&name).is_some());
    let held: Vec<_> = held.collect();
    assert_eq!(held.iter().position(|it| *it), Some(1 - at), "{held:?}");
    assert_eq!(held.iter().filter(|it| **it).count(), 1);
    let log = directories[1 - at].logs().get(&name).unwrap();
    assert_eq!(log.log_end_offset(), 3);
}

fn moved_to(replicas: &[i32], leader_epoch: i32) -> PartitionChangeRecord {
    PartitionChangeRecord {
        replicas: Some(NodeIds::from(replicas.to_vec())),
        isr: Some(NodeIds::from(vec![1])),
        leader: Some(1),
        leader_epoch: Some(leader_epoch),
        offline: Some(NodeIds::from(vec![])),
        ..PartitionChangeRecord::default()
    }
}

/// What was given up in the first is not given up in the second.
#[tokio::test]
async fn a_replica_that_was_made_anew_fails_as_any_other() {
    let mut world = world_of(3);
    world.commit(topic(TOPIC_ID, 1));
    fail(&world, place(&world, 0));
    world.change(moved_to(&[1], 1));
    register_anew(&world);
    world.change(moved_to(&[1, 0], 2));
    fail(&world, place(&world, 0));
    assert_eq!(failed(&world), keys(TOPIC_ID, &[0]));
    let before = spread(&world);
    register_anew(&world);
    world.change(PartitionChangeRecord {
        isr: Some(NodeIds::from(vec![0])),
        leader: Some(0),
        leader_epoch: Some(3),
        ..PartitionChangeRecord::default()
    });
    assert_eq!(world.repair(), None);
    assert_eq!(found(&world, 0), Err(ErrorCode::KafkaStorageError));
    assert_eq!(spread(&world), before);
    let gone: Vec<_> = spread(&world).into_iter().filter(Vec::is_empty).collect();
    assert_eq!(gone.len(), 1, "the third has none");
}

/// Its directory has another name, and the disk need not know that.
#[tokio::test]
async fn what_left_just_before_is_made_anew_as_late() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 1));
    let at = place(&world, 0);
    world.change(moved_to(&[1], 1));
    fail(&world, at);
    assert_eq!(failed(&world), []);
    world.change(moved_to(&[1, 0], 2));
    assert_eq!(found(&world, 0), Err(ErrorCode::KafkaStorageError));
    assert_eq!(world.repair(), Some(Leave::WithAllData));
    register_anew(&world);
    assert_eq!(world.repair(), None);
    assert_eq!(place(&world, 0), 1 - at);
}

/// A topic of the same name never was there.
#[tokio::test]
async fn what_another_topic_left_keeps_none_from_being_made() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 1));
    let at = place(&world, 0);
    world.change(moved_to(&[1], 1));
    fail(&world, at);
    world.commit(vec![deletion(TOPIC_ID)]);
    world.commit(topic(Uuid::from_u128(8), 1));
    assert_eq!(found(&world, 0), Ok(()));
    assert_eq!(world.repair(), None);
}

/// It was moved away while this broker was, and its directory fails before anything is looked after.
#[tokio::test]
async fn a_stray_in_a_failed_directory_is_no_replica() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 1));
    let at = place(&world, 0);
    let mut world = world.restart(|_| {}).await;
    let image = Arc::new(world.image_after(moved_to(&[1], 1)));
    let directory = &world.partitions().directories().all()[at];
    assert!(directory.failure().fail(REASON.to_owned(), false));
    world.partitions().set_strays_aside(&image, 0);
    let changes = Changes::between(&Image::default(), &image);
    world.partitions().apply(&world.broker, &image, &changes);
    world.image = image;
    take_offline(&world);
    assert_eq!(failed(&world), []);
    assert_eq!(world.offline(), 0);
    world.change(moved_to(&[1, 0], 2));
    assert_eq!(world.repair(), Some(Leave::WithAllData));
    register_anew(&world);
    assert_eq!(world.repair(), None);
    assert_eq!(place(&world, 0), 1 - at);
}

/// Its files say nothing any more.
#[tokio::test]
async fn of_which_topic_a_damaged_log_is_was_read_before() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 1));
    let at = place(&world, 0);
    let image = Arc::clone(&world.image);
    let mark = "orders-0/deleted-topic-checkpoint";
    let damage = |data: &Path| fs::write(data_dirs(data)[at].join(mark), "?").unwrap();
    let mut world = world.restart(damage).await;
    let changes = Changes::between(&Image::default(), &image);
    world.partitions().apply(&world.broker, &image, &changes);
    fs::remove_dir_all(data_dirs(world.data.path())[at].join("orders-0")).unwrap();
    fail(&world, at);
    assert_eq!(failed(&world), keys(TOPIC_ID, &[0]));
    // Another topic of its name has nothing to do with it.
    world.commit(vec![deletion(TOPIC_ID)]);
    world.commit(topic(Uuid::from_u128(8), 1));
    assert_eq!(found(&world, 0), Ok(()));
}

/// Others gave an error, and one write hangs.
#[tokio::test]
async fn nobody_waits_for_who_writes_there() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 4));
    let gone = logs_in(&world, 0, 4);
    let hangs = world.partitions().get(TOPIC_ID, gone[0]).unwrap();
    let writing = hangs.role.read();
    let directory = &world.partitions().directories().all()[0];
    assert!(directory.failure().fail(REASON.to_owned(), false));
    let held = world.partitions().take_offline(&world.broker, directory);
    assert_eq!(held.len(), gone.len());
    assert_eq!(failed(&world), keys(TOPIC_ID, &gone));
    for index in gone {
        assert_eq!(found(&world, index), Err(ErrorCode::KafkaStorageError));
    }
    world.commit(vec![deletion(TOPIC_ID)]);
    drop(writing);
    let directory = &world.partitions().directories().all()[0];
    Partitions::put_to_rest(directory, &held);
    assert_eq!(hangs.led(), None);
    assert!(hangs.log().is_deleted());
}

#[tokio::test]
async fn who_waits_is_told() {
    let mut world = world_of(2);
    let mut records = topic(TOPIC_ID, 0);
    records.push(
        Fact::Partition(PartitionRecord {
            topic_id: bytes(TOPIC_ID),
            replicas: vec![0, 1],
            isr: vec![0, 1],
            leader: 0,
            ..PartitionRecord::default()
        })
        .into(),
    );
    world.commit(records);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    let produced = append(&world, &partition);
    let waiting = tokio::spawn({
        let partition = Arc::clone(&partition);
        async move { partition.acknowledged(&produced).await }
    });
    tokio::task::yield_now().await;
    fail(&world, place(&world, 0));
    let told = timeout(Duration::from_secs(10), waiting).await.unwrap();
    assert_eq!(told.unwrap(), Err(ErrorCode::NotLeaderOrFollower));
}

fn append(world: &World, partition: &Arc<Partition>) -> crate::partition::Produced {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordToWrite::default());
    let batch = BytesMut::from(builder.build().unwrap().as_slice());
    partition.append(&world.image, -1, batch).unwrap()
}

/// Its page cache may hold what the disk never got, and the disk did not even take that word.
#[tokio::test]
async fn the_next_process_does_not_believe_it() {
    let mut world = world_of(2);
    world.commit(topic(TOPIC_ID, 4));
    for directory in world.partitions().directories().all() {
        directory.identity().join("c", 1).unwrap();
    }
    let in_the_way = data_dirs(world.data.path())[0].join("meta.properties.tmp");
    fs::create_dir(&in_the_way).unwrap();
    fail(&world, 0);
    let epochs = [Some(1); 2];
    world.partitions().close(&epochs).unwrap();
    fs::remove_dir(in_the_way).unwrap();
    let found = claim_all(&data_dirs(world.data.path()), 0).unwrap().usable;
    let is_believed = |it: &Claimed| it.page_cache_survived && !it.is_doubted;
    let believed: Vec<_> = found.iter().map(is_believed).collect();
    assert_eq!(believed, [false, true]);
    let has_mark = |dir: PathBuf| dir.join(".kafka_cleanshutdown").exists();
    let marks = data_dirs(world.data.path()).into_iter().map(has_mark);
    assert_eq!(marks.collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn a_stop_leaves_alone_what_is_where_a_disk_was_taken_away() {
    for count in [1, 2] {
        let mut world = world_of(count);
        world.commit(topic(TOPIC_ID, 4));
        let path = world.partitions().directories().all()[0].path().to_owned();
        std::fs::rename(&path, path.with_extension("away")).unwrap();
        std::fs::create_dir(&path).unwrap();
        world.partitions().close(&vec![Some(1); count]).unwrap();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    }
}
