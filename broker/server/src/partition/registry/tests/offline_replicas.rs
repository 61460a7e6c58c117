//! What the quorum says that this broker cannot use.

use foz_metadata::record::{NodeIds, PartitionChangeRecord};
use foz_replication::Cluster as _;

use super::*;
use crate::partition::leading::Nodes;

fn offline(nodes: &[i32]) -> PartitionChangeRecord {
    PartitionChangeRecord {
        leader: Some(1),
        leader_epoch: Some(1),
        isr: Some(NodeIds::from(vec![1])),
        offline: Some(NodeIds::from(nodes.to_vec())),
        ..PartitionChangeRecord::default()
    }
}

fn find(world: &World) -> Result<Arc<Partition>, ErrorCode> {
    let topic = world.image.topic("orders").unwrap();
    world.partitions().find(topic, 0)
}

#[tokio::test]
async fn no_log_is_made_in_the_place_of_one_that_may_come_back() {
    let mut world = World::new();
    world.create_topic(&[1, 2]);
    let log = world.data.path().join("orders-0");
    world.change(PartitionChangeRecord {
        replicas: Some(NodeIds::from(vec![1, 2, 0])),
        ..offline(&[0])
    });
    assert!(!log.exists());
    assert_eq!(find(&world).unwrap_err(), ErrorCode::KafkaStorageError);
    assert_eq!((world.repair(), world.offline()), (None, 1));
    assert!(!log.exists());
    assert_eq!(world.partitions().in_doubt(&world.broker), []);

    // It is swapped: the next registration said so.
    world.change(offline(&[]));
    assert!(log.exists());
    assert_eq!(world.offline(), 0);
    assert!(find(&world).unwrap().fetch_position().is_some());

    // Moved away, which is the end of it.
    world.change(offline(&[0]));
    world.change(PartitionChangeRecord {
        replicas: Some(NodeIds::from(vec![1, 2])),
        ..offline(&[])
    });
    assert_eq!(world.offline(), 0);
}

/// It was made while the broker registered, which therefore did not name it.
#[tokio::test]
async fn a_log_that_the_quorum_does_not_know_of_is_named_by_the_next_registration() {
    let mut world = World::new();
    world.create_topic(&[0, 1]);
    let partition = find(&world).unwrap();
    assert_eq!(partition.led(), Some(0));
    world.change(offline(&[0]));
    assert_eq!(partition.led(), None, "it neither leads nor follows");
    assert_eq!(find(&world).unwrap_err(), ErrorCode::KafkaStorageError);
    assert_eq!(world.repair(), Some(Leave::WithAllData));
    let directories = world.partitions().directories();
    let listed = directories.all()[0].logs().listed();
    assert_eq!(listed, [(TOPIC_ID, 0)]);

    world.change(offline(&[]));
    assert_eq!((world.repair(), world.offline()), (None, 0));
    assert!(find(&world).unwrap().fetch_position().is_some());
}

#[tokio::test]
async fn a_log_that_is_here_goes_with_its_replica_though_nobody_counted_on_it() {
    let mut world = World::new();
    world.create_topic(&[0, 1]);
    world.change(offline(&[0]));
    world.change(PartitionChangeRecord {
        replicas: Some(NodeIds::from(vec![1, 2])),
        ..offline(&[])
    });
    assert!(world.remove_deleted());
    world.checkpoint();
    assert_eq!(directories(&world), Vec::<String>::new());
    assert_eq!(
        (world.directory().logs().listed(), world.offline()),
        (vec![], 0)
    );
}

#[tokio::test]
async fn a_leader_neither_takes_in_nor_waits_for_what_cannot_be_used() {
    let mut world = World::new();
    world.create_topic(&[0, 1, 2]);
    world.change(PartitionChangeRecord {
        isr: Some(NodeIds::from(vec![0, 2])),
        offline: Some(NodeIds::from(vec![1])),
        ..PartitionChangeRecord::default()
    });
    let partition = find(&world).unwrap();
    let role = partition.role.read();
    let leader = role.leading().unwrap().leader.lock();
    let nodes = Nodes::of(&world.image, (TOPIC_ID, 0), &leader);
    assert!(nodes.may_join(1).is_none() && !nodes.is_alive(1));
    assert!(nodes.may_join(2).is_some() && nodes.is_alive(2));
    let other = Nodes::of(&world.image, (TOPIC_ID, 1), &leader);
    assert!(other.may_join(1).is_some(), "only this partition's");
}
