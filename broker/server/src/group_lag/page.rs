//! The lag of groups, as Prometheus reads it. The series are made for each scrape: whatever is gone is gone from the page.

use foz_groups::LeftOut;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::round::CoordinatorLags;

const LAG: &str = "foz_group_lag";
const COMMITTED_OFFSET: &str = "foz_group_committed_offset";
const LEFT_OUT: &str = "foz_group_lag_left_out";

/// Of these coordinators; none of them is empty.
pub(super) fn families<'a>(
    coordinators: impl Iterator<Item = &'a CoordinatorLags>,
    now_ms: i64,
) -> Vec<MetricFamily> {
    let mut left_out = LeftOut::default();
    let mut ends_unknown = 0;
    let (mut lags, mut committed_offsets) = (Vec::new(), Vec::new());
    for coordinator in coordinators {
        left_out.group_id += coordinator.left_out.group_id;
        left_out.limit += coordinator.left_out.limit;
        for group in &coordinator.groups {
            for partition in &group.partitions {
                let committed = &partition.committed;
                let index = committed.partition.to_string();
                let labels = [
                    ("group", &*group.group_id),
                    ("topic", &*committed.topic),
                    ("partition", &index),
                ];
                committed_offsets.push(gauge(&labels, committed.offset));
                match partition.lag(now_ms) {
                    Some(lag) => lags.push(gauge(&labels, lag)),
                    None => ends_unknown += 1,
                }
            }
        }
    }
    let left_out = [
        ("end", ends_unknown),
        ("group_id", left_out.group_id),
        ("limit", left_out.limit),
    ];
    let left_out = left_out.map(|(reason, count)| gauge(&[("reason", reason)], count as i64));
    let families = [
        family(
            COMMITTED_OFFSET,
            "Offset that a group has committed.",
            committed_offsets,
        ),
        family(
            LAG,
            "Records between the offset that a group has committed and the end of the partition.",
            lags,
        ),
        family(
            LEFT_OUT,
            "Offsets that groups have committed for which no lag is told, by the reason.",
            left_out.into(),
        ),
    ];
    let families = families.into_iter();
    families.filter(|it| !it.get_metric().is_empty()).collect()
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
