//! Who may stop, who has to wait, and what is said about it.

use std::collections::BTreeSet;

use foz_metadata::Changes;
use foz_metadata::image::Image;
use foz_metadata::record::Batch;
use foz_metadata::rules::{
    AcquireRestart, Answer, DeniedReason, ErrorCode, NewTopic, QuorumHealth, Unavailable,
    acquire_operator_epoch, acquire_restart, alter_partitions, balance_leaders, elect_leaders,
};
use uuid::Uuid;

use crate::support::{
    ask, cluster, commit, create, denied, fence, grant, new_topic, partition, partition_on,
    proposal, propose, reassign, replicated, restart, restart_of, state, stop, unfence,
};

const CONTROLLERS: [i32; 3] = [1000, 1001, 1002];

fn quorum(voters: &[i32], reachable: &[i32]) -> QuorumHealth {
    QuorumHealth {
        voters: voters.iter().copied().collect(),
        reachable: reachable.iter().copied().collect(),
        active: 1000,
    }
}

fn of_controller(node_id: i32) -> AcquireRestart {
    AcquireRestart {
        node_id,
        incarnation: Uuid::from_u128(1),
        reason: "image changed".to_owned(),
        operator_epoch: 0,
        unavailable: Unavailable::Allow,
        insist: false,
    }
}

#[test]
fn leadership_moves_away_and_the_isr_stays_until_the_broker_goes() {
    let mut image = replicated("2");
    let before = image.offset();
    let (epoch, unprotected) = grant(&mut image, 0);
    assert_eq!((epoch, image.offset()), (before + 1, before + 1));
    assert_eq!(unprotected, Vec::<String>::new());
    assert_eq!(state(&image), (&[0, 1, 2][..], &[][..], &[][..], 1));
    let known = image.grant(0).unwrap();
    assert_eq!((known.epoch, &*known.reason), (epoch, "image changed"));
    assert!(image.is_granted_incarnation(known));
    assert!(image.broker(0).unwrap().stopping && !image.can_lead(0));
    assert_eq!(Image::decode(&image.encode()).unwrap(), image);

    // It gets no leadership back while it may stop, by whatever means.
    let none = Default::default();
    assert_eq!(balance_leaders(&image, &none).unwrap().answer, 0);
    let by_hand = foz_metadata::rules::ElectLeaders {
        kind: foz_metadata::rules::ElectionKind::Preferred,
        partitions: Some(vec![("t".to_owned(), 0)]),
        operator_epoch: 0,
    };
    let refused = elect_leaders(&image, &by_hand).unwrap().answer.remove(0).2;
    let code = refused.unwrap_err().code;
    assert_eq!(code, ErrorCode::PreferredLeaderNotAvailable);
    // Another may join the ISR meanwhile, although a member of it is about to stop.
    propose(&mut image, &[0, 1]).unwrap();
    propose(&mut image, &[0, 1, 2]).unwrap();
    // Only its stop takes it out.
    assert_eq!(stop(&mut image, 0), 0);
    assert_eq!(partition(&image).isr, [1, 2]);
    let back = alter_partitions(&image, &proposal(&image, &[0, 1, 2])).unwrap();
    let code = back.answer[0].as_ref().unwrap_err().code;
    assert_eq!(code, ErrorCode::IneligibleReplica);
}

#[test]
fn the_same_process_gets_the_same_grant_again_and_another_a_new_one() {
    let mut image = replicated("2");
    let first = grant(&mut image, 0);
    let before = image.clone();
    assert_eq!(grant(&mut image, 0), first);
    assert_eq!(image, before);
    fence(&mut image, 0);
    restart(&mut image, 0, true);
    unfence(&mut image, 0);
    let late = AcquireRestart {
        incarnation: before.broker(0).unwrap().incarnation,
        ..restart_of(&image, 0)
    };
    let (reason, message) = denied(&mut image, &late);
    assert_eq!(reason, DeniedReason::Incarnation);
    assert_eq!(
        message,
        "incarnation 00000000-0000-0000-0000-000000000001 of broker 0 is not the registered one, which \
         is 00000000-0000-0000-0000-000000000002"
    );
    assert!(image.can_lead(0), "a new process may lead");
    let second = grant(&mut image, 0);
    assert!(second.0 > first.0);
    assert_eq!(image.grants().count(), 1);
}

