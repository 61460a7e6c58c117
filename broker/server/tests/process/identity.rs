//! A volume that belongs elsewhere is refused, and it is said what was found and what was expected.

use std::fs;

use crate::testbed::Testbed;

fn properties(node: &crate::testbed::Node) -> String {
    fs::read_to_string(node.directory.join("data/meta.properties")).unwrap()
}

fn cluster_id(node: &crate::testbed::Node) -> String {
    let text = properties(node);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("cluster.id="));
    line.expect("a cluster id").to_owned()
}

#[test]
fn a_broker_refuses_another_clusters_volume() {
    let mut ours = Testbed::start(1, 1);
    let mut theirs = Testbed::start(1, 1);
    let (our_id, their_id) = (cluster_id(&ours.brokers[0]), cluster_id(&theirs.brokers[0]));
    assert_ne!(our_id, their_id);
    ours.brokers[0].stop();
    theirs.brokers[0].stop();
    let (from, to) = (&theirs.brokers[0].directory, &ours.brokers[0].directory);
    fs::rename(to.join("data"), to.join("own")).unwrap();
    fs::rename(from.join("data"), to.join("data")).unwrap();
    ours.brokers[0].spawn();
    let log = ours.brokers[0].wait_failure();
    assert!(log.contains(&our_id) && log.contains(&their_id), "{log}");
}

#[test]
fn a_broker_refuses_another_nodes_volume() {
    let mut testbed = Testbed::start(1, 2);
    testbed
        .brokers
        .iter_mut()
        .for_each(|broker| assert!(broker.stop()));
    let (first, second) = (&testbed.brokers[0].directory, &testbed.brokers[1].directory);
    fs::rename(first.join("data"), first.join("own")).unwrap();
    fs::rename(second.join("data"), first.join("data")).unwrap();
    testbed.brokers[0].spawn();
    let log = testbed.brokers[0].wait_failure();
    assert!(
        log.contains("belongs to node 1, and this is node 0"),
        "{log}"
    );
}

#[test]
fn a_controller_refuses_another_clusters_volume() {
    let mut ours = Testbed::start(3, 0);
    let mut theirs = Testbed::start(3, 0);
    let (our_id, their_id) = (
        cluster_id(&ours.controllers[0]),
        cluster_id(&theirs.controllers[0]),
    );
    ours.controllers[0].stop();
    theirs.controllers[0].stop();
    let (from, to) = (
        &theirs.controllers[0].directory,
        &ours.controllers[0].directory,
    );
    fs::rename(to.join("data"), to.join("own")).unwrap();
    fs::rename(from.join("data"), to.join("data")).unwrap();
    ours.controllers[0].spawn();
    let log = ours.controllers[0].wait_failure();
    assert!(log.contains(&our_id) && log.contains(&their_id), "{log}");
}
