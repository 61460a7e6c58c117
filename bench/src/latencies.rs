//! How long acknowledgements took in a stretch of time.

/// One record that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// When it was to be sent, since 1970.
    pub(crate) due_ms: u64,
    pub(crate) latency_us: u64,
}

/// Of the records that were due in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latencies {
    pub(crate) records: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Latencies {
    /// Over the columns of [`Self::row`].
    pub(crate) fn heading() -> String {
        format!(
            "{:>10}{:>9}{:>9}{:>9}",
            "records", "p50 ms", "p99 ms", "max ms"
        )
    }

    pub(crate) fn row(&self) -> String {
        format!(
            "{:>10}{:>9.1}{:>9.1}{:>9.1}",
            self.records, self.p50_ms, self.p99_ms, self.max_ms
        )
    }

    /// From `from_ms` until before `to_ms`. `None`: no record was due then.
    pub(crate) fn between(written: &[Written], from_ms: u64, to_ms: u64) -> Option<Self> {
        let mut latencies: Vec<u64> = written
            .iter()
            .filter(|one| (from_ms..to_ms).contains(&one.due_ms))
            .map(|one| one.latency_us)
            .collect();
        latencies.sort_unstable();
        let max = *latencies.last()?;
        Some(Self {
            records: latencies.len(),
            p50_ms: milliseconds(nearest_rank(&latencies, 50)),
            p99_ms: milliseconds(nearest_rank(&latencies, 99)),
            max_ms: milliseconds(max),
        })
    }
}

/// The least value that `percent` of all do not exceed. There is one at least.
fn nearest_rank(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_latency_that_was_seen() {
        let sorted: Vec<u64> = (1..=200).collect();
        assert_eq!(nearest_rank(&sorted, 50), 100);
        assert_eq!(nearest_rank(&sorted, 99), 198);
        assert_eq!(nearest_rank(&[7], 99), 7);
        assert_eq!(nearest_rank(&[7, 9], 99), 9);
    }

    #[test]
    fn a_record_counts_where_it_was_due_and_not_where_it_was_acknowledged() {
        let written = |due_ms, latency_us| Written { due_ms, latency_us };
        // In the order of acknowledgements.
        let all = [
            written(200, 1),
            written(100, 900_000),
            written(199, 3000),
            written(99, 2),
        ];
        let latencies = Latencies::between(&all, 100, 200).unwrap();
        assert_eq!(
            latencies,
            Latencies {
                records: 2,
                p50_ms: 3.0,
                p99_ms: 900.0,
                max_ms: 900.0
            }
        );
        assert_eq!(Latencies::between(&all, 300, 400), None);
    }
}
