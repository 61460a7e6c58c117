//! Coordinators and leaders that die, move or stand still.

use std::io::{Read, Write};

use foz_protocol::error::ErrorCode;
use rustix::process::Signal;

use super::shown::{LAG, await_lags, by_group, left_out, series, shown};
use super::{
    COORDINATOR, Reader, find_coordinator, group_of, lags, produce, three_brokers, topic_on,
};
use crate::testbed::{Node, Testbed, sorted};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, produce_request,
};

/// All replicas of the groups' topic are in sync.
fn await_in_sync(testbed: &Testbed) {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    eventually(|| {
        let found = connection.topic(12, "__consumer_offsets");
        let mut partitions = found.partitions.iter();
        match partitions.all(|it| sorted(&it.isr_nodes) == [0, 1, 2]) {
            true => Ok(()),
            false => Err(found),
        }
    });
}

/// To whoever leads by now.
fn produce_somewhere(nodes: &[Node], topic: &Topic) {
    eventually(|| {
        let mut errors = Vec::new();
        for node in nodes.iter().filter(|node| node.is_running()) {
            let answered = Answered::default();
            let request = produce_request(9, topic, -1, &[(0, Some(batch(1, &["b"])))]);
            let response = Connection::open(node, &answered).call(9, &request);
            match error(response.responses[0].partition_responses[0].error_code) {
                ErrorCode::None => return Ok(()),
                error => errors.push(error),
            }
        }
        Err(errors)
    });
}

#[test]
fn it_goes_with_the_coordinator_and_stays_right_when_leaders_move() {
    let mut testbed = three_brokers();
    let moves = topic_on(&testbed, "moves", &[0, 1], 5);
    let stays = topic_on(&testbed, "stays", &[1], 5);
    let group = group_of(&testbed, "group", COORDINATOR);
    let reader = Reader::alone(group.clone());
    reader.commit(&testbed, &[(&moves, 1), (&stays, 2)]);
    await_lags(
        &testbed.brokers,
        &group,
        &lags(&[("moves", 4), ("stays", 3)]),
    );
    await_in_sync(&testbed);

    // Another coordinates: it alone shows the group, also when the first one is back.
    testbed.brokers[COORDINATOR].kill();
    await_lags(
        &testbed.brokers,
        &group,
        &lags(&[("moves", 4), ("stays", 3)]),
    );
    reader.commit(&testbed, &[(&moves, 2)]);
    testbed.brokers[COORDINATOR].spawn();
    testbed.brokers[COORDINATOR].wait_ready();
    await_lags(
        &testbed.brokers,
        &group,
        &lags(&[("moves", 3), ("stays", 3)]),
    );
    await_in_sync(&testbed);
    let (node, _) = shown(&testbed.brokers, &group).unwrap();
    let coordinator = find_coordinator(&testbed.brokers[1], &group).unwrap();
    assert_ne!(coordinator, COORDINATOR);
    assert_eq!(node.kafka_port, testbed.brokers[coordinator].kafka_port);

    // Another leads.
    testbed.brokers[0].kill();
    produce_somewhere(&testbed.brokers, &moves);
    produce(&testbed.brokers[1], &stays, 1);
    await_lags(
        &testbed.brokers,
        &group,
        &lags(&[("moves", 4), ("stays", 4)]),
    );
    reader.commit(&testbed, &[(&moves, 6)]);
    await_lags(
        &testbed.brokers,
        &group,
        &lags(&[("moves", 0), ("stays", 4)]),
    );
}

#[test]
fn a_leader_that_stands_still_makes_no_other_lag_old_nor_is_its_own_shown_for_long() {
    let testbed = three_brokers();
    let stuck = topic_on(&testbed, "stuck", &[0], 5);
    let others = topic_on(&testbed, "others", &[1], 5);
    let own = topic_on(&testbed, "own", &[2], 5);
    let group = group_of(&testbed, "group", COORDINATOR);
    let reader = Reader::alone(group.clone());
    reader.commit(&testbed, &[(&stuck, 1), (&others, 1), (&own, 1)]);
    let all = lags(&[("stuck", 4), ("others", 4), ("own", 4)]);
    await_lags(&testbed.brokers, &group, &all);

    testbed.brokers[0].signal(Signal::STOP);
    let running = &testbed.brokers[1..];
    let coordinator = &testbed.brokers[COORDINATOR];
    for more in 1..=3 {
        produce(&testbed.brokers[1], &others, 1);
        produce(coordinator, &own, 1);
        eventually(|| {
            let (_, mut found) = shown(running, &group).ok_or("nothing is shown")?;
            let stuck = found.remove(&("stuck".to_owned(), 0));
            assert!(stuck.is_none_or(|lag| lag == 4));
            match found == lags(&[("others", 4 + more), ("own", 4 + more)]) {
                true => Ok(()),
                false => Err("not yet"),
            }
        });
    }
    await_lags(running, &group, &lags(&[("others", 7), ("own", 7)]));
    eventually(|| match left_out(coordinator) {
        found if found.contains(&("end", 1)) => Ok(()),
        found => Err(found),
    });
    let committed = series(coordinator, "foz_group_committed_offset");
    assert_eq!(
        committed[&group],
        lags(&[("stuck", 1), ("others", 1), ("own", 1)])
    );

    testbed.brokers[0].signal(Signal::CONT);
    let all = lags(&[("stuck", 4), ("others", 7), ("own", 7)]);
    await_lags(&testbed.brokers, &group, &all);
}

#[test]
fn a_coordinator_that_stood_still_while_another_took_over_shows_nothing() {
    let testbed = three_brokers();
    let topic = topic_on(&testbed, "orders", &[1], 5);
    let group = group_of(&testbed, "group", COORDINATOR);
    let reader = Reader::alone(group.clone());
    reader.commit(&testbed, &[(&topic, 1)]);
    await_lags(&testbed.brokers, &group, &lags(&[("orders", 4)]));
    await_in_sync(&testbed);

    let old = &testbed.brokers[COORDINATOR];
    old.signal(Signal::STOP);
    // Asked while nobody answers: this one hears the answer first when it goes on.
    let mut scrapes: Vec<_> = (0..4).map(|_| old.connect_http().unwrap()).collect();
    for scrape in &mut scrapes {
        let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        scrape.write_all(request.as_bytes()).unwrap();
    }
    await_lags(&testbed.brokers[..2], &group, &lags(&[("orders", 4)]));
    old.signal(Signal::CONT);
    for mut scrape in scrapes {
        let mut page = String::new();
        scrape.read_to_string(&mut page).unwrap();
        assert_eq!(by_group(&page, LAG).get(&group), None);
    }
    reader.commit(&testbed, &[(&topic, 5)]);
    await_lags(&testbed.brokers, &group, &lags(&[("orders", 0)]));
}
