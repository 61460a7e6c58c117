//! What was deleted can be brought back, under any name that is free, as long as its brokers have it.

mod bounds;

use std::collections::{BTreeMap, BTreeSet};

use foz_metadata::Image;
use foz_metadata::image::{DeletedTopic, NO_LEADER, Partition, Resource};
use foz_metadata::record::Batch;
use foz_metadata::rules::{
    CreatePartitions, DELETED_PARTITIONS_MAX, DELETED_TOPICS_FREED_PER_CALL_MAX,
    DELETED_TOPICS_MAX, DeleteTopics, DeletedTopicRef, EXPIRE_ACTIVE_MS_MIN, ErrorCode, Increase,
    LogInDoubt, NewTopic, PurgeDeletedTopics, Refusal, ReportOfflineReplicas, RestoreTopic,
    TopicRef, create_partitions, delete_topics, expire_deleted_topics, free_for_room,
    over_deleted_topics, purge_deleted_topics, register_broker, report_offline_replicas,
    restore_topic, unregister_broker,
};
use uuid::Uuid;

use crate::support::{
    alter_broker_default, cluster, commit, create, epoch, fence, new_topic, partition,
    partition_on, reassign, registration, replicated, restart, state, try_create, unfence,
};

const GRACE: &str = "foz.delete.grace.ms";

fn delete_at(image: &mut Image, name: &str, now_ms: i64) {
    let request = DeleteTopics {
        topics: vec![TopicRef {
            name: name.to_owned(),
            id: None,
        }],
        now_ms,
        operator_epoch: 0,
    };
    let decision = delete_topics(image, &BTreeMap::new(), &request).unwrap();
    commit(image, decision).remove(0).unwrap();
}

fn by_name(name: &str) -> DeletedTopicRef {
    DeletedTopicRef::Name(name.to_owned())
}

fn restore_as(
    image: &mut Image,
    topic: DeletedTopicRef,
    new_name: Option<&str>,
) -> Result<(), Refusal> {
    let request = RestoreTopic {
        topic,
        new_name: new_name.map(str::to_owned),
        now_ms: 5_000,
        operator_epoch: 0,
    };
    let decision = restore_topic(image, &BTreeMap::new(), &request)?;
    commit(image, decision);
    Ok(())
}

fn restore(image: &mut Image) -> Result<(), Refusal> {
    restore_as(image, by_name("t"), None)
}

fn refused(
    image: &mut Image,
    topic: DeletedTopicRef,
    new_name: Option<&str>,
) -> (ErrorCode, String) {
    let before = image.clone();
    let refusal = restore_as(image, topic, new_name).unwrap_err();
    assert_eq!(*image, before);
    (refusal.code, refusal.message)
}

fn only_deleted(image: &Image) -> &DeletedTopic {
    assert_eq!(image.deleted_topic_count(), 1);
    image.deleted_topics().next().unwrap()
}

fn with_id(name: &str, id: u128) -> NewTopic {
    NewTopic {
        id: Uuid::from_u128(id),
        ..new_topic(name)
    }
}

#[test]
fn a_topic_comes_back_as_it_was_but_for_its_epochs() {
    let mut image = replicated("2");
    let before = image.clone();
    let topic = image.topic("t").unwrap().clone();
    delete_at(&mut image, "t", 1_000);
    assert_eq!(image.topic("t"), None);
    assert_eq!((image.topic_count(), image.replica_count(0)), (0, 0));
    assert_eq!(image.configs(&Resource::topic("t")), None);
    let deleted = only_deleted(&image);
    assert_eq!(
        (deleted.deleted_at_ms, deleted.grace_ends_at_ms),
        (1_000, 86_401_000)
    );
    assert_eq!(deleted.topic, topic);
    assert_eq!(image.deleted_partition_count(), 1);
    assert_eq!(Image::decode(&image.encode()).unwrap(), image);

    restore(&mut image).unwrap();
    assert_eq!(image.deleted_topic_count(), 0);
    let restored = image.topic("t").unwrap();
    assert_eq!(restored.restored_partitions, 1);
    assert_eq!(restored.id, topic.id);
    let old = &topic.partitions[0];
    let expected = Partition {
        leader_epoch: old.leader_epoch + 1,
        partition_epoch: old.partition_epoch + 1,
        ..old.clone()
    };
    assert_eq!(restored.partitions, [expected]);
    let resource = Resource::topic("t");
    assert_eq!(image.configs(&resource), before.configs(&resource));
    assert_eq!(image.replica_count(0), 1);
    assert_eq!(image.preferred_count(0), 1);
    // It is remembered, for a replica without a log is no new one.
    assert_eq!(Image::decode(&image.encode()).unwrap(), image);
}

