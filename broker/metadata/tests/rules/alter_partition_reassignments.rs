//! Replicas move to other brokers, and nobody goes before those who come have everything.

use foz_metadata::Changes;
use foz_metadata::image::{Image, NO_LEADER};
use foz_metadata::record::Batch;
use foz_metadata::rules::{
    AlterPartitionReassignments, CreatePartitions, ErrorCode, Increase, NewTopic, Reassignment,
    ResourceName, alter_partition_reassignments, create_partitions, end_restart,
    raise_internal_topics,
};

use crate::support::{
    alter, cluster, commit, create, epoch, fence, grant, moving, new_topic, partition,
    partition_on, propose, reassign, replicated, restart, set, state, unfence,
};

fn request(partitions: &[(&str, i32, Option<&[i32]>)]) -> AlterPartitionReassignments {
    AlterPartitionReassignments {
        partitions: partitions
            .iter()
            .map(|(topic, index, replicas)| Reassignment {
                topic: (*topic).to_owned(),
                index: *index,
                replicas: replicas.map(<[i32]>::to_vec),
            })
            .collect(),
        allow_replication_factor_change: true,
        operator_epoch: 0,
    }
}

#[test]
fn it_is_complete_when_the_whole_target_is_in_sync() {
    let mut image = partition_on(6, &[0, 1, 2], "2");
    reassign(&mut image, Some(&[3, 4, 5])).unwrap();
    let (all, adding, removing) = ([3, 4, 5, 0, 1, 2], [3, 4, 5], [0, 1, 2]);
    assert_eq!(moving(&image), (&all[..], &adding[..], &removing[..]));
    assert_eq!(state(&image), (&[0, 1, 2][..], &[][..], &[][..], 0));
    assert_eq!(partition(&image).never_in_sync, adding);
    assert_eq!(image.reassigning_partitions().count(), 1);
    assert_eq!(Image::decode(&image.encode()).unwrap(), image);
    // The answer was lost.
    let before = image.clone();
    reassign(&mut image, Some(&[3, 4, 5])).unwrap();
    assert_eq!(image, before);

    propose(&mut image, &[0, 1, 2, 3]).unwrap();
    propose(&mut image, &[0, 1, 2, 3, 5]).unwrap();
    assert_eq!(partition(&image).replicas, all);
    let leader_epoch = partition(&image).leader_epoch;
    let after = propose(&mut image, &[0, 1, 2, 3, 5, 4]).unwrap();
    assert_eq!((after.leader, &*after.isr), (3, &[3, 5, 4][..]));
    assert_eq!(after.leader_epoch, leader_epoch + 1);
    assert_eq!(moving(&image), (&[3, 4, 5][..], &[][..], &[][..]));
    assert_eq!(image.reassigning_partitions().count(), 0);
    assert_eq!((image.replica_count(0), image.preferred_count(3)), (0, 1));
}

#[test]
fn an_order_of_replicas_is_changed_at_once_and_moves_no_leader() {
    let mut image = replicated("2");
    let before = partition(&image).clone();
    reassign(&mut image, Some(&[2, 1, 0])).unwrap();
    let after = partition(&image);
    assert_eq!(moving(&image), (&[2, 1, 0][..], &[][..], &[][..]));
    assert_eq!((after.leader, after.leader_epoch), (0, before.leader_epoch));
    assert_eq!(after.partition_epoch, before.partition_epoch + 1);
    let unchanged =
        alter_partition_reassignments(&image, &request(&[("t", 0, Some(&[2, 1, 0]))])).unwrap();
    assert_eq!(unchanged.records, []);
}

