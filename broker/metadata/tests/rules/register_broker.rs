//! Brokers register once per process, and never for another cluster.

use foz_metadata::rules::{
    ErrorCode, RegisterBroker, fence_broker, register_broker, unfence_broker,
};
use uuid::Uuid;

use crate::support::{cluster, commit, registration};

#[test]
fn a_registration_asked_for_twice_is_the_same_one() {
    let mut image = cluster(0);
    let decision = register_broker(&image, &registration(0, 1)).unwrap();
    let epoch = commit(&mut image, decision);
    assert_eq!(epoch, image.offset());
    let again = register_broker(&image, &registration(0, 1)).unwrap();
    assert_eq!((again.answer, again.records.len()), (epoch, 0));
}

#[test]
fn another_process_has_to_wait_for_the_lease_of_the_one_before() {
    let mut image = cluster(1);
    let refusal = register_broker(&image, &registration(0, 2)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::DuplicateBrokerRegistration);
    let epoch = image.broker(0).unwrap().epoch;
    let decision = fence_broker(&image, 0, epoch).unwrap();
    commit(&mut image, decision);
    let decision = register_broker(&image, &registration(0, 2)).unwrap();
    assert!(commit(&mut image, decision) > epoch);
    let stale = unfence_broker(&image, 0, epoch).unwrap_err();
    assert_eq!(stale.code, ErrorCode::StaleBrokerEpoch);
}

#[test]
fn foreign_and_broken_registrations_are_refused() {
    let image = cluster(1);
    let refused = |change: fn(&mut RegisterBroker)| {
        let mut request = registration(1, 1);
        change(&mut request);
        register_broker(&image, &request).unwrap_err()
    };
    let foreign = refused(|request| request.cluster_id = "other".to_owned());
    assert_eq!(foreign.code, ErrorCode::InconsistentClusterId);
    assert_eq!(
        foreign.message,
        "the volume of broker 1 belongs to cluster other, this is cluster cluster-1"
    );
    for change in [
        (|request| request.node_id = -1) as fn(&mut RegisterBroker),
        |request| request.port = 0,
        |request| request.port = 65_536,
        |request| request.host.clear(),
        |request| request.incarnation = Uuid::nil(),
        |request| request.directories.clear(),
        |request| request.directories[0].id = Uuid::from_u128(1000),
    ] {
        assert_eq!(refused(change).code, ErrorCode::InvalidRegistration);
    }
}