#[test]
fn without_a_grace_nothing_stays() {
    let mut image = replicated("2");
    alter_broker_default(&mut image, GRACE, "0");
    delete_at(&mut image, "t", 1_000);
    assert_eq!(image.deleted_topic_count(), 0);

    let topic = NewTopic {
        config: BTreeMap::from([(GRACE.to_owned(), "5".to_owned())]),
        ..new_topic("u")
    };
    create(&mut image, topic);
    delete_at(&mut image, "u", 1_000);
    assert_eq!(only_deleted(&image).grace_ends_at_ms, 1_005);

    let topic = NewTopic {
        config: BTreeMap::from([(GRACE.to_owned(), i64::MAX.to_string())]),
        ..new_topic("v")
    };
    create(&mut image, topic);
    delete_at(&mut image, "v", 1_000);
    let ends = image.deleted_topics().map(|it| it.grace_ends_at_ms).max();
    assert_eq!(ends, Some(i64::MAX), "for ever");
}

#[test]
fn a_new_topic_of_the_name_is_no_obstacle() {
    let mut image = cluster(1);
    create(&mut image, with_id("t", 1));
    delete_at(&mut image, "t", 1_000);
    // Its id is not for others.
    let refusal = crate::support::refusal_of(&image, with_id("u", 1));
    assert_eq!(refusal.0, ErrorCode::InvalidRequest);
    assert!(refusal.1.contains("purge"), "{}", refusal.1);
    create(&mut image, with_id("t", 2));
    let (code, message) = refused(&mut image, by_name("t"), None);
    assert_eq!(code, ErrorCode::TopicAlreadyExists);
    assert!(message.contains("give another name"), "{message}");
    assert_eq!(Image::decode(&image.encode()).unwrap(), image);
    restore_as(&mut image, by_name("t"), Some("old")).unwrap();
    assert_eq!(image.topic("old").unwrap().id, Uuid::from_u128(1));
    assert_eq!(image.topic("t").unwrap().id, Uuid::from_u128(2));
    // And again, under the name that it has now.
    delete_at(&mut image, "old", 2_000);
    assert_eq!(&*only_deleted(&image).topic.name, "old");
    for (name, expected) in [
        ("no/name", ErrorCode::InvalidTopic),
        ("t", ErrorCode::TopicAlreadyExists),
    ] {
        assert_eq!(refused(&mut image, by_name("old"), Some(name)).0, expected);
    }
}

#[test]
fn of_several_with_one_name_the_id_says_which() {
    let mut image = cluster(1);
    for id in [1, 2] {
        create(&mut image, with_id("t", id));
        delete_at(&mut image, "t", 1_000 * i64::try_from(id).unwrap());
    }
    let (code, message) = refused(&mut image, by_name("t"), None);
    assert_eq!(code, ErrorCode::InvalidRequest);
    let at = |id| message.find(&Uuid::from_u128(id).to_string()).unwrap();
    assert!(at(2) < at(1), "the newest comes first: {message}");
    restore_as(&mut image, DeletedTopicRef::Id(Uuid::from_u128(1)), None).unwrap();
    assert_eq!(image.topic("t").unwrap().id, Uuid::from_u128(1));

    let unknown = |image: &mut Image, topic| refused(image, topic, None);
    let (code, message) = unknown(&mut image, DeletedTopicRef::Id(Uuid::from_u128(1)));
    assert_eq!(code, ErrorCode::UnknownTopicId);
    assert!(message.contains("is not deleted"), "{message}");
    let (code, _) = unknown(&mut image, DeletedTopicRef::Id(Uuid::from_u128(3)));
    assert_eq!(code, ErrorCode::UnknownTopicId);
    let (code, _) = unknown(&mut image, by_name("u"));
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn who_was_restarted_in_good_order_meanwhile_has_all() {
    let mut image = replicated("2");
    delete_at(&mut image, "t", 1);
    let deleted = only_deleted(&image).clone();
    for node_id in 0..3 {
        fence(&mut image, node_id);
        restart(&mut image, node_id, true);
        unfence(&mut image, node_id);
    }
    assert_eq!(*only_deleted(&image), deleted);
    restore(&mut image).unwrap();
    assert_eq!(state(&image), (&[0, 1, 2][..], &[][..], &[][..], 0));
}

#[test]
fn who_is_away_leads_nothing_and_is_waited_for() {
    let mut image = replicated("2");
    delete_at(&mut image, "t", 1);
    for node_id in 0..3 {
        fence(&mut image, node_id);
    }
    restore(&mut image).unwrap();
    assert_eq!(
        state(&image),
        (&[][..], &[0, 1, 2][..], &[0][..], NO_LEADER)
    );
    restart(&mut image, 2, true);
    unfence(&mut image, 2);
    assert_eq!(state(&image), (&[2][..], &[0, 1][..], &[][..], 2));
}

#[test]
fn what_a_buried_log_lost_is_known_of_it_alone() {
    let mut image = partition_on(3, &[0, 1], "2");
    create(
        &mut image,
        NewTopic {
            assignments: vec![vec![0, 1]],
            ..with_id("u", 7)
        },
    );
    for name in ["t", "u"] {
        delete_at(&mut image, name, 1);
    }
    fence(&mut image, 0);
    let known = image.broker(0).unwrap();
    let mut request = registration(0, 99);
    request.directories[0].disk_epoch = known.epoch;
    request.directories[0].intact = true;
    request.in_doubt = vec![LogInDoubt {
        topic_id: Some(Uuid::from_u128(7)),
        topic: "u".to_owned(),
        index: 0,
        missing: true,
    }];
    let decision = register_broker(&image, &request).unwrap();
    commit(&mut image, decision);
    for deleted in image.deleted_topics() {
        let partition = &deleted.topic.partitions[0];
        let (isr, never_in_sync): (&[i32], &[i32]) = match &*deleted.topic.name {
            "u" => (&[1], &[0]),
            _ => (&[0, 1], &[]),
        };
        assert_eq!(
            (&*partition.isr, &*partition.never_in_sync),
            (isr, never_in_sync)
        );
    }
}

#[test]
fn who_lost_its_disk_meanwhile_does_not_lead_with_an_empty_one() {
    let mut image = replicated("1");
    delete_at(&mut image, "t", 1);
    fence(&mut image, 0);
    let mut request = registration(0, 99);
    request.directories[0].disk_epoch = -1;
    let decision = register_broker(&image, &request).unwrap();
    commit(&mut image, decision);
    unfence(&mut image, 0);
    let lost = &only_deleted(&image).topic.partitions[0];
    assert_eq!((&*lost.isr, &*lost.never_in_sync), (&[1, 2][..], &[0][..]));
    assert_eq!(lost.leader, NO_LEADER);
    restore(&mut image).unwrap();
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 1));
    assert_eq!(partition(&image).never_in_sync, [0]);
}