#[test]
fn fewer_replicas_wait_until_those_that_stay_are_in_sync() {
    let mut image = replicated("1");
    reassign(&mut image, Some(&[0, 1])).unwrap();
    assert_eq!(partition(&image).replicas, [0, 1]);
    // What the leader knew of 2 is void: the epoch is another although the leader is not.
    assert_eq!(
        (partition(&image).leader, partition(&image).leader_epoch),
        (0, 1)
    );

    let mut image = replicated("1");
    propose(&mut image, &[0]).unwrap();
    reassign(&mut image, Some(&[1])).unwrap();
    assert_eq!(moving(&image), (&[1, 0, 2][..], &[][..], &[0, 2][..]));
    let after = propose(&mut image, &[0, 1]).unwrap();
    assert_eq!((after.leader, &*after.isr), (1, &[1][..]));
    assert_eq!(partition(&image).replicas, [1]);
}

#[test]
fn eligible_replicas_that_go_are_eligible_no_more() {
    let mut image = partition_on(4, &[0, 1, 2], "2");
    fence(&mut image, 0);
    fence(&mut image, 1);
    assert_eq!(state(&image), (&[2][..], &[1][..], &[][..], 2));
    reassign(&mut image, Some(&[2, 3])).unwrap();
    propose(&mut image, &[2, 3]).unwrap();
    assert_eq!(partition(&image).replicas, [2, 3]);
    assert_eq!(state(&image), (&[2, 3][..], &[][..], &[][..], 2));
}

#[test]
fn a_cancelled_one_leaves_what_was_there() {
    let mut image = partition_on(5, &[2, 0, 1], "2");
    reassign(&mut image, Some(&[3, 4])).unwrap();
    propose(&mut image, &[2, 0, 1, 4]).unwrap();
    reassign(&mut image, None).unwrap();
    assert_eq!(moving(&image), (&[2, 0, 1][..], &[][..], &[][..]));
    assert_eq!(state(&image), (&[2, 0, 1][..], &[][..], &[][..], 2));
    assert_eq!(partition(&image).never_in_sync, []);
    let refused = reassign(&mut image, None).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoReassignmentInProgress);
    assert_eq!(refused.code.kafka_code(), 85);
    assert_eq!(refused.message, "t-0 is not being reassigned");
}

/// The last leader was one of those that the move brought.
#[test]
fn a_cancelled_one_leaves_somebody_who_may_lead_though_all_fail() {
    let mut image = partition_on(3, &[2, 1], "2");
    grant(&mut image, 2);
    reassign(&mut image, Some(&[2, 0])).unwrap();
    propose(&mut image, &[1, 2, 0]).unwrap();
    assert!(
        partition(&image).is_reassigning(),
        "2 may stop at any moment"
    );
    for node_id in [1, 2, 0] {
        fence(&mut image, node_id);
    }
    assert_eq!(state(&image), (&[][..], &[2, 0][..], &[0][..], NO_LEADER));
    assert!(
        reassign(&mut image, None).is_err(),
        "one copy would be left"
    );
    allow_unclean_election(&mut image);
    reassign(&mut image, None).unwrap();
    assert_eq!(state(&image), (&[][..], &[2][..], &[2][..], NO_LEADER));
    restart(&mut image, 2, false);
    assert_eq!(state(&image), (&[][..], &[][..], &[2][..], NO_LEADER));
    unfence(&mut image, 2);
    assert_eq!(state(&image), (&[2][..], &[][..], &[][..], 2));
}

