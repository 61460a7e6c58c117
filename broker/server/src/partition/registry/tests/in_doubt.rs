//! What the quorum is told of logs, and what comes of it.

use foz_metadata::record::{DeleteTopicRecord, Record};
use foz_metadata::rules::{LogInDoubt, fence_broker};

use super::*;

const OTHER_ID: Uuid = Uuid::from_u128(8);

fn ids(node_ids: &[i32]) -> Option<NodeIds> {
    Some(NodeIds::from(node_ids.to_vec()))
}

fn bytes(topic_id: Uuid) -> Bytes {
    Bytes::copy_from_slice(topic_id.as_bytes())
}

/// Broker 1 leads all of it, and 0 has replicas.
fn topic(topic_id: Uuid, partitions: i32, restored_partitions: i32) -> Vec<Record> {
    let topic = Fact::Topic(TopicRecord {
        id: bytes(topic_id),
        name: "orders".to_owned(),
        internal: false,
        restored_partitions,
    });
    let partitions = (0..partitions).map(|index| {
        Fact::Partition(PartitionRecord {
            topic_id: bytes(topic_id),
            index,
            replicas: vec![1, 0],
            isr: vec![1, 0],
            leader: 1,
            ..PartitionRecord::default()
        })
    });
    let facts = std::iter::once(topic).chain(partitions);
    facts.map(Record::from).collect()
}

fn orders(topic_id: Option<Uuid>, is_missing: bool) -> InDoubt {
    InDoubt {
        name: TopicPartition::new("orders", 0),
        topic_id,
        is_missing,
    }
}

impl World {
    fn in_doubt(&self) -> Vec<InDoubt> {
        let mut in_doubt = self.partitions().in_doubt(&self.broker);
        in_doubt.sort_by_key(|it| it.topic_id);
        in_doubt
    }

    fn fence(&mut self, node_id: i32) {
        let epoch = self.image.broker(node_id).unwrap().epoch;
        let fenced = fence_broker(&self.image, node_id, epoch).unwrap();
        self.commit(fenced.records);
    }

    fn listed(&self) -> Vec<Key> {
        self.directory().logs().listed()
    }

    /// The lease is lost, and another registration of the same process takes its place.
    fn register_anew(&mut self) {
        let epoch = self.image.broker(0).unwrap().epoch;
        self.fence(0);
        let mut request = registration(0);
        request.incarnation = Uuid::from_u128(99);
        request.directories[0].disk_epoch = epoch;
        request.directories[0].intact = true;
        request.directories[0].logs = self.listed();
        let told = self.in_doubt().into_iter().map(|it| LogInDoubt {
            topic_id: it.topic_id,
            topic: it.name.topic,
            index: it.name.partition,
            missing: it.is_missing,
        });
        request.in_doubt = told.collect();
        let registered = register_broker(&self.image, &request).unwrap();
        self.commit(registered.records);
    }
}

#[tokio::test]
async fn damage_that_was_found_while_serving_is_told_of_that_log_alone() {
    let mut world = World::new();
    world.configure(ResourceKind::Broker, "", "min.insync.replicas", Some("2"));
    assert_eq!(world.listed(), []);
    world.commit(topic(TOPIC_ID, 3, 0));
    // Made since the first registration, and empty.
    let all: Vec<Key> = (0..3).map(|index| (TOPIC_ID, index)).collect();
    assert_eq!(world.listed(), all);
    assert_eq!(world.in_doubt(), []);
    let damaged = world.partitions().get(TOPIC_ID, 0).unwrap();
    damaged.found_damage(&damaged.located(), 0);
    assert_eq!(world.in_doubt(), [orders(Some(TOPIC_ID), false)]);
    world.register_anew();
    let elr = |index| {
        let topic = world.image.topic_by_id(TOPIC_ID).unwrap();
        topic.partition(index).unwrap().elr.clone()
    };
    assert_eq!([elr(0), elr(1), elr(2)], [vec![], vec![0], vec![0]]);
}

#[tokio::test]
async fn the_only_one_that_can_lead_does_not_say_what_it_waits_with() {
    let (mut world, partition) = follower();
    partition.found_damage(&partition.located(), 1);
    world.fence(1);
    world.change(PartitionChangeRecord {
        leader: Some(0),
        leader_epoch: Some(1),
        isr: ids(&[0]),
        elr: ids(&[1]),
        ..PartitionChangeRecord::default()
    });
    assert_eq!((world.repair(), world.in_doubt()), (None, vec![]));
    world.register_anew();
    let orders = world.image.topic_by_id(TOPIC_ID).unwrap();
    let orders = orders.partition(0).unwrap();
    let mut counted_on = orders.isr.iter().chain(&orders.elr);
    assert!(counted_on.any(|id| *id == 0), "{orders:?}");
}

