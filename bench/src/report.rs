//! From the runs to the table that is printed: medians and ratios.

use std::fmt::Write as _;

use clap::ValueEnum;

use crate::promise::Promise;

/// Whose broker ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Product {
    Kafka,
    Foz,
}

impl Product {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::Foz => "Foz",
        }
    }
}

/// What one workload showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurement {
    pub(crate) workload: &'static str,
    pub(crate) mebibytes_per_second: f64,
    /// Of the producers only.
    pub(crate) latency_p99_ms: Option<f64>,
    /// Of all brokers, all threads.
    pub(crate) processor_seconds_per_gibibyte: f64,
}

/// What one life of a cluster showed.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) product: Product,
    pub(crate) idle_memory_bytes: u64,
    pub(crate) loaded_memory_bytes: u64,
    pub(crate) measurements: Vec<Measurement>,
}

/// The table of one promise: a row for each figure, the medians of both products and their ratio.
pub(crate) fn table(promise: Promise, runs: &[Run]) -> String {
    let mut text = format!("\n{}\n", promise.title());
    let _ = writeln!(
        text,
        "{:<37}{:<14}{:>9}{:>9}{:>13}",
        "", "", "Kafka", "Foz", "Foz / Kafka"
    );
    for workload in workloads(runs) {
        let figure = |read: fn(&Measurement) -> Option<f64>| {
            move |run: &Run| {
                run.measurements
                    .iter()
                    .find(|one| one.workload == workload)
                    .and_then(read)
            }
        };
        row(
            &mut text,
            workload,
            "MiB/s",
            runs,
            figure(|one| Some(one.mebibytes_per_second)),
        );
        row(
            &mut text,
            "",
            "p99 ms",
            runs,
            figure(|one| one.latency_p99_ms),
        );
        let processor = figure(|one| Some(one.processor_seconds_per_gibibyte));
        row(&mut text, "", "CPU s/GiB", runs, processor);
    }
    row(&mut text, "memory, idle", "MiB", runs, |run| {
        Some(mebibytes(run.idle_memory_bytes))
    });
    row(&mut text, "memory, after the load", "MiB", runs, |run| {
        Some(mebibytes(run.loaded_memory_bytes))
    });
    text
}

/// In the order in which they ran.
fn workloads(runs: &[Run]) -> Vec<&'static str> {
    runs.first()
        .map(|run| run.measurements.iter().map(|one| one.workload).collect())
        .unwrap_or_default()
}

/// Writes nothing for a figure that the runs do not have.
fn row(
    text: &mut String,
    what: &str,
    unit: &str,
    runs: &[Run],
    figure: impl Fn(&Run) -> Option<f64>,
) {
    let of = |product| {
        median(
            runs.iter()
                .filter(|run| run.product == product)
                .filter_map(&figure),
        )
    };
    let (Some(kafka), Some(foz)) = (of(Product::Kafka), of(Product::Foz)) else {
        return;
    };
    let ratio = if kafka > 0.0 {
        format!("{:.2}", foz / kafka)
    } else {
        "-".to_owned()
    };
    let _ = writeln!(
        text,
        "{what:<37}{unit:<14}{kafka:>9.1}{foz:>9.1}{ratio:>13}"
    );
}

/// Of an even number of values the mean of the two in the middle; of none, none.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(product: Product, rate: f64, memory_mebibytes: u64) -> Run {
        Run {
            product,
            idle_memory_bytes: memory_mebibytes << 20,
            loaded_memory_bytes: memory_mebibytes << 21,
            measurements: vec![Measurement {
                workload: "consume",
                mebibytes_per_second: rate,
                latency_p99_ms: None,
                processor_seconds_per_gibibyte: 0.0,
            }],
        }
    }

    #[test]
    fn median_takes_the_middle() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0].into_iter()), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 9.0].into_iter()), Some(3.0));
    }

    #[test]
    fn table_shows_medians_and_their_ratio() {
        let runs = [
            run(Product::Kafka, 100.0, 400),
            run(Product::Foz, 150.0, 20),
            run(Product::Foz, 250.0, 20),
            run(Product::Kafka, 60.0, 400),
        ];
        let table = table(Promise::Flushed, &runs);
        let row = |start: &str| {
            let line = table.lines().find(|line| line.starts_with(start));
            line.map(|line| line.split_whitespace().rev().take(3).collect::<Vec<_>>())
        };
        assert_eq!(row("consume"), Some(vec!["2.50", "200.0", "80.0"]));
        assert_eq!(row("memory, idle"), Some(vec!["0.05", "20.0", "400.0"]));
        assert!(table.contains("acknowledged after a flush"), "{table}");
        assert!(
            !table.contains("p99"),
            "a consumer has no latency:\n{table}"
        );
    }

    #[test]
    fn a_ratio_to_nothing_is_not_a_number_that_misleads() {
        let runs = [run(Product::Kafka, 0.0, 1), run(Product::Foz, 1.0, 1)];
        let table = table(Promise::PageCache, &runs);
        assert!(
            table
                .lines()
                .any(|line| line.starts_with("consume") && line.ends_with('-'))
        );
    }
}