#[test]
fn it_is_not_cancelled_when_only_new_replicas_have_everything() {
    let moved = || {
        let mut image = partition_on(3, &[0], "1");
        reassign(&mut image, Some(&[1, 2])).unwrap();
        propose(&mut image, &[0, 1]).unwrap();
        fence(&mut image, 0);
        assert_eq!(state(&image), (&[1][..], &[][..], &[][..], 1));
        image
    };
    let mut image = moved();
    let refused = reassign(&mut image, None).unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(
        refused.message,
        "t-0 cannot go back to [0]: only replicas that are being added have all of its records \
         (ISR [1], ELR [])"
    );
    // Nor when they are eligible or the last to have led, and nobody leads.
    fence(&mut image, 1);
    assert_eq!(state(&image), (&[][..], &[1][..], &[1][..], NO_LEADER));
    assert!(reassign(&mut image, None).is_err());
    restart(&mut image, 1, false);
    assert_eq!(state(&image), (&[][..], &[][..], &[1][..], NO_LEADER));
    assert!(reassign(&mut image, None).is_err());

    let mut image = moved();
    allow_unclean_election(&mut image);
    reassign(&mut image, None).unwrap();
    assert_eq!(moving(&image), (&[0][..], &[][..], &[][..]));
    assert_eq!(state(&image), (&[][..], &[][..], &[][..], NO_LEADER));
    unfence(&mut image, 0);
    assert_eq!(state(&image), (&[0][..], &[][..], &[][..], 0));
}

fn allow_unclean_election(image: &mut Image) {
    let topic = ResourceName::Topic("t".to_owned());
    let change = [set("unclean.leader.election.enable", "true")];
    let decision = alter(image, topic, &change).unwrap();
    commit(image, decision);
}

/// What was acknowledged by two would be with one alone, and gone with it.
#[test]
fn it_is_not_cancelled_when_too_few_original_replicas_have_everything() {
    let mut image = partition_on(4, &[0, 1], "2");
    fence(&mut image, 0);
    reassign(&mut image, Some(&[2, 3, 0])).unwrap();
    propose(&mut image, &[1, 2, 3]).unwrap();
    let before = image.clone();
    let refused = reassign(&mut image, None).unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(
        refused.message,
        "t-0 cannot go back to [0, 1]: of these 1 have all of its records, and min.insync.replicas asks for 2 \
         (ISR [1, 2, 3], ELR [])"
    );
    assert_eq!(image, before);

    // It may by the will of an administrator, and when the other one is back in sync.
    let mut unclean = image.clone();
    allow_unclean_election(&mut unclean);
    reassign(&mut unclean, None).unwrap();
    assert_eq!(partition(&unclean).isr, [1]);
    unfence(&mut image, 0);
    propose(&mut image, &[1, 2, 0]).unwrap();
    reassign(&mut image, None).unwrap();
    assert_eq!(partition(&image).isr, [1, 0]);
}

#[test]
fn a_new_target_replaces_the_one_before_and_the_origin_stays_known() {
    let mut image = partition_on(7, &[0, 1, 2], "2");
    reassign(&mut image, Some(&[3, 4, 5])).unwrap();
    propose(&mut image, &[0, 1, 2, 4]).unwrap();
    reassign(&mut image, Some(&[6, 1, 2])).unwrap();
    // 3 and 5 have nothing that anybody needs; 4 is in sync.
    let moved = (&[6, 1, 2, 4, 0][..], &[6, 4][..], &[4, 0][..]);
    assert_eq!(moving(&image), moved);
    assert_eq!(partition(&image).isr, [0, 1, 2, 4]);
    assert_eq!(partition(&image).target_replicas(), [6, 1, 2]);
    let mut cancelled = image.clone();
    reassign(&mut cancelled, None).unwrap();
    let mut origin = partition(&cancelled).replicas.clone();
    origin.sort_unstable();
    assert_eq!(origin, [0, 1, 2]);
    let after = propose(&mut image, &[0, 1, 2, 4, 6]).unwrap();
    assert_eq!((after.leader, &*after.isr), (6, &[1, 2, 6][..]));
    assert_eq!(moving(&image), (&[6, 1, 2][..], &[][..], &[][..]));

    // Back by naming the origin is as good as a cancellation.
    let mut image = partition_on(4, &[0, 1, 2], "2");
    reassign(&mut image, Some(&[0, 1, 3])).unwrap();
    reassign(&mut image, Some(&[0, 1, 2])).unwrap();
    assert_eq!(moving(&image), (&[0, 1, 2][..], &[][..], &[][..]));
}

