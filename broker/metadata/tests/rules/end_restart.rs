//! A grant ends when the broker is back, or before.

use foz_metadata::Changes;
use foz_metadata::image::{Image, NO_LEADER};
use foz_metadata::record::{Batch, EndRestartGrantRecord, Fact, Record};
use foz_metadata::rules::{
    AcquireRestart, Answer, DeniedReason, ErrorCode, NewTopic, QuorumHealth, Unavailable,
    acquire_operator_epoch, acquire_restart, end_restart, end_restarts_done,
};
use uuid::Uuid;

use crate::support::{
    cluster, commit, create, denied, fence, grant, new_topic, partition, partition_on, propose,
    propose_at, reassign, replicated, restart, restart_of, state, unfence,
};

fn done(image: &mut Image) -> Vec<i32> {
    let decision = end_restarts_done(image).unwrap();
    commit(image, decision)
}

fn end(image: &mut Image, node_id: i32, epoch: i64) -> bool {
    let decision = end_restart(image, node_id, epoch, 0).unwrap();
    commit(image, decision)
}

#[test]
fn it_ends_when_another_process_is_in_every_isr_and_leads_again_at_once() {
    let mut image = replicated("2");
    grant(&mut image, 0);
    assert_eq!(done(&mut image), [], "it has not stopped");
    fence(&mut image, 0);
    assert_eq!(done(&mut image), []);
    restart(&mut image, 0, true);
    assert_eq!(done(&mut image), [], "it is fenced");
    unfence(&mut image, 0);
    assert_eq!(done(&mut image), [], "it is not in sync");
    propose(&mut image, &[1, 2, 0]).unwrap();
    let decision = end_restarts_done(&image).unwrap();
    let batch = Batch {
        follows: image.offset(),
        term: 1,
        records: decision.records,
    };
    let after = image.apply(&batch).unwrap();
    assert_eq!(after.grants().count(), 0);
    assert_eq!(state(&after), (&[1, 2, 0][..], &[][..], &[][..], 0));
    let expected = Changes {
        grants_ended: [0].into(),
        partitions_changed: [(image.topic("t").unwrap().id, 0)].into(),
        ..Changes::default()
    };
    assert_eq!(Changes::of_batch(&image, &batch), expected);
    assert_eq!(Changes::between(&image, &after), expected);
    assert_eq!(end_restarts_done(&after).unwrap().records, []);
}

/// It has not what the new topic has. Then it leads its share of that at once, though it was away.
#[test]
fn a_topic_that_was_made_meanwhile_has_to_be_copied_too() {
    let mut image = cluster(3);
    grant(&mut image, 0);
    create(
        &mut image,
        NewTopic {
            partitions: 3,
            replication_factor: 3,
            config: [("min.insync.replicas".to_owned(), "2".to_owned())].into(),
            ..new_topic("t")
        },
    );
    fence(&mut image, 0);
    restart(&mut image, 0, true);
    unfence(&mut image, 0);
    assert_eq!(done(&mut image), []);
    // Nobody else may go before.
    let asked = restart_of(&image, 1);
    assert_eq!(denied(&mut image, &asked).0, DeniedReason::AnotherGrant);
    for index in 0..3 {
        assert_eq!(done(&mut image), []);
        propose_at(&mut image, index, &[0, 1, 2]);
    }
    assert_eq!(done(&mut image), [0]);
    for node_id in 0..3 {
        assert_eq!(image.partitions_led_by(node_id).count(), 1);
    }
    grant(&mut image, 1);
}

#[test]
fn replicas_that_move_away_or_have_just_come_do_not_hold_it_up() {
    let mut image = partition_on(4, &[0, 1, 2], "2");
    grant(&mut image, 0);
    fence(&mut image, 0);
    reassign(&mut image, Some(&[3, 1, 2])).unwrap();
    restart(&mut image, 0, true);
    unfence(&mut image, 0);
    assert_eq!(done(&mut image), [0]);
    assert_ne!(partition(&image).leader, 0);

    grant(&mut image, 3);
    fence(&mut image, 3);
    restart(&mut image, 3, true);
    unfence(&mut image, 3);
    assert_eq!(done(&mut image), [3]);
}

