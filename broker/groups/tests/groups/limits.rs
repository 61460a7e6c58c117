use foz_groups::{GroupConfig, Request};
use kafka_protocol::ResponseError;

use crate::harness::*;

const FULL: i16 = ResponseError::GroupMaxSizeReached.code();

#[test]
fn a_full_group_takes_no_more_members() {
    let mut harness = Harness::with_config(GroupConfig {
        group_max_size: 2,
        ..GroupConfig::default()
    });
    let ids = harness.stable(2);
    let waiter = harness.join(join_request(""));
    let response = harness.joined(waiter);
    assert_eq!(
        (response.error_code, response.member_id.as_str()),
        (FULL, "")
    );
    assert_eq!(harness.state(), "Stable");
    // Its own members rejoin; during the join phase the first to come are served.
    let first = harness.join(join_request(&ids[0]));
    let newcomer = harness.send(3, Request::JoinGroup(join_request("")));
    let third = harness.join(join_request(&ids[1]));
    assert_eq!(harness.joined(third).error_code, FULL);
    let again = harness.join(join_request(&ids[1]));
    assert_eq!(harness.joined(again).error_code, FULL);
    harness.advance(60_000);
    assert_eq!(harness.joined(first).members.len(), 2);
    assert_eq!(harness.joined(newcomer).error_code, 0);
}

#[test]
fn ids_that_nobody_uses_are_bounded() {
    let mut harness = Harness::with_config(GroupConfig {
        group_max_pending_members: 3,
        ..GroupConfig::default()
    });
    for _ in 0..3 {
        harness.member_id(join_request(""));
    }
    let waiter = harness.join(join_request(""));
    assert_eq!(harness.joined(waiter).error_code, FULL);
    harness.advance(10_000);
    harness.member_id(join_request(""));
}

#[test]
fn a_group_that_is_too_large_after_a_restart_shrinks() {
    let mut harness = Harness::new();
    let ids = harness.stable(3);
    harness.config.group_max_size = 2;
    harness.restart();
    assert_eq!(harness.state(), "PreparingRebalance");
    let waiters: Vec<u64> = ids
        .iter()
        .map(|id| harness.join(join_request(id)))
        .collect();
    harness.advance(60_000);
    let errors: Vec<i16> = waiters
        .into_iter()
        .map(|w| harness.joined(w).error_code)
        .collect();
    assert_eq!(errors, [0, 0, FULL]);
}

#[test]
fn a_generation_cannot_overflow() {
    // A group in the last generation there is, without members, as a record says.
    let mut harness = Harness::new();
    let value = b"\x00\x03\x00\x08consumer\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0";
    let key = b"\x00\x02\x00\x05group";
    let record = foz_groups::Record {
        key: key[..].into(),
        value: Some(value[..].into()),
    };
    harness.log.push(record.into());
    harness.restart();
    let waiter = harness.send(3, Request::JoinGroup(join_request("")));
    harness.advance(3_000);
    assert_eq!(harness.joined(waiter).generation_id, 1);
}