#[test]
fn leadership_that_could_not_move_moves_when_asked_again() {
    let mut image = replicated("1");
    propose(&mut image, &[0]).unwrap();
    let insist = AcquireRestart {
        insist: true,
        ..restart_of(&image, 0)
    };
    let first = ask(&mut image, &insist);
    let Answer::Granted { unprotected, .. } = &first else {
        panic!("{first:?}");
    };
    assert_eq!(*unprotected, ["t-0"]);
    assert_eq!(partition(&image).leader, 0, "nobody else is in sync");
    // It lets another in, and that one takes over at once.
    assert_eq!(propose(&mut image, &[0, 1]).unwrap().leader, 1);
    assert_eq!(ask(&mut image, &insist), first);
}

#[test]
fn a_partition_at_its_minimum_denies_and_says_which() {
    let mut image = replicated("2");
    propose(&mut image, &[0, 1]).unwrap();
    let request = restart_of(&image, 1);
    assert_eq!(
        denied(&mut image, &request),
        (
            DeniedReason::MinInsync,
            "t-0 would have 1 of 2 in-sync replicas that it needs without broker 1; the ISR is [0, 1]"
                .to_owned()
        )
    );
    // Whoever is in no ISR is free to go.
    assert_eq!(grant(&mut image, 2).1, Vec::<String>::new());
    let insist = AcquireRestart {
        insist: true,
        ..request
    };
    let Answer::Granted { unprotected, .. } = ask(&mut image, &insist) else {
        panic!("it insists");
    };
    assert_eq!(unprotected, ["t-0"]);
}

#[test]
fn grants_are_counted_together() {
    let mut image = partition_on(5, &[0, 1, 2, 3, 4], "3");
    let epoch = grant(&mut image, 0).0;
    grant(&mut image, 1);
    let request = restart_of(&image, 2);
    let (reason, message) = denied(&mut image, &request);
    assert_eq!(reason, DeniedReason::AnotherGrant);
    assert_eq!(
        message,
        format!(
            "t-0 would have 2 of 3 in-sync replicas that it needs without broker 2; the ISR is \
             [0, 1, 2, 3, 4], and broker 0 has restart grant {epoch} (image changed)"
        )
    );
    // It is away, and its grant is why; then it is the death of another that denies.
    fence(&mut image, 0);
    fence(&mut image, 1);
    assert_eq!(denied(&mut image, &request).0, DeniedReason::AnotherGrant);
    propose(&mut image, &[2, 3]).unwrap();
    assert_eq!(denied(&mut image, &request).0, DeniedReason::AnotherGrant);
    fence(&mut image, 3);
    assert_eq!(denied(&mut image, &request).0, DeniedReason::MinInsync);
    let mut image = partition_on(5, &[0, 1, 2, 3, 4], "4");
    fence(&mut image, 0);
    let request = restart_of(&image, 2);
    assert_eq!(denied(&mut image, &request).0, DeniedReason::MinInsync);
}

#[test]
fn what_nothing_protects_is_named_and_denies_only_where_that_is_wanted() {
    for (replicas, min_insync) in [(&[0][..], "1"), (&[0, 1], "2"), (&[0, 1, 2], "3")] {
        let mut image = partition_on(3, replicas, min_insync);
        let deny = AcquireRestart {
            unavailable: Unavailable::Deny,
            ..restart_of(&image, 0)
        };
        let (reason, message) = denied(&mut image, &deny);
        assert_eq!(reason, DeniedReason::Unavailable);
        let (stay, needed) = (replicas.len() - 1, replicas.len());
        assert_eq!(
            message,
            format!(
                "t-0 would have {stay} of {needed} in-sync replicas that it needs without broker 0, and \
                 nothing may become unavailable"
            )
        );
        // One that is dead holds nothing up.
        if replicas.len() == 3 {
            fence(&mut image, 2);
        }
        assert_eq!(grant(&mut image, 0).1, ["t-0"]);
        // But they do not all go at once.
        if replicas.contains(&1) {
            let request = restart_of(&image, 1);
            assert_eq!(denied(&mut image, &request).0, DeniedReason::AnotherGrant);
        }
        let insist = AcquireRestart {
            insist: true,
            ..deny
        };
        assert!(matches!(ask(&mut image, &insist), Answer::Granted { .. }));
    }
}

