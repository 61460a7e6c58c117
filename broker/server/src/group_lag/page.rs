//! The lag of groups, as Prometheus reads it. The series are made for each scrape: whatever is gone is gone from the page.

use foz_groups::LeftOut;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::round::{CoordinatorLags, GroupLag};
use crate::handlers::leadership::Unconfirmed;

/// As kminion names them, so that boards for it show them.
const LAG: &str = "kminion_kafka_consumer_group_topic_partition_lag";
const TOPIC_LAG: &str = "kminion_kafka_consumer_group_topic_lag";
const COMMITTED_OFFSET: &str = "foz_group_committed_offset";
const LEFT_OUT: &str = "foz_group_lag_left_out";

/// Of these coordinators, with what was said when it was asked whether they still lead.
pub(super) fn families<'a>(
    coordinators: impl Iterator<Item = (&'a CoordinatorLags, Result<(), Unconfirmed>)>,
    now_ms: i64,
) -> Vec<MetricFamily> {
    let mut left_out = LeftOut::default();
    let mut unconfirmed = 0;
    let mut series = Series::default();
    for (coordinator, confirmed) in coordinators {
        match confirmed {
            Ok(()) => {
                left_out.group_id += coordinator.left_out.group_id;
                left_out.limit += coordinator.left_out.limit;
                for group in &coordinator.groups {
                    series.add(group, now_ms);
                }
            }
            // Another tells it.
            Err(Unconfirmed::Over) => {}
            Err(Unconfirmed::Unknown) => {
                let groups = coordinator.groups.iter();
                unconfirmed += groups.map(|group| group.partitions.len()).sum::<usize>();
            }
        }
    }
    let left_out = [
        ("coordinator", unconfirmed),
        ("end", series.ends_unknown),
        ("group_id", left_out.group_id),
        ("limit", left_out.limit),
    ];
    let left_out = left_out.map(|(reason, count)| gauge(&[("reason", reason)], count as i64));
    let mut families = series.families();
    families.push(family(
        LEFT_OUT,
        "Offsets that groups have committed for which no lag is told, by the reason.",
        left_out.into(),
    ));
    families
}

#[derive(Default)]
struct Series {
    committed_offsets: Vec<Metric>,
    lags: Vec<Metric>,
    topic_lags: Vec<Metric>,
    ends_unknown: usize,
}

impl Series {
    fn add(&mut self, group: &GroupLag, now_ms: i64) {
        let by_topic = group
            .partitions
            .chunk_by(|one, next| one.committed.topic == next.committed.topic);
        for partitions in by_topic {
            let [first, ..] = partitions else { continue };
            let group_and_topic = [
                ("group_id", &*group.group_id),
                ("topic_name", &*first.committed.topic),
            ];
            let [group_id, topic_name] = group_and_topic;
            let mut topic_lag = Some(0_i64);
            for partition in partitions {
                let index = partition.committed.partition.to_string();
                let labels = [group_id, topic_name, ("partition_id", &index)];
                let offset = gauge(&labels, partition.committed.offset);
                self.committed_offsets.push(offset);
                let lag = partition.lag(now_ms);
                match lag {
                    Some(lag) => self.lags.push(gauge(&labels, lag)),
                    None => self.ends_unknown += 1,
                }
                topic_lag = topic_lag.zip(lag).map(|(sum, lag)| sum.saturating_add(lag));
            }
            // A sum without one of them would be as wrong as an old one.
            if let Some(lag) = topic_lag {
                self.topic_lags.push(gauge(&group_and_topic, lag));
            }
        }
    }

    /// None of them is empty.
    fn families(self) -> Vec<MetricFamily> {
        let families = [
            family(
                COMMITTED_OFFSET,
                "Offset that a group has committed.",
                self.committed_offsets,
            ),
            family(
                LAG,
                "Records between the offset that a group has committed and the end of the partition.",
                self.lags,
            ),
            family(
                TOPIC_LAG,
                "The sum over the partitions of a topic that a group has committed offsets for.",
                self.topic_lags,
            ),
        ];
        let families = families.into_iter();
        families.filter(|it| !it.get_metric().is_empty()).collect()
    }
}

fn family(name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(metrics);
    family
}

fn gauge(labels: &[(&str, &str)], value: i64) -> Metric {
    let labels = labels.iter().map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).to_owned());
        label
    });
    let mut metric = Metric::from_label(labels.collect());
    let mut gauge = Gauge::default();
    gauge.set_value(value as f64);
    metric.set_gauge(gauge);
    metric
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use foz_groups::{CommittedOffset, PartitionEnd, PartitionLag};
    use prometheus::TextEncoder;
    use uuid::Uuid;

    use super::*;

    fn partition(topic: &str, partition: i32, offset: i64, end: Option<i64>) -> PartitionLag {
        PartitionLag {
            committed: CommittedOffset {
                topic: topic.into(),
                topic_id: Uuid::nil(),
                partition,
                offset,
            },
            end: end.map(|offset| PartitionEnd {
                offset,
                asked_ms: 0,
            }),
        }
    }

    #[test]
    fn a_topic_has_a_sum_when_all_its_partitions_have_a_lag() {
        let group = GroupLag {
            group_id: Arc::from(r#"a "group\"#),
            partitions: vec![
                partition("known", 0, 1, Some(4)),
                partition("known", 1, 9, Some(5)),
                partition("unknown", 0, 2, Some(3)),
                partition("unknown", 1, 2, None),
            ],
        };
        let mut series = Series::default();
        series.add(&group, 0);
        assert_eq!(series.ends_unknown, 1);
        let page = TextEncoder::new()
            .encode_to_string(&series.families())
            .unwrap();
        let group = r#"group_id="a \"group\\""#;
        for line in [
            format!("{TOPIC_LAG}{{{group},topic_name=\"known\"}} 3"),
            format!("{LAG}{{{group},topic_name=\"known\",partition_id=\"1\"}} 0"),
            format!("{LAG}{{{group},topic_name=\"unknown\",partition_id=\"0\"}} 1"),
            format!("{COMMITTED_OFFSET}{{{group},topic_name=\"unknown\",partition_id=\"1\"}} 2"),
        ] {
            assert!(page.lines().any(|it| it == line), "{line}\n{page}");
        }
        assert!(!page.contains(&format!("{TOPIC_LAG}{{{group},topic_name=\"unknown\"")));
    }
}
