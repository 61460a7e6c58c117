//! Topics are made with their defaults, or refused with Kafka's code.

use std::collections::BTreeMap;

use foz_metadata::rules::{ErrorCode, NewTopic, balance_leaders, fence_broker};

use crate::support::{
    alter_broker_default, cluster, commit, cordon_brokers, create, fence, grant, new_topic,
    propose_at, refusal_of, restart, stop, try_create, unfence,
};

#[test]
fn topics_get_defaults_that_were_set_by_request() {
    let mut image = cluster(3);
    alter_broker_default(&mut image, "num.partitions", "5");
    create(&mut image, new_topic("t"));
    assert_eq!(image.topic("t").unwrap().partitions.len(), 5);
}

#[test]
fn bad_topics_are_refused_with_kafkas_code() {
    let mut image = cluster(1);
    create(&mut image, new_topic("taken.name"));
    for (topic, code) in [
        (new_topic("taken.name"), ErrorCode::TopicAlreadyExists),
        (new_topic("taken_name"), ErrorCode::InvalidTopic),
        (new_topic(""), ErrorCode::InvalidTopic),
        (new_topic("a/b"), ErrorCode::InvalidTopic),
        (
            NewTopic {
                partitions: 0,
                ..new_topic("t")
            },
            ErrorCode::InvalidPartitions,
        ),
        (
            NewTopic {
                partitions: -2,
                ..new_topic("t")
            },
            ErrorCode::InvalidPartitions,
        ),
        (
            NewTopic {
                partitions: 10_001,
                ..new_topic("t")
            },
            ErrorCode::PolicyViolation,
        ),
        (
            NewTopic {
                replication_factor: 0,
                ..new_topic("t")
            },
            ErrorCode::InvalidReplicationFactor,
        ),
        (
            NewTopic {
                replication_factor: 2,
                ..new_topic("t")
            },
            ErrorCode::InvalidReplicationFactor,
        ),
        (
            NewTopic {
                assignments: vec![vec![0, 1]],
                ..new_topic("t")
            },
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            NewTopic {
                assignments: vec![vec![0, 0]],
                ..new_topic("t")
            },
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            NewTopic {
                assignments: vec![vec![]],
                ..new_topic("t")
            },
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            NewTopic {
                assignments: vec![vec![7]],
                ..new_topic("t")
            },
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            NewTopic {
                assignments: vec![vec![0]],
                partitions: 1,
                ..new_topic("t")
            },
            ErrorCode::InvalidRequest,
        ),
    ] {
        let what = format!("{topic:?}");
        assert_eq!(refusal_of(&image, topic).0, code, "{what}");
    }
    let configured = |key: &str, value: &str| NewTopic {
        config: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        ..new_topic("t")
    };
    assert_eq!(
        refusal_of(&image, configured("retention.mss", "1")),
        (
            ErrorCode::InvalidConfig,
            "unknown topic config \"retention.mss\"; did you mean retention.ms?".to_owned()
        )
    );
    let long = "x".repeat(40_000);
    assert_eq!(
        refusal_of(&image, configured("cleanup.policy", &long)).0,
        ErrorCode::InvalidConfig
    );
}

#[test]
fn more_replicas_than_brokers_are_refused_with_the_numbers() {
    let mut image = cluster(3);
    // It comes back.
    fence(&mut image, 2);
    let of_factor = |replication_factor| NewTopic {
        replication_factor,
        ..new_topic("t")
    };
    let refused = |message: &str| (ErrorCode::InvalidReplicationFactor, message.to_owned());
    let too_many = "replication factor 4 of topic \"t\" is too many: the cluster has only 3 brokers; it can be at most 3";
    assert_eq!(refusal_of(&image, of_factor(4)), refused(too_many));
    cordon_brokers(&mut image, &[0], true);
    let too_many = "replication factor 3 of topic \"t\" is too many: the cluster has only 2 brokers that are not cordoned \
                    (cordoned are [0]); it can be at most 2";
    assert_eq!(refusal_of(&image, of_factor(3)), refused(too_many));
    assert_eq!(try_create(&image, vec![of_factor(2)]).answer, [Ok(())]);
}

/// The one that is not away is cordoned: it may lead what it has, and gets nothing new.
#[test]
fn each_partition_needs_a_replica_that_can_lead() {
    let mut image = cluster(3);
    fence(&mut image, 0);
    stop(&mut image, 1);
    cordon_brokers(&mut image, &[2], true);
    let two = NewTopic {
        replication_factor: 2,
        ..new_topic("t")
    };
    let impossible = "replication factor 2 of topic \"t\" is impossible now: all 2 brokers that may have replicas are fenced \
                      or about to stop, and one of the replicas has to lead; a broker has to come back first";
    assert_eq!(
        refusal_of(&image, two.clone()),
        (ErrorCode::InvalidReplicationFactor, impossible.to_owned())
    );
    unfence(&mut image, 0);
    create(&mut image, two);
    let partition = image.partition("t", 0).unwrap();
    assert_eq!(partition.leader, 0);
}