#[test]
fn not_more_than_ten_partitions_are_named() {
    let mut image = cluster(1);
    create(
        &mut image,
        NewTopic {
            partitions: 30,
            ..new_topic("t")
        },
    );
    let unprotected = grant(&mut image, 0).1;
    assert_eq!(unprotected.len(), 10);
    assert_eq!((&*unprotected[0], &*unprotected[9]), ("t-0", "t-9"));
}

#[test]
fn who_is_about_to_stop_without_a_grant_does_not_count() {
    let mut image = partition_on(4, &[0, 1, 2, 3], "2");
    stop(&mut image, 0);
    stop(&mut image, 1);
    assert_eq!(partition(&image).isr, [2, 3]);
    let request = restart_of(&image, 2);
    assert_eq!(denied(&mut image, &request).0, DeniedReason::MinInsync);
}

#[test]
fn replicas_that_come_do_not_count_and_those_that_go_do() {
    let mut image = partition_on(5, &[0, 1], "1");
    reassign(&mut image, Some(&[2, 3])).unwrap();
    propose(&mut image, &[0, 2]).unwrap();
    let request = restart_of(&image, 0);
    let (reason, message) = denied(&mut image, &request);
    assert_eq!(reason, DeniedReason::MinInsync, "{message}");
    // A cancellation takes 2 away again: it cannot be what the others rely on.
    assert_eq!(grant(&mut image, 2).1, Vec::<String>::new());
    propose(&mut image, &[0, 2, 1]).unwrap();
    grant(&mut image, 0);
    reassign(&mut image, None).unwrap();
    assert_eq!(partition(&image).isr, [0, 1]);
}

#[test]
fn a_fenced_broker_may_stop_and_does_not_lead_when_it_is_unfenced() {
    let mut image = replicated("2");
    fence(&mut image, 0);
    grant(&mut image, 0);
    unfence(&mut image, 0);
    assert!(image.is_alive(0) && !image.can_lead(0));
}

#[test]
fn where_all_may_stop_leadership_moves_no_more() {
    let mut image = replicated("1");
    for (node_id, leader) in [(0, 1), (1, 2), (2, 2)] {
        let insist = AcquireRestart {
            insist: true,
            ..restart_of(&image, node_id)
        };
        ask(&mut image, &insist);
        assert_eq!(partition(&image).leader, leader);
    }
    assert_eq!(
        (partition(&image).leader_epoch, image.grants().count()),
        (2, 3)
    );
}

#[test]
fn bad_requests_are_refused() {
    let mut image = replicated("2");
    let none = QuorumHealth::default();
    let code = |image: &Image, request: &AcquireRestart| {
        acquire_restart(image, request, &none).unwrap_err().code
    };
    let request = restart_of(&image, 0);
    for reason in [String::new(), "x".repeat(1025)] {
        let request = AcquireRestart {
            reason,
            ..request.clone()
        };
        assert_eq!(code(&image, &request), ErrorCode::InvalidRequest);
    }
    for _ in 0..2 {
        let decision = acquire_operator_epoch(&image, "me").unwrap();
        commit(&mut image, decision);
    }
    let mut request = AcquireRestart {
        operator_epoch: 1,
        ..request
    };
    assert_eq!(code(&image, &request), ErrorCode::StaleOperatorEpoch);
    request.operator_epoch = 2;
    assert!(matches!(ask(&mut image, &request), Answer::Granted { .. }));
    assert_eq!(image.grant(0).unwrap().operator_epoch, 2);
    // A grant is no way around the epoch.
    request.operator_epoch = 1;
    assert_eq!(code(&image, &request), ErrorCode::StaleOperatorEpoch);
    let unknown = of_controller(9);
    assert_eq!(
        denied(&mut image, &unknown),
        (
            DeniedReason::Incarnation,
            "node 9 is neither a registered broker nor a voter of the metadata quorum".to_owned()
        )
    );
}