#[test]
fn it_ends_for_a_broker_that_is_no_longer_registered() {
    let mut image = replicated("2");
    let decision = acquire_restart(
        &image,
        &AcquireRestart {
            node_id: 1000,
            incarnation: Uuid::from_u128(1),
            reason: "image changed".to_owned(),
            operator_epoch: 0,
            unavailable: Unavailable::Allow,
            insist: true,
        },
        &QuorumHealth {
            voters: [1000].into(),
            ..QuorumHealth::default()
        },
    );
    let Answer::Granted { grant_epoch, .. } = commit(&mut image, decision.unwrap()) else {
        panic!("it insists");
    };
    assert_eq!(
        done(&mut image),
        [],
        "a controller's grant is ended by name"
    );
    assert!(end(&mut image, 1000, grant_epoch));
    assert_eq!(image.grants().count(), 0);
}

#[test]
fn a_broker_that_did_not_stop_may_lead_again() {
    let mut image = partition_on(2, &[0, 1], "2");
    let (epoch, _) = grant(&mut image, 0);
    assert!(!end(&mut image, 0, epoch - 1) && !end(&mut image, 1, epoch));
    assert!(image.broker(0).unwrap().stopping);
    assert!(end(&mut image, 0, epoch));
    assert!(image.can_lead(0) && image.grant(0).is_none());
    assert!(!end(&mut image, 0, epoch), "the answer was lost");
    // Nor does a late end touch the next grant.
    let (next, _) = grant(&mut image, 0);
    assert!(!end(&mut image, 0, epoch));
    assert_eq!(image.grant(0).unwrap().epoch, next);
}

#[test]
fn what_has_no_leader_gets_the_one_that_may_lead_again() {
    let mut image = partition_on(2, &[0, 1], "2");
    let (epoch, _) = grant(&mut image, 0);
    fence(&mut image, 0);
    fence(&mut image, 1);
    unfence(&mut image, 0);
    assert_eq!(partition(&image).leader, NO_LEADER, "it may stop any time");
    assert!(end(&mut image, 0, epoch));
    assert_eq!(state(&image), (&[0][..], &[1][..], &[][..], 0));
}

#[test]
fn the_end_by_time_leaves_a_new_process_as_it_is() {
    let mut image = replicated("2");
    let (epoch, _) = grant(&mut image, 0);
    fence(&mut image, 0);
    restart(&mut image, 0, true);
    let before = image.broker(0).unwrap().clone();
    assert!(end(&mut image, 0, epoch));
    assert_eq!(*before, **image.broker(0).unwrap());
    let mut image = replicated("2");
    let (epoch, _) = grant(&mut image, 0);
    fence(&mut image, 0);
    assert!(end(&mut image, 0, epoch));
    let broker = image.broker(0).unwrap();
    assert!(
        broker.fenced && !broker.stopping,
        "it may lead once unfenced"
    );
}

#[test]
fn an_old_operator_ends_nothing_and_nobody_ends_another_grant() {
    let mut image = replicated("2");
    let (epoch, _) = grant(&mut image, 0);
    let decision = acquire_operator_epoch(&image, "me").unwrap();
    commit(&mut image, decision);
    let stale = end_restart(&image, 0, epoch, 2).unwrap_err();
    assert_eq!(stale.code, ErrorCode::StaleOperatorEpoch);
    for (node_id, grant_epoch, reason) in [
        (
            0,
            epoch + 1,
            format!("node 0 has the restart grant {epoch}, not {}", epoch + 1),
        ),
        (1, epoch, "node 1 has no restart grant".to_owned()),
    ] {
        let record = EndRestartGrantRecord {
            node_id,
            grant_epoch,
        };
        let batch = Batch {
            follows: image.offset(),
            term: 1,
            records: vec![Record::from(Fact::EndRestartGrant(record))],
        };
        let error = image.apply(&batch).unwrap_err().to_string();
        assert!(error.ends_with(&reason), "{error}");
    }
}
