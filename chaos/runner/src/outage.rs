//! How long nothing was acknowledged, and what many such times come to.

use std::collections::BTreeMap;

/// When acknowledgements came, by partition, ascending.
pub(crate) type AckTimes = BTreeMap<(String, i32), Vec<u64>>;

/// The longest time without an acknowledgement on any of these partitions from `begin_us` to `until_us`.
/// Silence that began before counts from `begin_us` only. `None` when one of them was silent to the end.
pub(crate) fn longest_us(
    acks: &AckTimes,
    partitions: &[(String, i32)],
    begin_us: u64,
    until_us: u64,
) -> Option<u64> {
    let mut longest = 0;
    for partition in partitions {
        let times = acks.get(partition)?;
        let from = times.partition_point(|time| *time < begin_us);
        let mut last = begin_us;
        let mut any = false;
        for time in &times[from..] {
            longest = longest.max(time - last);
            last = *time;
            any = true;
            if *time > until_us {
                break;
            }
        }
        if !any {
            return None;
        }
    }
    Some(longest)
}

/// Median, 99 of 100, greatest: the value at or above which so many lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: &[u64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let max = *sorted.last()?;
        let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
        Some(Self {
            p50: at(50),
            p99: at(99),
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(times: &[u64]) -> AckTimes {
        BTreeMap::from([(("t".to_owned(), 0), times.to_vec())])
    }

    #[test]
    fn the_gap_after_the_fault_counts_not_the_answers_still_on_their_way() {
        let partitions = [("t".to_owned(), 0)];
        // An answer arrives just after the fault; then silence until 900.
        let times = acks(&[80, 105, 900, 910]);
        assert_eq!(longest_us(&times, &partitions, 100, 950), Some(795));
        // Silence before the fault is not the fault's.
        assert_eq!(
            longest_us(&acks(&[10, 130, 140]), &partitions, 100, 135),
            Some(30)
        );
        // What comes later than the time looked at does not count, but the gap that reaches beyond does.
        assert_eq!(
            longest_us(&acks(&[101, 500, 9_000]), &partitions, 100, 400),
            Some(399)
        );
        assert_eq!(longest_us(&acks(&[90]), &partitions, 100, 400), None);
        assert_eq!(
            longest_us(&acks(&[90]), &[("u".to_owned(), 0)], 100, 400),
            None
        );
    }

    #[test]
    fn a_spread_names_values_that_there_are() {
        let values: Vec<u64> = (1..=200).rev().collect();
        let spread = Spread::of(&values).unwrap();
        assert_eq!((spread.p50, spread.p99, spread.max), (100, 198, 200));
        assert_eq!(Spread::of(&[7]).unwrap().p50, 7);
        assert_eq!(Spread::of(&[]), None);
    }
}