#[test]
fn a_replica_that_comes_back_begins_anew() {
    let mut image = replicated("1");
    reassign(&mut image, Some(&[0, 1])).unwrap();
    let gone = partition(&image).leader_epoch;
    reassign(&mut image, Some(&[0, 1, 2])).unwrap();
    assert_eq!(partition(&image).never_in_sync, [2]);
    assert_eq!(
        (partition(&image).leader_epoch, &*partition(&image).isr),
        (gone, &[0, 1][..])
    );
}

#[test]
fn the_election_of_the_only_target_completes_it() {
    let mut image = partition_on(2, &[0, 1], "2");
    fence(&mut image, 1);
    reassign(&mut image, Some(&[1])).unwrap();
    fence(&mut image, 0);
    assert_eq!(state(&image), (&[][..], &[1, 0][..], &[0][..], NO_LEADER));
    unfence(&mut image, 1);
    assert_eq!(moving(&image), (&[1][..], &[][..], &[][..]));
    assert_eq!(state(&image), (&[1][..], &[][..], &[][..], 1));
}

#[test]
fn it_does_not_take_away_what_a_grant_counted_on() {
    let mut image = partition_on(6, &[0, 1, 2], "2");
    reassign(&mut image, Some(&[3, 4, 5])).unwrap();
    propose(&mut image, &[0, 1, 2, 3, 4]).unwrap();
    let first = grant(&mut image, 3).0;
    grant(&mut image, 4);
    propose(&mut image, &[0, 1, 2, 3, 4, 5]).unwrap();
    assert!(partition(&image).is_reassigning(), "5 would be alone");
    let decision = end_restart(&image, 3, first, 0).unwrap();
    assert!(commit(&mut image, decision));
    // 4 may still stop; 3 and 5 are enough.
    assert_eq!(moving(&image), (&[3, 4, 5][..], &[][..], &[][..]));
    assert_eq!(partition(&image).leader, 3);
}

#[test]
fn bad_requests_are_refused_one_by_one() {
    let mut image = partition_on(4, &[0, 1], "1");
    let ok = Reassignment {
        topic: "t".to_owned(),
        index: 0,
        replicas: Some(vec![1, 2]),
    };
    for (topic, index, replicas, code, message) in [
        (
            "t",
            0,
            Some(&[][..]),
            ErrorCode::InvalidReplicaAssignment,
            "the reassignment of t-0 names no broker",
        ),
        (
            "t",
            0,
            Some(&[1, 2, 1]),
            ErrorCode::InvalidReplicaAssignment,
            "the reassignment of t-0 names broker 1 twice",
        ),
        (
            "t",
            0,
            Some(&[0, -1]),
            ErrorCode::InvalidReplicaAssignment,
            "the reassignment of t-0 names broker -1, which is not registered",
        ),
        (
            "t",
            0,
            Some(&[0, 9]),
            ErrorCode::InvalidReplicaAssignment,
            "the reassignment of t-0 names broker 9, which is not registered",
        ),
        (
            "t",
            1,
            Some(&[0, 1]),
            ErrorCode::UnknownTopicOrPartition,
            "there is no partition t-1",
        ),
        (
            "u",
            0,
            None,
            ErrorCode::UnknownTopicOrPartition,
            "there is no partition u-0",
        ),
        (
            "t",
            0,
            None,
            ErrorCode::NoReassignmentInProgress,
            "t-0 is not being reassigned",
        ),
    ] {
        let decision =
            alter_partition_reassignments(&image, &request(&[(topic, index, replicas)])).unwrap();
        assert_eq!(decision.records, []);
        let [(name, at, Err(refusal))] = &decision.answer[..] else {
            panic!("{message}: {:?}", decision.answer);
        };
        assert_eq!((&**name, *at), (topic, index));
        assert_eq!((refusal.code, &*refusal.message), (code, message));
    }

    let mut twice = request(&[("t", 0, Some(&[0, 2])), ("t", 0, None), ("u", 0, None)]);
    let decision = alter_partition_reassignments(&image, &twice).unwrap();
    let codes: Vec<_> = decision
        .answer
        .iter()
        .map(|it| it.2.as_ref().unwrap_err().code)
        .collect();
    let (invalid, unknown) = (
        ErrorCode::InvalidRequest,
        ErrorCode::UnknownTopicOrPartition,
    );
    assert_eq!(codes, [invalid, invalid, unknown]);

    twice.partitions = vec![ok];
    twice.allow_replication_factor_change = false;
    let decision = alter_partition_reassignments(&image, &twice).unwrap();
    let answer = commit(&mut image, decision);
    assert_eq!(answer, [("t".to_owned(), 0, Ok(()))]);
    // What counts is the number that it is to have.
    assert_eq!(partition(&image).replicas.len(), 3);
    twice.partitions[0].replicas = Some(vec![0, 1, 2]);
    let decision = alter_partition_reassignments(&image, &twice).unwrap();
    let refusal = decision.answer[0].2.as_ref().unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidReplicationFactor);
    assert_eq!(
        refusal.message,
        "the reassignment of t-0 names 3 brokers, but the partition has 2 replicas and the request \
         does not allow another number"
    );
    twice.operator_epoch = 1;
    let stale = alter_partition_reassignments(&image, &twice).unwrap_err();
    assert_eq!(stale.code, ErrorCode::StaleOperatorEpoch);
}