/// The last known leader without a log would lead nothing for ever.
#[tokio::test]
async fn a_restored_replica_without_a_log_is_missing_where_another_one_has_it() {
    for (elr, is_told) in [(vec![1], true), (vec![], false)] {
        let mut world = World::new();
        world.commit(topic(TOPIC_ID, 1, 1));
        world.fence(1);
        assert_eq!((world.listed(), world.offline()), (vec![], 1));
        world.change(PartitionChangeRecord {
            leader: Some(0),
            leader_epoch: Some(1),
            isr: ids(&[0]),
            elr: ids(&elr),
            ..PartitionChangeRecord::default()
        });
        let told = orders(Some(TOPIC_ID), true);
        let told = is_told.then_some(told).into_iter().collect::<Vec<_>>();
        assert_eq!(world.in_doubt(), told);
        if is_told {
            assert_eq!(world.repair(), Some(Leave::WithoutSomeData));
            world.register_anew();
            let orders = world.image.topic_by_id(TOPIC_ID).unwrap();
            let orders = orders.partition(0).unwrap();
            assert_eq!((&*orders.isr, &*orders.last_known_elr), (&[][..], &[][..]));
            assert_eq!(orders.never_in_sync, [0]);
        }
    }
}

#[tokio::test]
async fn a_damaged_log_of_an_earlier_topic_is_told_with_the_replica_that_it_is_in_the_way_of() {
    for is_readable in [true, false] {
        let (world, partition) = follower();
        drop(partition);
        let mut world = world
            .restart(|data| match is_readable {
                true => fs::write(data.join("orders-0/deleted-topic-checkpoint"), "?").unwrap(),
                false => damage(data),
            })
            .await;
        world.broker.image.store(Arc::clone(&world.image));
        let own = is_readable.then_some(TOPIC_ID);
        assert_eq!(world.in_doubt(), [orders(own, false)]);

        // Nothing is set aside.
        let deletion = Fact::DeleteTopic(DeleteTopicRecord {
            topic_id: bytes(TOPIC_ID),
            deleted_at_ms: 1,
            grace_ends_at_ms: 2,
            operator_epoch: 0,
        });
        for records in [vec![deletion.into()], topic(OTHER_ID, 1, 0)] {
            let batch = Batch {
                follows: world.image.offset(),
                term: 1,
                records,
            };
            world.image = Arc::new(world.image.apply(&batch).unwrap());
        }
        world.broker.image.store(Arc::clone(&world.image));
        let told = match is_readable {
            true => vec![orders(Some(TOPIC_ID), false), orders(Some(OTHER_ID), false)],
            false => vec![orders(None, false)],
        };
        assert_eq!(world.in_doubt(), told);
    }
}

/// A log that is seconds old may be gone from all replicas with one power failure: somebody is to lead all the same.
#[tokio::test]
async fn a_log_is_missing_where_some_of_it_was_on_the_disk() {
    for is_flushed in [true, false] {
        let (world, partition) = match is_flushed {
            true => follower(),
            false => unflushed_follower(),
        };
        partition.log().set_high_watermark(3);
        world.checkpoint();
        drop(partition);
        let world = world
            .restart(|data| fs::remove_dir_all(data.join("orders-0")).unwrap())
            .await;
        let in_doubt = world.partitions().found_in_doubt();
        assert_eq!(in_doubt, [orders(None, is_flushed)]);
    }
}

/// What is known of it goes with the log, and not with the process.
#[tokio::test]
async fn damage_is_known_after_a_clean_stop_and_its_neighbours_are_not_doubted() {
    for (from, cut, is_told) in [
        (None, None, false),
        (Some(1), None, true),
        (Some(1), Some(1), false),
    ] {
        let (mut world, partition) = follower();
        let end = partition.log().log_end_offset();
        if let Some(from) = from {
            partition.found_damage(&partition.located(), from);
        }
        if let Some(offset) = cut {
            let logs = world.directory().logs();
            logs.truncate(&partition.log(), offset, 0).unwrap();
        }
        drop(partition);
        world.partitions().close(&[Some(5)]).unwrap();
        let mark = world.data.path().join(".kafka_cleanshutdown");
        assert!(mark.exists(), "all that was written is there");
        world = world.restart(|_| {}).await;
        let image = Arc::clone(&world.image);
        let changes = Changes::between(&Image::default(), &image);
        world.partitions().apply(&world.broker, &image, &changes);
        let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
        assert_eq!(
            partition.has_unchecked_batches(),
            is_told,
            "{from:?} {cut:?}"
        );
        if is_told {
            assert_eq!(partition.log().log_end_offset(), end);
            let due = world.partitions().due_checks().take();
            assert_eq!(due, [(TOPIC_ID, 0)].into());
        }
    }
}

/// Its replica was taken out of service meanwhile, and nothing was done about the damage.
#[tokio::test]
async fn who_holds_a_damaged_log_again_knows_it() {
    let (mut world, partition) = follower();
    partition.found_damage(&partition.located(), 1);
    let offline = |ids: &[i32]| PartitionChangeRecord {
        offline: Some(NodeIds::from(ids.to_vec())),
        ..PartitionChangeRecord::default()
    };
    drop(partition);
    world.change(offline(&[0]));
    assert!(world.partitions().get(TOPIC_ID, 0).is_none());
    world.change(offline(&[]));
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    assert!(partition.damage().is_some());
    assert_eq!(partition.fetch_position(), None, "it is cut off first");
}
