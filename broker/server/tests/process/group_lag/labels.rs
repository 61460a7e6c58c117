//! Any string can be the id of a group.

use super::{Reader, group_of, three_brokers, topic_on};
use crate::group_lag::shown::left_out;
use crate::versions::connection::eventually;

/// As the text format of Prometheus writes the label of a group.
fn label(group: &str) -> String {
    let escaped = group.replace('\\', r"\\").replace('"', "\\\"");
    format!("{{group=\"{escaped}\",topic=\"orders\",partition=\"0\"}}")
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
        found if found == [("end", 0), ("group_id", 3), ("limit", 0)] => Ok(()),
        found => Err(found),
    });
    let page = broker.http("/metrics").unwrap();
    let lines = page.lines().filter(|line| line.starts_with("foz_group_"));
    let mut lines: Vec<&str> = lines.filter(|line| !line.contains("left_out")).collect();
    let expected = groups[..2].iter().flat_map(|group| {
        let committed = format!("foz_group_committed_offset{} 1", label(group));
        [committed, format!("foz_group_lag{} 2", label(group))]
    });
    let mut expected: Vec<String> = expected.collect();
    expected.sort();
    lines.sort_unstable();
    assert_eq!(lines, expected);
}
