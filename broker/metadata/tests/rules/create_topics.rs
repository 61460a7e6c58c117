//! Topics are made with their defaults, or refused with Kafka's code.

use std::collections::BTreeMap;

use foz_metadata::rules::{ErrorCode, NewTopic, fence_broker};

use crate::support::{
    alter_broker_default, cluster, commit, create, new_topic, refusal_of, try_create,
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
fn more_replicas_than_living_brokers_are_refused_with_both_numbers() {
    let mut image = cluster(3);
    let epoch = image.broker(2).unwrap().epoch;
    let decision = fence_broker(&image, 2, epoch).unwrap();
    commit(&mut image, decision);
    let three = NewTopic {
        replication_factor: 3,
        ..new_topic("t")
    };
    assert_eq!(
        refusal_of(&image, three),
        (
            ErrorCode::InvalidReplicationFactor,
            "unable to place 3 replicas of each partition: only 2 brokers are registered and unfenced"
                .to_owned()
        )
    );
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
fn without_living_brokers_no_topic_is_made() {
    let (code, message) = refusal_of(&cluster(0), new_topic("t"));
    assert_eq!(code, ErrorCode::InvalidReplicationFactor);
    assert_eq!(
        message,
        "unable to place the partitions: no broker is registered and unfenced"
    );
}
