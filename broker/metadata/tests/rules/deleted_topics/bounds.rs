//! What is deleted goes for good where there is too much of it.

use super::*;

#[test]
fn the_oldest_go_first_where_room_is_short() {
    let mut image = cluster(2);
    for (id, broker) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
        let name = format!("t{id}");
        let topic = NewTopic {
            assignments: vec![vec![broker]],
            ..with_id(&name, id)
        };
        create(&mut image, topic);
        // The ids are not in the order of time.
        delete_at(&mut image, &name, 1_000 - i64::try_from(id).unwrap());
    }
    let freed = |image: &mut Image, short: &[i32], topics_max| {
        let short = short.iter().copied().collect::<BTreeSet<_>>();
        let decision = free_for_room(image, &short, topics_max).unwrap();
        let freed = commit(image, decision);
        freed
            .iter()
            .map(|it| it.topic.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(freed(&mut image, &[], 9), [""; 0]);
    assert_eq!(freed(&mut image, &[0, 1], 0), [""; 0]);
    assert_eq!(freed(&mut image, &[0], 1), ["t3"]);
    assert_eq!(freed(&mut image, &[0], 9), ["t1"]);
    assert_eq!(freed(&mut image, &[0, 1], 9), ["t4", "t2"]);
    let many = u128::try_from(DELETED_TOPICS_FREED_PER_CALL_MAX).unwrap() + 5;
    for id in 0..many {
        let name = format!("u{id}");
        create(&mut image, with_id(&name, 100 + id));
        delete_at(&mut image, &name, i64::try_from(id).unwrap());
    }
    let some = freed(&mut image, &[0, 1], usize::MAX);
    assert_eq!(some.len(), DELETED_TOPICS_FREED_PER_CALL_MAX);
    assert_eq!(some[0], "u0");
}

#[test]
fn what_cannot_be_used_gives_no_room() {
    let mut image = cluster(2);
    let topic = NewTopic {
        assignments: vec![vec![0, 1]],
        ..with_id("t", 1)
    };
    create(&mut image, topic);
    delete_at(&mut image, "t", 1_000);
    let report = ReportOfflineReplicas {
        node_id: 0,
        broker_epoch: epoch(&image, 0),
        replicas: [(Uuid::from_u128(1), 0)].into(),
    };
    let decision = report_offline_replicas(&image, &report).unwrap();
    commit(&mut image, decision);
    for (short, freed) in [(0, 0), (1, 1)] {
        let decision = free_for_room(&image, &[short].into(), 9).unwrap();
        assert_eq!(commit(&mut image, decision).len(), freed, "{short}");
    }
}

#[test]
fn the_number_of_deleted_topics_is_bounded() {
    let mut image = cluster(1);
    let mut deleted = 0;
    // Several with each request, and the last one purges.
    for count in [DELETED_TOPICS_MAX / 2, DELETED_TOPICS_MAX / 2, 2] {
        let names: Vec<_> = (deleted..deleted + count)
            .map(|n| format!("t{n}"))
            .collect();
        let topics = names.iter().enumerate().map(|(n, name)| {
            let id = u128::try_from(1 + deleted + n).unwrap();
            with_id(name, id)
        });
        let decision = try_create(&image, topics.collect());
        commit(&mut image, decision);
        deleted += count;
        let topics = names.into_iter().map(|name| TopicRef { name, id: None });
        let request = DeleteTopics {
            topics: topics.collect(),
            now_ms: i64::try_from(deleted).unwrap(),
            operator_epoch: 0,
        };
        let decision = delete_topics(&image, &BTreeMap::new(), &request).unwrap();
        assert!(commit(&mut image, decision).iter().all(Result::is_ok));
    }
    assert_eq!(image.deleted_topic_count(), DELETED_TOPICS_MAX);
    let oldest = image.deleted_topics_oldest_first()[0]
        .topic
        .name
        .to_string();
    assert_eq!(oldest, "t2");
}

#[test]
fn the_number_of_deleted_partitions_is_bounded() {
    let mut image = cluster(1);
    let partitions = 2_000;
    let kept = DELETED_PARTITIONS_MAX / partitions;
    for id in 0..=kept {
        let name = format!("t{id}");
        let topic = NewTopic {
            partitions: i32::try_from(partitions).unwrap(),
            ..with_id(&name, 1 + u128::try_from(id).unwrap())
        };
        create(&mut image, topic);
        delete_at(&mut image, &name, i64::try_from(id).unwrap());
    }
    assert_eq!(image.deleted_topic_count(), kept);
    assert!(image.deleted_topics().all(|it| &*it.topic.name != "t0"));
}

/// What the quorum takes as one batch is 4 MiB, and most of it is for topics that there are.
#[test]
fn a_broker_that_lost_its_disk_can_register_however_much_is_deleted() {
    let mut image = cluster(3);
    let partitions = 2_000;
    for id in 0..DELETED_PARTITIONS_MAX / partitions {
        let name = format!("t{id}");
        let topic = NewTopic {
            partitions: i32::try_from(partitions).unwrap(),
            replication_factor: 3,
            ..with_id(&name, 1 + u128::try_from(id).unwrap())
        };
        create(&mut image, topic);
        delete_at(&mut image, &name, 1);
    }
    assert_eq!(image.deleted_partition_count(), DELETED_PARTITIONS_MAX);
    fence(&mut image, 0);
    let mut request = registration(0, 99);
    request.directories[0].disk_epoch = -1;
    let decision = register_broker(&image, &request).unwrap();
    assert!(decision.records.len() > DELETED_PARTITIONS_MAX);
    let batch = Batch {
        follows: image.offset(),
        term: 1,
        records: decision.records,
    };
    let bytes = batch.encode_to_bytes().len();
    assert!(bytes < 1 << 20, "{bytes}");
}
