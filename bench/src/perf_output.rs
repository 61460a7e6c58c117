//! Reads what Kafka's perf tools print.

use anyhow::{Context, ensure};

/// The last line of `kafka-producer-perf-test`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Produced {
    pub(crate) records: u64,
    pub(crate) mebibytes_per_second: f64,
    pub(crate) latency_p99_ms: f64,
}

/// The line of figures of `kafka-consumer-perf-test`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Consumed {
    pub(crate) records: u64,
    /// Without the time in which the group formed.
    pub(crate) mebibytes_per_second: f64,
}

/// # Errors
/// The tool did not get as far as its summary.
pub(crate) fn produced(output: &str) -> anyhow::Result<Produced> {
    // Lines of progress look alike but for the percentiles.
    let summary = output
        .lines()
        .rfind(|line| line.ends_with("99.9th."))
        .with_context(|| format!("kafka-producer-perf-test printed no summary:\n{output}"))?;
    parse_produced(summary).with_context(|| format!("cannot read {summary:?}"))
}

fn parse_produced(line: &str) -> Option<Produced> {
    let mut parts = line.split(", ");
    let records = parts.next()?.strip_suffix(" records sent")?.parse().ok()?;
    let (_, rate) = parts.next()?.split_once('(')?;
    let p99 = parts.find_map(|part| part.strip_suffix(" ms 99th"))?;
    Some(Produced {
        records,
        mebibytes_per_second: rate.strip_suffix(" MB/sec)")?.parse().ok()?,
        latency_p99_ms: p99.parse().ok()?,
    })
}

/// # Errors
/// The tool did not get as far as its figures.
pub(crate) fn consumed(output: &str) -> anyhow::Result<Consumed> {
    let mut lines = output
        .lines()
        .skip_while(|line| !line.starts_with("start.time"));
    let header = lines.next();
    let figures = lines.next();
    let (Some(header), Some(figures)) = (header, figures) else {
        anyhow::bail!("kafka-consumer-perf-test printed no figures:\n{output}");
    };
    let column = |name: &str| -> anyhow::Result<&str> {
        let index = header.split(',').position(|column| column.trim() == name);
        let value = index.and_then(|index| figures.split(',').nth(index));
        Ok(value
            .with_context(|| format!("no column {name} in:\n{output}"))?
            .trim())
    };
    let consumed = Consumed {
        records: column("data.consumed.in.nMsg")?.parse()?,
        mebibytes_per_second: column("fetch.MB.sec")?.parse()?,
    };
    ensure!(
        consumed.mebibytes_per_second.is_finite(),
        "the consumer measured nothing:\n{output}"
    );
    Ok(consumed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_the_producer_is_its_last_line() {
        let output = "66151 records sent, 13230.2 records/sec (12.92 MB/sec), 1603.1 ms avg latency, 2223.0 ms max latency.\n\
            200000 records sent, 24594.195770 records/sec (24.02 MB/sec), 1072.56 ms avg latency, 2223.00 ms max latency, 910 ms 50th, 2066 ms 95th, 2181 ms 99th, 2214 ms 99.9th.\n";
        let expected = Produced {
            records: 200_000,
            mebibytes_per_second: 24.02,
            latency_p99_ms: 2181.0,
        };
        assert_eq!(produced(output).unwrap(), expected);
    }

    #[test]
    fn a_producer_that_did_not_finish_is_an_error_that_shows_its_output() {
        let error = produced("12 records sent, 2.4 records/sec (0.00 MB/sec)\n").unwrap_err();
        assert!(error.to_string().contains("12 records sent"), "{error}");
    }

    #[test]
    fn the_consumer_is_read_by_the_names_of_its_columns() {
        let output = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n\
            2026-11-21 07:41:20:169, 2026-11-21 07:41:27:096, 195.3125, 28.1958, 200000, 28872.5278, 4413, 2514, 77.6899, 79554.4948\n";
        let expected = Consumed {
            records: 200_000,
            mebibytes_per_second: 77.6899,
        };
        assert_eq!(consumed(output).unwrap(), expected);
    }

    #[test]
    fn a_consumer_that_saw_nothing_is_an_error() {
        assert!(consumed("").is_err());
        assert!(consumed("start.time, end.time\n").is_err());
        assert!(consumed("start.time, fetch.MB.sec, data.consumed.in.nMsg\nx, NaN, 0\n").is_err());
    }
}
