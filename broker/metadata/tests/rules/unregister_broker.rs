//! A broker is forgotten only when nothing is on it.

use std::collections::BTreeMap;

use foz_metadata::Changes;
use foz_metadata::record::Batch;
use foz_metadata::rules::{ErrorCode, acquire_operator_epoch, assign_racks, unregister_broker};

use crate::support::{
    commit, cordon_brokers, fence, grant, partition_on, propose, reassign, replicated,
};

#[test]
fn what_is_alive_or_holds_replicas_is_refused_with_the_numbers() {
    let mut image = replicated("1");
    let refusal = |image: &_, node_id| {
        let refusal = unregister_broker(image, node_id, 0).unwrap_err();
        (refusal.code, refusal.message)
    };
    assert_eq!(
        refusal(&image, 2),
        (
            ErrorCode::InvalidRequest,
            "broker 2 cannot be unregistered: it is alive at broker-2:9092".to_owned()
        )
    );
    fence(&mut image, 2);
    assert_eq!(
        refusal(&image, 2),
        (
            ErrorCode::InvalidRequest,
            "broker 2 cannot be unregistered: it holds 1 replica, which has to move away first"
                .to_owned()
        )
    );
    assert_eq!(
        refusal(&image, 3),
        (
            ErrorCode::BrokerIdNotRegistered,
            "broker 3 is not registered".to_owned()
        )
    );
    let decision = acquire_operator_epoch(&image, "me").unwrap();
    commit(&mut image, decision);
    let stale = unregister_broker(&image, 2, 2).unwrap_err();
    assert_eq!(stale.code, ErrorCode::StaleOperatorEpoch);
}

#[test]
fn a_replica_that_is_to_go_still_counts() {
    let mut image = partition_on(3, &[0, 1], "1");
    reassign(&mut image, Some(&[0, 2])).unwrap();
    fence(&mut image, 1);
    assert!(unregister_broker(&image, 1, 0).is_err());
    propose(&mut image, &[0, 2]).unwrap();
    assert!(unregister_broker(&image, 1, 0).is_ok());
}

#[test]
fn cordon_rack_and_grant_go_with_it() {
    let mut image = partition_on(4, &[0, 1, 2], "1");
    cordon_brokers(&mut image, &[3], true);
    let decision = assign_racks(&image, &BTreeMap::from([(3, "z".to_owned())]), 0).unwrap();
    commit(&mut image, decision);
    grant(&mut image, 3);
    fence(&mut image, 3);
    let decision = unregister_broker(&image, 3, 0).unwrap();
    assert_eq!(decision.records.len(), 4);
    let batch = Batch {
        follows: image.offset(),
        term: 1,
        records: decision.records,
    };
    let after = image.apply(&batch).unwrap();
    assert!(after.broker(3).is_none() && after.grant(3).is_none());
    assert!(!after.is_cordoned(3) && after.rack(3).is_none());
    let expected = Changes {
        brokers_removed: [3].into(),
        grants_ended: [3].into(),
        ..Changes::default()
    };
    assert_eq!(Changes::of_batch(&image, &batch), expected);
    assert_eq!(Changes::between(&image, &after), expected);
    // The answer was lost.
    let again = unregister_broker(&after, 3, 0).unwrap_err();
    assert_eq!(again.code, ErrorCode::BrokerIdNotRegistered);
}
