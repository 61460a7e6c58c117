use bytes::Bytes;
use foz_metadata::record::{
    Batch, Fact, NodeIds, PartitionChangeRecord, PartitionRecord, RackRecord, RemoveTopicRecord,
    TopicRecord,
};
use foz_metadata::rules::{RegisterBroker, found_cluster, register_broker};
use uuid::Uuid;

use super::*;
use crate::test_registration;

struct World {
    image: Image,
    view: TopicsView,
    topics: Arc<Topics>,
}

impl World {
    /// Brokers 0 and 1, no topic.
    fn new() -> Self {
        let mut world = Self {
            image: Image::default(),
            view: TopicsView::default(),
            topics: Arc::default(),
        };
        let founded = found_cluster(&world.image, "c").unwrap();
        world.commit(founded.records);
        for node_id in 0..2 {
            let registered = register_broker(&world.image, &registration(node_id)).unwrap();
            world.commit(registered.records);
        }
        world
    }

    /// Says whether groups get another state of the topics; it is the one that a view from scratch sees.
    fn commit(&mut self, records: Vec<foz_metadata::record::Record>) -> bool {
        let batch = Batch {
            follows: self.image.offset(),
            term: 1,
            records,
        };
        let image = self.image.apply(&batch).unwrap();
        let changes = Changes::of_batch(&self.image, &batch);
        let topics = self.view.follow(&image, &changes);
        let is_new = !Arc::ptr_eq(&topics, &self.topics);
        assert_eq!(is_new, topics.version() != self.topics.version());
        let expected = Vec::from_iter(all(&image));
        assert_eq!(topics.names().count(), expected.len());
        for (name, topic) in &expected {
            assert_eq!(topics.get(name), Some(topic), "{name}");
        }
        self.topics = topics;
        self.image = image;
        is_new
    }

    fn make_topic(&mut self, name: &str, id: u128) -> bool {
        let topic = Fact::Topic(TopicRecord {
            id: wire(id),
            name: name.to_owned(),
            internal: false,
            restored_partitions: 0,
        });
        self.commit(vec![topic.into(), partition(id, 0)])
    }
}

fn wire(id: u128) -> Bytes {
    Bytes::copy_from_slice(Uuid::from_u128(id).as_bytes())
}

fn partition(id: u128, index: i32) -> foz_metadata::record::Record {
    Fact::Partition(PartitionRecord {
        topic_id: wire(id),
        index,
        replicas: vec![0],
        isr: vec![0],
        leader: 0,
        ..PartitionRecord::default()
    })
    .into()
}

fn change(id: u128, change: PartitionChangeRecord) -> foz_metadata::record::Record {
    let topic_id = wire(id);
    Fact::PartitionChange(PartitionChangeRecord { topic_id, ..change }).into()
}

fn registration(node_id: i32) -> RegisterBroker {
    RegisterBroker {
        rack: Some(format!("rack-{node_id}")),
        ..test_registration::registration(node_id)
    }
}

#[test]
fn groups_see_what_matters_to_them_and_nothing_else() {
    let mut world = World::new();
    assert!(world.make_topic("orders", 7));
    assert!(world.make_topic("other", 8));
    assert!(world.commit(vec![partition(7, 1)]), "it grows");
    let led = PartitionChangeRecord {
        leader: Some(-1),
        leader_epoch: Some(1),
        partition_epoch: 1,
        ..PartitionChangeRecord::default()
    };
    assert!(!world.commit(vec![change(7, led)]), "its leader changes");
    let moved = PartitionChangeRecord {
        replicas: Some(NodeIds::from(vec![0, 1])),
        partition_epoch: 2,
        ..PartitionChangeRecord::default()
    };
    assert!(
        world.commit(vec![change(7, moved)]),
        "it is in another rack"
    );
    let rack = Fact::Rack(RackRecord {
        node_id: 1,
        rack: Some("rack-0".to_owned()),
    });
    assert!(world.commit(vec![rack.into()]), "the rack is another");
    let unused = registration(2);
    let registered = register_broker(&world.image, &unused).unwrap();
    assert!(!world.commit(registered.records), "a broker comes");
    let removed = Fact::RemoveTopic(RemoveTopicRecord { topic_id: wire(7) });
    assert!(world.commit(vec![removed.into()]), "it goes");
    assert!(world.make_topic("orders", 9), "another one comes");
    world.view = TopicsView::default();
    assert!(world.make_topic("more", 10), "somebody looks at it again");
}