#[test]
fn a_dead_broker_may_be_a_target_and_joins_when_it_is_back() {
    let mut image = partition_on(3, &[0, 1], "1");
    fence(&mut image, 2);
    reassign(&mut image, Some(&[0, 2])).unwrap();
    assert!(propose(&mut image, &[0, 1, 2]).is_err());
    unfence(&mut image, 2);
    propose(&mut image, &[0, 1, 2]).unwrap();
    assert_eq!(moving(&image), (&[0, 2][..], &[][..], &[][..]));
    assert!(epoch(&image, 2) > 0);
}

#[test]
fn other_rules_know_of_it() {
    let mut image = cluster(4);
    create(
        &mut image,
        NewTopic {
            internal: true,
            assignments: vec![vec![0, 1]],
            ..new_topic("t")
        },
    );
    reassign(&mut image, Some(&[2, 3])).unwrap();
    // New partitions are like the first is to be, not like it is on the way.
    let more = CreatePartitions {
        topics: vec![Increase {
            name: "t".to_owned(),
            count: 2,
            assignments: vec![],
        }],
        validate_only: false,
        operator_epoch: 0,
        seed: 0,
    };
    let decision = create_partitions(&image, &more).unwrap();
    commit(&mut image, decision).remove(0).unwrap();
    assert_eq!(image.partition("t", 1).unwrap().replicas.len(), 2);
    // And replicas are not added to one that moves.
    let properties = [(
        "offsets.topic.replication.factor".to_owned(),
        "3".to_owned(),
    )]
    .into();
    let decision = raise_internal_topics(&image, &properties).unwrap();
    assert_eq!(commit(&mut image, decision), 1);
    assert_eq!(image.partition("t", 1).unwrap().replicas.len(), 3);
    assert_eq!(partition(&image).replicas.len(), 4);
}

#[test]
fn changes_tell_of_it() {
    let image = partition_on(3, &[0, 1], "1");
    let wanted = request(&[("t", 0, Some(&[1, 2]))]);
    let decision = alter_partition_reassignments(&image, &wanted).unwrap();
    let batch = Batch {
        follows: image.offset(),
        term: 1,
        records: decision.records,
    };
    let after = image.apply(&batch).unwrap();
    let expected = Changes {
        partitions_changed: [(image.topic("t").unwrap().id, 0)].into(),
        ..Changes::default()
    };
    assert_eq!(Changes::of_batch(&image, &batch), expected);
    assert_eq!(Changes::between(&image, &after), expected);
}
