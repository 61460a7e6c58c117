//! What the pages of the brokers show.

use std::collections::BTreeMap;

use crate::testbed::Node;
use crate::versions::connection::eventually;

/// By group, topic and partition.
pub(super) const LAG: &str = "kminion_kafka_consumer_group_topic_partition_lag";

/// By topic and partition.
pub(crate) type Lags = BTreeMap<(String, i32), i64>;

/// The series of this name on a broker's page, by group. The labels of these tests have nothing to escape.
pub(super) fn series(node: &Node, name: &str) -> BTreeMap<String, Lags> {
    by_group(&node.http("/metrics").unwrap(), name)
}

pub(super) fn by_group(page: &str, name: &str) -> BTreeMap<String, Lags> {
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let mut by_group: BTreeMap<String, Lags> = BTreeMap::new();
    for (labels, value) in lines_of(page, name) {
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let partition = (label("topic_name"), label("partition_id").parse().unwrap());
        let lags = by_group.entry(label("group_id")).or_default();
        assert_eq!(
            lags.insert(partition, value),
            None,
            "{labels} is there twice"
        );
    }
    by_group
}

/// Labels and values.
fn lines_of<'a>(page: &'a str, name: &str) -> Vec<(&'a str, i64)> {
    let begin = format!("{name}{{");
    let lines = page.lines().filter_map(|line| line.strip_prefix(&begin));
    let split = lines.map(|line| line.rsplit_once("} ").unwrap());
    split
        .map(|(labels, value)| (labels, value.parse().unwrap()))
        .collect()
}

/// Numbers by their reasons; none before the broker has looked for the first time.
pub(super) fn left_out(node: &Node) -> Vec<(&'static str, i64)> {
    let page = node.http("/metrics").unwrap();
    let found = lines_of(&page, "foz_group_lag_left_out");
    if found.is_empty() {
        return Vec::new();
    }
    let reasons = ["coordinator", "end", "group_id", "limit"];
    assert_eq!(found.len(), reasons.len());
    let count = |reason: &str| {
        let label = format!("reason=\"{reason}\"");
        found.iter().find(|(labels, _)| *labels == label).unwrap().1
    };
    reasons.map(|reason| (reason, count(reason))).into()
}

/// The broker that shows the group, if any does, and what it shows. Never do two.
pub(super) fn shown<'a>(
    nodes: impl IntoIterator<Item = &'a Node>,
    group: &str,
) -> Option<(&'a Node, Lags)> {
    let nodes = nodes.into_iter().filter(|node| node.is_running());
    let mut shown = nodes.filter_map(|node| Some((node, series(node, LAG).remove(group)?)));
    let first = shown.next();
    assert!(
        first.is_none() || shown.next().is_none(),
        "{group} is shown twice"
    );
    first
}

pub(super) fn await_lags<'a>(
    nodes: impl IntoIterator<Item = &'a Node> + Copy,
    group: &str,
    expected: &Lags,
) {
    await_shown(nodes, group, Some(expected));
}

/// Some broker, whichever, shows this.
pub(super) fn await_shown<'a>(
    nodes: impl IntoIterator<Item = &'a Node> + Copy,
    group: &str,
    expected: Option<&Lags>,
) {
    eventually(|| {
        let shown = shown(nodes, group).map(|(_, lags)| lags);
        match shown.as_ref() == expected {
            true => Ok(()),
            false => Err(format!("{group} {shown:?}, not {expected:?}")),
        }
    });
}