#[test]
fn who_is_away_gets_replicas_and_is_not_in_sync() {
    let topic = NewTopic {
        partitions: 6,
        replication_factor: 3,
        config: [("min.insync.replicas".to_owned(), "3".to_owned())].into(),
        ..new_topic("t")
    };
    let mut fenced = cluster(3);
    fence(&mut fenced, 2);
    let mut stopping = cluster(3);
    stop(&mut stopping, 2);
    let mut granted = cluster(3);
    grant(&mut granted, 2);
    for mut image in [fenced, stopping, granted] {
        create(&mut image, topic.clone());
        for (_, _, partition) in image.partitions() {
            assert_eq!(partition.replicas.len(), 3);
            let mut isr = partition.isr.clone();
            isr.sort_unstable();
            assert_eq!((&*isr, &*partition.never_in_sync), (&[0, 1][..], &[2][..]));
            // Nothing was acknowledged, so nobody has to have it.
            assert_eq!((&*partition.elr, partition.leader_epoch), (&[][..], 0));
        }
        let led = [0, 1, 2].map(|node_id| image.partitions_led_by(node_id).count());
        let preferred = [0, 1, 2].map(|node_id| image.preferred_count(node_id));
        assert_eq!((led, preferred), ([3, 3, 0], [2, 2, 2]));

        // It comes back, and is let in by whoever leads.
        if !image.is_alive(2) {
            unfence(&mut image, 2);
        } else {
            fence(&mut image, 2);
            restart(&mut image, 2, true);
            unfence(&mut image, 2);
        }
        for index in 0..6 {
            propose_at(&mut image, index, &[0, 1, 2]);
        }
        let decision = balance_leaders(&image, &BTreeMap::new()).unwrap();
        commit(&mut image, decision);
        let led = [0, 1, 2].map(|node_id| image.partitions_led_by(node_id).count());
        assert_eq!(led, [2, 2, 2]);
    }
}

#[test]
fn who_lives_gets_replicas_first() {
    let mut image = cluster(5);
    fence(&mut image, 1);
    stop(&mut image, 4);
    create(
        &mut image,
        NewTopic {
            partitions: 9,
            replication_factor: 3,
            ..new_topic("t")
        },
    );
    let counts = [0, 1, 2, 3, 4].map(|node_id| image.replica_count(node_id));
    assert_eq!(counts, [9, 0, 9, 9, 0]);
    assert!(image.partitions().all(|(_, _, it)| it.isr.len() == 3));
}

/// What is committed is as safe as what is produced: with one of three away, groups have three copies and go on.
#[test]
fn internal_topics_count_who_is_away() {
    let mut image = cluster(3);
    alter_broker_default(&mut image, "min.insync.replicas", "2");
    fence(&mut image, 1);
    let internal = NewTopic {
        internal: true,
        partitions: 50,
        ..new_topic("__consumer_offsets")
    };
    create(&mut image, internal);
    let mut partitions = image.partitions();
    assert!(partitions.all(|(_, _, it)| it.replicas.len() == 3 && it.isr.len() == 2));
}

#[test]
fn replicas_assigned_by_hand_may_be_fenced_but_are_not_in_sync() {
    let mut image = cluster(3);
    let epoch = image.broker(0).unwrap().epoch;
    let decision = fence_broker(&image, 0, epoch).unwrap();
    commit(&mut image, decision);
    let assigned = |assignments: Vec<Vec<i32>>| NewTopic {
        assignments,
        ..new_topic("t")
    };
    for (assignments, message) in [
        (
            vec![vec![0]],
            "the assignment of partition 0 names only brokers that are fenced or about to stop: [0]",
        ),
        (
            vec![vec![1, 2], vec![1]],
            "the assignment of partition 1 names 1 brokers, but the other partitions have 2 replicas",
        ),
    ] {
        let refused = refusal_of(&image, assigned(assignments));
        let expected = (ErrorCode::InvalidReplicaAssignment, message.to_owned());
        assert_eq!(refused, expected);
    }
    create(&mut image, assigned(vec![vec![0, 2, 1]]));
    let partition = image.partition("t", 0).unwrap();
    assert_eq!((&*partition.isr, partition.leader), (&[2, 1][..], 2));
    assert!(partition.elr.is_empty(), "nothing was acknowledged yet");
}

#[test]
fn topics_have_the_default_replication_factor_internal_ones_what_brokers_allow() {
    let mut image = cluster(2);
    alter_broker_default(&mut image, "default.replication.factor", "2");
    create(&mut image, new_topic("t"));
    assert_eq!(image.partition("t", 0).unwrap().isr.len(), 2);
    let internal = NewTopic {
        internal: true,
        ..new_topic("__consumer_offsets")
    };
    create(&mut image, internal);
    let partition = image.partition("__consumer_offsets", 0).unwrap();
    assert_eq!(partition.replicas.len(), 2, "3 with more brokers");
}

#[test]
fn a_name_twice_in_a_request_fails_both_times_and_the_others_are_made() {
    let image = cluster(1);
    let decision = try_create(&image, vec![new_topic("a"), new_topic("b"), new_topic("a")]);
    let codes: Vec<_> = decision
        .answer
        .iter()
        .map(|result| result.as_ref().map_err(|refusal| refusal.code).copied())
        .collect();
    assert_eq!(
        codes,
        [
            Err(ErrorCode::InvalidRequest),
            Ok(()),
            Err(ErrorCode::InvalidRequest)
        ]
    );
    assert_eq!(decision.records.len(), 2);
}

#[test]
fn the_partitions_of_a_whole_request_are_bounded() {
    let image = cluster(1);
    let big = |name: &str| NewTopic {
        partitions: 6_000,
        ..new_topic(name)
    };
    let decision = try_create(&image, vec![big("a"), big("b"), new_topic("c")]);
    assert!(decision.answer[0].is_ok() && decision.answer[2].is_ok());
    assert_eq!(
        decision.answer[1].as_ref().unwrap_err().code,
        ErrorCode::PolicyViolation
    );
}

#[test]
fn without_brokers_no_topic_is_made() {
    let (code, message) = refusal_of(&cluster(0), new_topic("t"));
    assert_eq!(code, ErrorCode::InvalidReplicationFactor);
    assert_eq!(
        message,
        "replication factor 1 of topic \"t\" is too many: the cluster has no broker; a broker has to register first"
    );
}
