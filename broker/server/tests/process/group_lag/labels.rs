//! Any string can be the id of a group.

use super::{Reader, group_of, three_brokers, topic_on};
use crate::group_lag::shown::{LAG, left_out};
use crate::versions::connection::eventually;

/// As the text format of Prometheus writes the label of a group.
fn label(group: &str) -> String {
    let escaped = group.replace('\\', r"\\").replace('"', "\\\"");
    format!("group_id=\"{escaped}\",topic_name=\"orders\"")
}

#[test]
fn ids_are_escaped_and_those_that_make_no_label_are_counted() {
    let testbed = three_brokers();
    let topic = topic_on(&testbed, "orders", &[0], 3);
    let coordinator = 1;
    let long = "long".repeat(64);
    let names = [r#"a "name" \ "#, "größe", &long, "no\nlabel", "nor\0this"];
    let groups = names.map(|name| group_of(&testbed, name, coordinator));
    for group in &groups {
        Reader::alone(group.clone()).commit(&testbed, &[(&topic, 1)]);
    }
    let broker = &testbed.brokers[coordinator];
    eventually(|| match left_out(broker) {
        found if found.contains(&("group_id", 3)) => Ok(()),
        found => Err(found),
    });
    let page = broker.http("/metrics").unwrap();
    let is_of_group = |line: &&str| line.contains("group_id=\"") && !line.starts_with('#');
    let mut lines: Vec<&str> = page.lines().filter(is_of_group).collect();
    let expected = groups[..2].iter().flat_map(|group| {
        let label = label(group);
        [
            format!("foz_group_committed_offset{{{label},partition_id=\"0\"}} 1"),
            format!("{LAG}{{{label},partition_id=\"0\"}} 2"),
            format!("kminion_kafka_consumer_group_topic_lag{{{label}}} 2"),
        ]
    });
    let mut expected: Vec<String> = expected.collect();
    expected.sort();
    lines.sort_unstable();
    assert_eq!(lines, expected);
}
