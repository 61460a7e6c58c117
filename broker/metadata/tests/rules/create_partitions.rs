//! Topics grow.

use foz_metadata::rules::{CreatePartitions, ErrorCode, Increase, NewTopic, create_partitions};

use crate::support::{cluster, commit, create, new_topic};

#[test]
fn partitions_are_added_never_taken_away() {
    let mut image = cluster(3);
    create(
        &mut image,
        NewTopic {
            partitions: 3,
            ..new_topic("t")
        },
    );
    let increase = |name: &str, count, assignments: Vec<Vec<i32>>| CreatePartitions {
        topics: vec![Increase {
            name: name.to_owned(),
            count,
            assignments,
        }],
        validate_only: false,
        operator_epoch: 0,
        seed: 1,
    };
    for (request, code) in [
        (increase("x", 4, vec![]), ErrorCode::UnknownTopicOrPartition),
        (increase("t", 3, vec![]), ErrorCode::InvalidPartitions),
        (increase("t", -1, vec![]), ErrorCode::InvalidPartitions),
        (increase("t", 10_004, vec![]), ErrorCode::PolicyViolation),
        (
            increase("t", 5, vec![vec![0]]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            increase("t", 4, vec![vec![9]]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            increase("t", 4, vec![vec![0, 1]]),
            ErrorCode::InvalidReplicaAssignment,
        ),
    ] {
        let decision = create_partitions(&image, &request).unwrap();
        assert_eq!(
            decision.answer[0].as_ref().unwrap_err().code,
            code,
            "{request:?}"
        );
        assert_eq!(decision.records, []);
    }
    let decision = create_partitions(&image, &increase("t", 6, vec![])).unwrap();
    commit(&mut image, decision)[0].as_ref().unwrap();
    for node_id in 0..3 {
        assert_eq!(image.partitions_led_by(node_id).count(), 2);
    }
    let decision = create_partitions(&image, &increase("t", 7, vec![vec![2]])).unwrap();
    commit(&mut image, decision)[0].as_ref().unwrap();
    assert_eq!(image.partition("t", 6).unwrap().leader, 2);
}