#[test]
fn when_all_may_have_lost_their_ends_the_last_one_sure_leads() {
    let mut image = replicated("1");
    delete_at(&mut image, "t", 1);
    for node_id in [0, 2, 1] {
        fence(&mut image, node_id);
        restart(&mut image, node_id, false);
        unfence(&mut image, node_id);
    }
    let lost = &only_deleted(&image).topic.partitions[0];
    assert_eq!((&*lost.isr, &*lost.last_known_elr), (&[][..], &[1][..]));
    restore(&mut image).unwrap();
    assert_eq!(partition(&image).leader, 1);
}

#[test]
fn what_nobody_has_any_more_does_not_come_back_empty() {
    let mut image = partition_on(2, &[1], "1");
    delete_at(&mut image, "t", 1);
    fence(&mut image, 1);
    let decision = unregister_broker(&image, 1, 0).unwrap();
    commit(&mut image, decision);
    let (code, message) = refused(&mut image, by_name("t"), None);
    assert_eq!(code, ErrorCode::InvalidRequest);
    assert!(message.contains("partition 0"), "{message}");
    // A new broker of that id has nothing of it either.
    let mut request = registration(1, 50);
    request.directories[0].disk_epoch = -1;
    let decision = register_broker(&image, &request).unwrap();
    commit(&mut image, decision);
    unfence(&mut image, 1);
    refused(&mut image, by_name("t"), None);
}

#[test]
fn a_broker_that_is_unregistered_keeps_nothing_of_what_is_deleted() {
    let mut image = replicated("2");
    delete_at(&mut image, "t", 1);
    fence(&mut image, 0);
    let decision = unregister_broker(&image, 0, 0).unwrap();
    commit(&mut image, decision);
    let left = &only_deleted(&image).topic.partitions[0];
    assert_eq!((&*left.replicas, &*left.isr), (&[1, 2][..], &[1, 2][..]));
    restore(&mut image).unwrap();
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 1));
}

#[test]
fn a_reassignment_ends_with_the_deletion() {
    let mut image = partition_on(3, &[0, 1], "1");
    reassign(&mut image, Some(&[2, 1])).unwrap();
    assert!(partition(&image).is_reassigning());
    delete_at(&mut image, "t", 1);
    assert_eq!(image.reassigning_partitions().count(), 0);
    restore(&mut image).unwrap();
    assert_eq!(partition(&image).replicas, [1, 0]);
    assert!(!partition(&image).is_reassigning());
}

