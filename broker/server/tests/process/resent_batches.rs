//! Batches that a producer sends again or out of turn because the leader has changed, with up to five under way
//! (KIP-98): none is lost, and none comes twice.

use foz_protocol::error::ErrorCode;

use crate::deposed_leader::produce;
use crate::newest_end::await_isr;
use crate::testbed::Testbed;
use crate::versions::connection::{Answered, Connection, eventually};

const UNDER_WAY: i32 = 5;

/// It wrote them as a follower, and heard nothing since.
#[test]
fn a_leader_that_was_restarted_knows_them() {
    let mut testbed = Testbed::prepare(1, 2);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_on("orders", &[0, 1], &[]);
    drop(connection);
    await_isr(&testbed.brokers[0], 0, &[0, 1]);
    for sequence in 0..=UNDER_WAY {
        let told = eventually(|| produce(&testbed.brokers[0], &topic, 0, sequence));
        assert_eq!(told, i64::from(sequence));
    }

    assert!(testbed.brokers[1].stop());
    testbed.brokers[1].spawn();
    testbed.brokers[1].wait_ready();
    await_isr(&testbed.brokers[0], 0, &[0, 1]);
    assert!(testbed.brokers[0].stop());
    await_isr(&testbed.brokers[1], 1, &[1]);
    let leader = &testbed.brokers[1];
    let first = eventually(|| match produce(leader, &topic, 0, 1) {
        Err(error) if error != ErrorCode::OutOfOrderSequenceNumber => Err(error),
        told => Ok(told),
    });
    assert_eq!(first, Ok(1));
    for sequence in 2..=UNDER_WAY {
        let told = produce(leader, &topic, 0, sequence);
        assert_eq!(told, Ok(i64::from(sequence)));
    }
    let gap = produce(leader, &topic, 0, UNDER_WAY + 2);
    assert_eq!(gap, Err(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(produce(leader, &topic, 0, UNDER_WAY + 1), Ok(6));
}

/// The first batch is on its way to the leader before, as the second one comes: were that appended, the first one
/// would be out of order whenever it came.
#[test]
fn a_new_leader_waits_for_the_first_one() {
    let mut testbed = Testbed::start(1, 2);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_on("orders", &[0, 1], &[]);
    drop(connection);
    await_isr(&testbed.brokers[0], 0, &[0, 1]);
    assert!(testbed.brokers[0].stop());
    await_isr(&testbed.brokers[1], 1, &[1]);
    let leader = &testbed.brokers[1];
    let second = || produce(leader, &topic, 0, 1);
    let refused = Err(ErrorCode::NotLeaderOrFollower);
    assert_eq!((second(), second()), (refused, refused));
    let first = eventually(|| produce(leader, &topic, 0, 0));
    assert_eq!((first, second()), (0, Ok(1)));
}
