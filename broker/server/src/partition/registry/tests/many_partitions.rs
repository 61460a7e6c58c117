//! What many partitions share: their topic's configs, and the threads that make their logs.

use super::*;

#[tokio::test]
async fn a_config_counts_wherever_it_is_set_and_in_the_order_of_these_places() {
    let mut world = World::new();
    world.create_topic(&[0, 1]);
    assert!(!world.flushes_first());
    let (topic, broker) = (ResourceKind::Topic, ResourceKind::Broker);
    let (of_topic, of_broker) = ("flush.messages", "log.flush.interval.messages");
    for (kind, name, key, value, flushes_first) in [
        (broker, "1", of_broker, Some("1"), false),
        (topic, "others", of_topic, Some("1"), false),
        (broker, "", of_broker, Some("1"), true),
        (broker, "0", of_broker, Some("9"), false),
        (topic, "orders", of_topic, Some("1"), true),
        (broker, "", of_broker, None, true),
        (topic, "orders", of_topic, None, false),
        (broker, "0", of_broker, None, false),
    ] {
        world.configure(kind, name, key, value);
        assert_eq!(
            world.flushes_first(),
            flushes_first,
            "{name} {key} {value:?}"
        );
    }
    // Which its leader goes by.
    world.change(PartitionChangeRecord {
        isr: Some(NodeIds::from(vec![0])),
        ..PartitionChangeRecord::default()
    });
    let has_min_insync = |world: &World| {
        let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
        let role = partition.role.read();
        let leader = role.leading().unwrap().leader.lock();
        leader.has_min_insync()
    };
    assert!(has_min_insync(&world));
    world.configure(topic, "orders", "min.insync.replicas", Some("2"));
    assert!(!has_min_insync(&world));
}

#[tokio::test]
async fn a_topic_that_is_made_with_configs_has_them() {
    let mut world = World::new();
    let (kind, name, key) = (ResourceKind::Topic, "orders", "flush.messages");
    world.configure(kind, name, key, Some("1"));
    world.create_topic(&[0, 1]);
    assert!(world.flushes_first());
}

/// Enough for several threads.
#[tokio::test]
async fn a_topic_with_many_partitions_has_all_of_them_here() {
    let mut world = World::new();
    let count = 200;
    let id = Bytes::copy_from_slice(TOPIC_ID.as_bytes());
    let topic = Fact::Topic(TopicRecord {
        id: id.clone(),
        name: "orders".to_owned(),
        internal: false,
        restored_partitions: 0,
    });
    let partitions = (0..count).map(|index| {
        // Each third one is elsewhere.
        let replicas = vec![index % 3, (index + 1) % 3];
        let partition = PartitionRecord {
            topic_id: id.clone(),
            index,
            isr: replicas.clone(),
            leader: replicas[0],
            replicas,
            ..PartitionRecord::default()
        };
        Fact::Partition(partition).into()
    });
    // One of them cannot be made.
    fs::write(world.data.path().join("orders-3"), "").unwrap();
    let records = [topic.into()].into_iter().chain(partitions).collect();
    world.commit(records);
    for index in 0..count {
        let partition = world.partitions().get(TOPIC_ID, index);
        assert_eq!(partition.is_some(), index % 3 != 1 && index != 3, "{index}");
        let led = partition.and_then(|it| it.led());
        assert_eq!(led.is_some(), index % 3 == 0 && index != 3, "{index}");
    }
    assert_eq!(world.offline(), 1);
    fs::remove_file(world.data.path().join("orders-3")).unwrap();
    world.repair();
    assert_eq!(world.offline(), 0);
    assert_eq!(world.partitions().get(TOPIC_ID, 3).unwrap().led(), Some(0));
}
