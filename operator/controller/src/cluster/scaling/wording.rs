//! Numbers in sentences.

use std::collections::BTreeSet;

use crate::quorum::rebalance::{Goal, RebalanceView};

/// `broker 3`, `brokers 3, 4 and 5`.
#[must_use]
pub fn brokers(node_ids: &BTreeSet<i32>) -> String {
    let ids: Vec<String> = node_ids.iter().map(ToString::to_string).collect();
    match ids.as_slice() {
        [] => "no broker".to_owned(),
        [one] => format!("broker {one}"),
        [some @ .., last] => format!("brokers {} and {last}", some.join(", ")),
    }
}

/// `1 partition`, `34 partitions`.
#[must_use]
pub fn partitions(count: i32) -> String {
    match count {
        1 => "1 partition".to_owned(),
        count => format!("{count} partitions"),
    }
}

/// With the largest unit of which there is one at least.
#[must_use]
pub fn bytes(count: i64) -> String {
    const UNITS: [(i64, &str); 4] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    let unit = UNITS.into_iter().find(|(unit, _)| count >= *unit);
    let Some((unit, name)) = unit else {
        return format!("{count} bytes");
    };
    // To a tenth, as far as that says anything.
    let tenths = count / (unit / 10);
    if tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", tenths / 10)
    }
}

/// `40 s`, `5 min`, `3 h`.
#[must_use]
pub fn duration(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// `moves partitions off broker 5: 34 of 120 moved, about 40 s left`.
#[must_use]
pub fn progress(rebalance: &RebalanceView) -> String {
    let doing = match &rebalance.goal {
        Some(Goal::DrainBrokers(drained)) => format!("moves partitions off {}", brokers(drained)),
        Some(Goal::AddedBrokers(added)) => format!("moves partitions onto {}", brokers(added)),
        Some(Goal::Full) | None => "moves partitions to even brokers out".to_owned(),
    };
    let (done, total) = (rebalance.moves_done, rebalance.moves_total);
    let left = rebalance
        .seconds_left
        .filter(|_| rebalance.moves_left() > 0)
        .map(|seconds| format!(", about {} left", duration(seconds)))
        .unwrap_or_default();
    let waits = if rebalance.message.is_empty() {
        String::new()
    } else {
        format!("; {}", rebalance.message)
    };
    format!("{doing}: {done} of {total} moved{left}{waits}")
}

#[cfg(test)]
mod tests {
    use super::{brokers, bytes, duration};

    #[test]
    fn numbers_are_said_as_people_say_them() {
        assert_eq!(brokers(&[5].into()), "broker 5");
        assert_eq!(brokers(&[5, 4].into()), "brokers 4 and 5");
        assert_eq!(brokers(&[5, 4, 3].into()), "brokers 3, 4 and 5");
        let found = [0, 999, 1000, 1_230_000, 12_300_000, i64::MAX].map(bytes);
        let right = ["0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "12 MB"];
        assert_eq!(found[..5], right);
        assert_eq!(
            [0, 119, 120, 7199, 7200].map(duration),
            ["0 s", "119 s", "2 min", "119 min", "2 h"]
        );
    }
}
