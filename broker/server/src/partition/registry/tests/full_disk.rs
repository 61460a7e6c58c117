//! A disk without room, this broker's and those of others.

use bytes::BytesMut;
use foz_metadata::rules::report_space;
use foz_replication::Cluster as _;

use super::*;
use crate::disk_space::Space;
use crate::partition::leading::Nodes;
use crate::partition::{ACKS_ALL, ProduceError};

/// Nobody has left the ISR for it yet.
fn report(world: &mut World, node_id: i32, is_short: bool) {
    let epoch = world.image.broker(node_id).unwrap().epoch;
    let reported = report_space(&world.image, node_id, epoch, is_short).unwrap();
    let of_broker = reported.records.into_iter().next_back();
    world.commit(of_broker.into_iter().collect());
}

/// Who waits for the others would wait until they lag.
#[tokio::test]
async fn where_too_few_have_room_acks_all_is_refused_before_anything_is_written() {
    let mut world = World::new();
    let (topic, key) = (ResourceKind::Topic, "min.insync.replicas");
    world.configure(topic, "orders", key, Some("2"));
    world.create_topic(&[0, 1, 2]);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    let produce = |world: &World, acks| {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(&RecordToWrite::default());
        let batch = BytesMut::from(&batch.build().unwrap()[..]);
        partition.append(&world.image, acks, batch).map(|_| ())
    };
    for (short, is_refused) in [
        (vec![], false),
        (vec![1], false),
        (vec![1, 2], true),
        // What this broker knows of itself is newer.
        (vec![0, 2], false),
        (vec![0, 1, 2], true),
        (vec![0], false),
    ] {
        for node_id in 0..3 {
            report(&mut world, node_id, short.contains(&node_id));
        }
        let before = partition.log().log_end_offset();
        match produce(&world, ACKS_ALL) {
            Ok(()) => assert!(!is_refused, "{short:?}"),
            Err(ProduceError::TooFewHaveRoom) => {
                assert!(is_refused, "{short:?}");
                assert_eq!(partition.log().log_end_offset(), before);
            }
            Err(error) => panic!("{short:?}: {error:?}"),
        }
        produce(&world, 1).unwrap();
    }
    // Its own disk comes first, and too few members as ever.
    for node_id in [1, 2] {
        report(&mut world, node_id, true);
    }
    partition.located().directory.disk_gate().set(Space::Low);
    let refused = produce(&world, ACKS_ALL).unwrap_err();
    assert!(matches!(refused, ProduceError::NoRoom), "{refused:?}");
    partition.located().directory.disk_gate().set(Space::Roomy);
    world.change(PartitionChangeRecord {
        isr: Some(NodeIds::from(vec![0])),
        ..PartitionChangeRecord::default()
    });
    let refused = produce(&world, ACKS_ALL).unwrap_err();
    assert!(matches!(refused, ProduceError::Acks(_)), "{refused:?}");
}

#[tokio::test]
async fn a_reset_whose_mark_may_come_back_stops_the_process() {
    let (mut world, partition) = follower();
    let checkpoint = "recovery-point-offset-checkpoint.tmp";
    std::os::unix::fs::symlink("/dev/full", world.data.path().join(checkpoint)).unwrap();
    let directory = world.directory().logs();
    directory.reset(&partition.log(), 9, 0).unwrap();
    let (here, elsewhere) = (
        world.data.path().join("orders-0"),
        world.data.path().join("elsewhere"),
    );
    fs::rename(&here, &elsewhere).unwrap();
    world.checkpoint();
    fs::rename(&elsewhere, &here).unwrap();
    let reason = world.fatal.try_recv().unwrap();
    assert!(reason.contains("orders-0 cannot be flushed"), "{reason}");
    assert!(partition.log().has_failed_flush());
}

/// One with room may be elected by what another broker says, and acknowledge alone.
#[tokio::test]
async fn who_has_no_room_knows_from_its_lease_only_of_what_nobody_else_can_lead() {
    let mut world = World::new();
    world.create_topic(&[0, 1]);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    let lease = Arc::clone(&world.broker.lease);
    let is_fresh = |is_short: Option<bool>| {
        if let Some(is_short) = is_short {
            lease.says(is_short);
            assert!(
                !lease.is_fresh(|| partition.is_alone_in_sync()),
                "nobody has answered"
            );
        }
        lease.answered(tokio::time::Instant::now());
        lease.is_fresh(|| partition.is_alone_in_sync())
    };
    assert!(is_fresh(Some(false)));
    assert!(!is_fresh(Some(true)));
    // Nor does anybody who waits for it spin.
    let deadline = tokio::time::Instant::now() + Duration::from_millis(50);
    assert!(
        !lease
            .renewed(|| partition.is_alone_in_sync(), deadline)
            .await
    );
    world.change(PartitionChangeRecord {
        isr: Some(NodeIds::from(vec![0])),
        ..PartitionChangeRecord::default()
    });
    assert!(is_fresh(None), "it is alone");
    world.change(PartitionChangeRecord {
        isr: Some(NodeIds::from(vec![0, 1])),
        ..PartitionChangeRecord::default()
    });
    assert!(!is_fresh(None));
    assert!(is_fresh(Some(false)));
}

/// Whoever has room, but is not in sync, may take hours to be.
#[tokio::test]
async fn while_nobody_in_sync_has_room_who_restarts_without_comes_back() {
    let mut world = World::new();
    world.create_topic(&[0, 1, 2]);
    for node_id in [0, 1] {
        report(&mut world, node_id, true);
    }
    for (isr, may_join) in [(vec![0], true), (vec![0, 2], false)] {
        world.change(PartitionChangeRecord {
            isr: Some(NodeIds::from(isr)),
            ..PartitionChangeRecord::default()
        });
        let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
        let role = partition.role.read();
        let leader = role.leading().unwrap().leader.lock();
        let nodes = Nodes::of(&world.image, (TOPIC_ID, 0), &leader);
        assert_eq!(nodes.may_join(1).is_some(), may_join);
        assert!(nodes.may_join(2).is_some());
    }
}