#[test]
fn an_internal_topic_comes_back_under_its_own_name_only() {
    let mut image = cluster(1);
    let topic = NewTopic {
        internal: true,
        ..new_topic("__consumer_offsets")
    };
    create(&mut image, topic);
    delete_at(&mut image, "__consumer_offsets", 1);
    let wanted = by_name("__consumer_offsets");
    let (code, message) = refused(&mut image, wanted.clone(), Some("offsets"));
    assert_eq!(code, ErrorCode::InvalidTopic);
    assert!(message.contains("internal"), "{message}");
    restore_as(&mut image, wanted, None).unwrap();
    let restored = image.topic("__consumer_offsets").unwrap();
    assert!(restored.internal);
    // Brokers make it anew as soon as it is missed: that one makes room, and can be brought back in turn.
    let id = restored.id;
    delete_at(&mut image, "__consumer_offsets", 2);
    let topic = NewTopic {
        internal: true,
        ..with_id("__consumer_offsets", 77)
    };
    create(&mut image, topic);
    restore_as(&mut image, DeletedTopicRef::Id(id), None).unwrap();
    assert_eq!(image.topic("__consumer_offsets").unwrap().id, id);
    let deleted = only_deleted(&image);
    assert_eq!(deleted.topic.id, Uuid::from_u128(77));
    assert_eq!(deleted.deleted_at_ms, 5_000);
}

#[test]
fn what_is_purged_is_gone() {
    let mut image = cluster(1);
    for id in [1, 2] {
        create(&mut image, with_id("t", id));
        delete_at(&mut image, "t", 1);
    }
    create(&mut image, with_id("u", 3));
    delete_at(&mut image, "u", 1);
    let request = PurgeDeletedTopics {
        topics: vec![
            by_name("t"),
            DeletedTopicRef::Id(Uuid::from_u128(2)),
            by_name("v"),
            DeletedTopicRef::Id(Uuid::from_u128(9)),
        ],
        operator_epoch: 0,
    };
    let decision = purge_deleted_topics(&image, &request).unwrap();
    let results = commit(&mut image, decision);
    let counts: Vec<_> = results
        .iter()
        .map(|it| it.as_ref().map(Vec::len).map_err(|refusal| refusal.code))
        .collect();
    assert_eq!(
        counts,
        [
            Ok(2),
            Ok(1),
            Err(ErrorCode::UnknownTopicOrPartition),
            Err(ErrorCode::UnknownTopicId)
        ]
    );
    assert_eq!(&*only_deleted(&image).topic.name, "u");
}

#[test]
fn time_ends_the_grace() {
    let mut image = cluster(1);
    alter_broker_default(&mut image, GRACE, "100");
    for (id, name) in [(1, "a"), (2, "b")] {
        create(&mut image, with_id(name, id));
        delete_at(&mut image, name, 1_000 * i64::try_from(id).unwrap());
    }
    for (now_ms, purged, left) in [(1_099, 0, 2), (1_100, 1, 1), (1_100, 0, 1), (9_999, 1, 0)] {
        assert_eq!(expire(&mut image, now_ms, 100), purged);
        assert_eq!(image.deleted_topic_count(), left);
    }
}

fn expire(image: &mut Image, now_ms: i64, active_ms: i64) -> usize {
    let decision = expire_deleted_topics(image, now_ms, active_ms).unwrap();
    commit(image, decision)
}

#[test]
fn a_controller_whose_clock_is_ahead_does_not_purge_at_once() {
    let mut image = cluster(1);
    for (id, name, grace_ms) in [(1, "short", 100), (2, "long", 86_400_000)] {
        let topic = NewTopic {
            config: BTreeMap::from([(GRACE.to_owned(), grace_ms.to_string())]),
            ..with_id(name, id)
        };
        create(&mut image, topic);
        delete_at(&mut image, name, 1_000);
    }
    for (active_ms, purged, left) in [
        (99, 0, 2),
        (100, 1, 1),
        (EXPIRE_ACTIVE_MS_MIN - 1, 0, 1),
        (EXPIRE_ACTIVE_MS_MIN, 1, 0),
    ] {
        assert_eq!(over_deleted_topics(&image, i64::MAX).count(), purged + left);
        assert_eq!(expire(&mut image, i64::MAX, active_ms), purged);
        assert_eq!(image.deleted_topic_count(), left);
    }
}

#[test]
fn partitions_that_are_added_later_are_not_restored_ones() {
    let mut image = replicated("2");
    delete_at(&mut image, "t", 1);
    restore(&mut image).unwrap();
    let request = CreatePartitions {
        topics: vec![Increase {
            name: "t".to_owned(),
            count: 3,
            assignments: Vec::new(),
        }],
        validate_only: false,
        operator_epoch: 0,
        seed: 0,
    };
    let decision = create_partitions(&image, &request).unwrap();
    commit(&mut image, decision).remove(0).unwrap();
    let topic = image.topic("t").unwrap();
    assert_eq!((topic.partitions.len(), topic.restored_partitions), (3, 1));
    assert_eq!(Image::decode(&image.encode()).unwrap(), image);
}