#[test]
fn controllers_keep_their_majority_and_go_one_at_a_time() {
    let answer = |image: &mut Image, request: &AcquireRestart, health: &QuorumHealth| {
        let decision = acquire_restart(image, request, health).unwrap();
        commit(image, decision)
    };
    let mut image = replicated("2");
    let all = quorum(&CONTROLLERS, &CONTROLLERS);
    // The active one counts as reachable, whatever is said.
    let one_away = quorum(&CONTROLLERS, &[1001]);
    assert_eq!(
        answer(&mut image, &of_controller(1001), &one_away),
        Answer::Denied {
            reason: DeniedReason::Quorum,
            message: "without controller 1001, 1 of 3 voters of the metadata quorum are there ([1000]); a \
                      majority is 2"
                .to_owned()
        }
    );
    // The one that is away already costs nothing.
    let mut other = image.clone();
    let granted = answer(&mut other, &of_controller(1002), &one_away);
    assert!(matches!(granted, Answer::Granted { .. }));

    let granted = answer(&mut image, &of_controller(1002), &all);
    let Answer::Granted {
        grant_epoch,
        unprotected,
    } = granted.clone()
    else {
        panic!("{granted:?}");
    };
    assert_eq!(unprotected, Vec::<String>::new());
    assert_eq!(answer(&mut image, &of_controller(1002), &all), granted);
    let five = quorum(&[1000, 1001, 1002, 1003, 1004], &[1001, 1002, 1003, 1004]);
    for health in [&all, &five] {
        assert_eq!(
            answer(&mut image, &of_controller(1000), health),
            Answer::Denied {
                reason: DeniedReason::AnotherGrant,
                message: format!(
                    "controller 1000 has to wait for controller 1002, which may stop by restart grant \
                     {grant_epoch} (image changed): one controller restarts at a time"
                )
            }
        );
    }
    // It is back as another process, which may have to stop again.
    let again = AcquireRestart {
        incarnation: Uuid::from_u128(2),
        ..of_controller(1002)
    };
    assert!(matches!(
        answer(&mut image, &again, &all),
        Answer::Granted { .. }
    ));
    // Brokers are another matter.
    assert_eq!(grant(&mut image, 0).1, Vec::<String>::new());
    let insist = AcquireRestart {
        insist: true,
        ..of_controller(1000)
    };
    let Answer::Granted { unprotected, .. } = answer(&mut image, &insist, &all) else {
        panic!("it insists");
    };
    assert_eq!(unprotected, ["the metadata quorum"]);
}

#[test]
fn a_quorum_that_cannot_do_without_any_is_named() {
    let image = cluster(1);
    for voters in [&[1000][..], &[1000, 1001]] {
        let health = quorum(voters, voters);
        let decision = acquire_restart(&image, &of_controller(1000), &health).unwrap();
        let expected = Answer::Granted {
            grant_epoch: image.offset() + 1,
            unprotected: vec!["the metadata quorum".to_owned()],
        };
        assert_eq!(decision.answer, expected);
        let deny = AcquireRestart {
            unavailable: Unavailable::Deny,
            ..of_controller(1000)
        };
        let decision = acquire_restart(&image, &deny, &health).unwrap();
        let Answer::Denied { reason, message } = decision.answer else {
            panic!("it is not to become unavailable");
        };
        assert_eq!(reason, DeniedReason::Unavailable);
        assert_eq!(
            message,
            format!(
                "the metadata quorum of {} has no majority without controller 1000, and nothing may become \
                 unavailable",
                voters.len()
            )
        );
    }
}

#[test]
fn changes_tell_of_grants() {
    let image = replicated("2");
    let decision = acquire_restart(&image, &restart_of(&image, 0), &QuorumHealth::default());
    let batch = Batch {
        follows: image.offset(),
        term: 1,
        records: decision.unwrap().records,
    };
    let after = image.apply(&batch).unwrap();
    let expected = Changes {
        grants_changed: BTreeSet::from([0]),
        brokers_changed: BTreeSet::from([0]),
        partitions_changed: [(image.topic("t").unwrap().id, 0)].into(),
        ..Changes::default()
    };
    assert_eq!(Changes::of_batch(&image, &batch), expected);
    assert_eq!(Changes::between(&image, &after), expected);
}
