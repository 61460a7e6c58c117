//! A cordoned broker gets nothing new and keeps what it has.

use std::collections::{BTreeMap, BTreeSet};

use foz_metadata::Changes;
use foz_metadata::image::Image;
use foz_metadata::record::Batch;
use foz_metadata::rules::{
    CreatePartitions, ErrorCode, Increase, NewTopic, acquire_operator_epoch, cordon,
    create_partitions, raise_internal_topics, register_broker,
};

use crate::support::{
    cluster, commit, cordon_brokers, create, fence, new_topic, propose, reassign, refusal_of,
    registration, replicated, try_create, unfence,
};

#[test]
fn a_cordon_outlives_processes_and_snapshots_and_is_said_once() {
    let mut image = cluster(2);
    cordon_brokers(&mut image, &[1, 7], true);
    assert_eq!(image.cordoned().collect::<Vec<_>>(), [1, 7]);
    let again = cordon(&image, &BTreeSet::from([1, 7]), true, 0).unwrap();
    assert_eq!(again.records, []);
    fence(&mut image, 1);
    let decision = register_broker(&image, &registration(1, 2)).unwrap();
    commit(&mut image, decision);
    assert!(image.is_cordoned(1));
    assert_eq!(Image::decode(&image.encode()).unwrap(), image);

    let decision = cordon(&image, &BTreeSet::from([1, 7]), false, 0).unwrap();
    let batch = Batch {
        follows: image.offset(),
        term: 1,
        records: decision.records,
    };
    let after = image.apply(&batch).unwrap();
    assert_eq!(after.cordoned().count(), 0);
    let expected = Changes {
        brokers_changed: [1].into(),
        ..Changes::default()
    };
    assert_eq!(Changes::between(&image, &after), expected);
    let told = Changes::of_batch(&image, &batch).brokers_changed;
    assert!(told.contains(&1));
}

#[test]
fn bad_requests_are_refused() {
    let mut image = cluster(1);
    let refused = cordon(&image, &BTreeSet::from([0, -1]), true, 0).unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
    assert_eq!(
        refused.message,
        "node id -1 cannot be cordoned: it must be 0 or more"
    );
    for _ in 0..2 {
        let decision = acquire_operator_epoch(&image, "me").unwrap();
        commit(&mut image, decision);
    }
    let refused = cordon(&image, &BTreeSet::from([0]), true, 1).unwrap_err();
    assert_eq!(refused.code, ErrorCode::StaleOperatorEpoch);
    let nobody = cordon(&image, &BTreeSet::new(), true, 2).unwrap();
    assert_eq!(nobody.records, []);
}

#[test]
fn new_topics_and_partitions_go_elsewhere() {
    let mut image = cluster(4);
    cordon_brokers(&mut image, &[1], true);
    create(
        &mut image,
        NewTopic {
            partitions: 6,
            replication_factor: 3,
            ..new_topic("t")
        },
    );
    let increase = |count, assignments: Vec<Vec<i32>>| CreatePartitions {
        topics: vec![Increase {
            name: "t".to_owned(),
            count,
            assignments,
        }],
        validate_only: false,
        operator_epoch: 0,
        seed: 2,
    };
    let decision = create_partitions(&image, &increase(9, vec![])).unwrap();
    commit(&mut image, decision).remove(0).unwrap();
    assert_eq!((image.partition_count(), image.replica_count(1)), (9, 0));

    let by_hand = increase(10, vec![vec![0, 1, 2]]);
    let refused = create_partitions(&image, &by_hand).unwrap().answer;
    let refused = refused.into_iter().next().unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(
        refused.message,
        "the assignment of partition 9 names broker 1, which is cordoned: it gets no new replicas"
    );
}

#[test]
fn what_only_cordoned_brokers_could_hold_is_refused_and_names_them() {
    let mut image = cluster(3);
    cordon_brokers(&mut image, &[0, 2], true);
    let of_factor = |replication_factor| NewTopic {
        replication_factor,
        ..new_topic("t")
    };
    assert_eq!(try_create(&image, vec![of_factor(1)]).answer, [Ok(())]);
    assert_eq!(
        refusal_of(&image, of_factor(2)),
        (
            ErrorCode::InvalidReplicationFactor,
            "replication factor 2 of topic \"t\" is too many: the cluster has only 1 broker that is not cordoned \
             (cordoned are [0, 2]); it can be at most 1"
                .to_owned()
        )
    );
    cordon_brokers(&mut image, &[1], true);
    let (code, message) = refusal_of(&image, of_factor(1));
    assert_eq!(code, ErrorCode::InvalidReplicationFactor);
    assert_eq!(
        message,
        "replication factor 1 of topic \"t\" is too many: the cluster has no broker that is not cordoned (cordoned are \
         [0, 1, 2]); one of them has to be uncordoned first"
    );
}

#[test]
fn internal_topics_are_not_raised_onto_it_and_its_rack_counts() {
    let mut image = cluster(4);
    let racks = BTreeMap::from([(0, "a"), (1, "b"), (2, "a"), (3, "b")]);
    let racks = racks.into_iter().map(|(id, rack)| (id, rack.to_owned()));
    let decision = foz_metadata::rules::assign_racks(&image, &racks.collect(), 0).unwrap();
    commit(&mut image, decision);
    for node_id in [1, 2, 3] {
        fence(&mut image, node_id);
    }
    create(
        &mut image,
        NewTopic {
            internal: true,
            partitions: 1,
            replication_factor: 1,
            ..new_topic("t")
        },
    );
    cordon_brokers(&mut image, &[0, 1], true);
    let raise = |image: &mut Image| {
        let properties = [(
            "offsets.topic.replication.factor".to_owned(),
            "2".to_owned(),
        )];
        let decision = raise_internal_topics(image, &properties.into()).unwrap();
        commit(image, decision)
    };
    unfence(&mut image, 1);
    assert_eq!(raise(&mut image), 0, "1 is cordoned");
    unfence(&mut image, 2);
    unfence(&mut image, 3);
    assert_eq!(raise(&mut image), 1);
    let replicas = &image.partition("t", 0).unwrap().replicas;
    assert_eq!(*replicas, [0, 3], "another rack than that of 0");
}

#[test]
fn no_reassignment_brings_replicas_but_those_that_it_has_may_stay() {
    let mut image = replicated("1");
    cordon_brokers(&mut image, &[2], true);
    reassign(&mut image, Some(&[2, 1])).unwrap();
    reassign(&mut image, Some(&[1, 0])).unwrap();
    reassign(&mut image, Some(&[1, 2])).unwrap();
    reassign(&mut image, Some(&[1, 0])).unwrap();
    propose(&mut image, &[2, 1, 0]).unwrap();
    let refused = reassign(&mut image, Some(&[1, 2])).unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(
        refused.message,
        "the reassignment of t-0 names broker 2, which is cordoned: it gets no new replicas"
    );
}
