//! What the workload says of itself twenty times a second.

/// A moment of the workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) at_us: u64,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    pub(crate) mismatches: u64,
    /// In the order of the partitions.
    pub(crate) partitions: Vec<PartitionFigures>,
}

/// One partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PartitionFigures {
    /// Records sent and not yet answered.
    pub(crate) in_flight: u64,
    /// When the newest acknowledgement came; 0: none yet.
    pub(crate) last_ack_us: u64,
}

impl Figures {
    /// `figures <time> <acked> <failed> <mismatches>`, then `<in flight>:<last ack>` for each partition.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("figures ")?.split(' ');
        let mut number = || words.next()?.parse().ok();
        let mut figures = Self {
            at_us: number()?,
            acked: number()?,
            failed: number()?,
            mismatches: number()?,
            partitions: Vec::new(),
        };
        for word in words {
            let (in_flight, last_ack_us) = word.split_once(':')?;
            figures.partitions.push(PartitionFigures {
                in_flight: in_flight.parse().ok()?,
                last_ack_us: last_ack_us.parse().ok()?,
            });
        }
        Some(figures)
    }

    /// Those of the first so many partitions that have no acknowledgement since then.
    pub(crate) fn silent_since(&self, partitions: usize, us: u64) -> Vec<usize> {
        let silent = |(index, partition): (usize, &PartitionFigures)| {
            (partition.last_ack_us <= us).then_some(index)
        };
        self.partitions
            .iter()
            .take(partitions)
            .enumerate()
            .filter_map(silent)
            .collect()
    }

    /// Since when all partitions after the first so many have been written to; 0: not all have.
    pub(crate) fn written_by_all(&self, first: usize) -> u64 {
        let after = self.partitions.iter().skip(first);
        after
            .map(|partition| partition.last_ack_us)
            .min()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_answers_to_commands_are_not() {
        let figures = Figures::parse("figures 90 5 1 0 3:80 0:0").unwrap();
        assert_eq!((figures.at_us, figures.acked, figures.failed), (90, 5, 1));
        assert_eq!(figures.partitions[0].in_flight, 3);
        assert_eq!(figures.silent_since(2, 79), [1]);
        assert_eq!(figures.silent_since(2, 80), [0, 1]);
        assert_eq!(figures.silent_since(1, 80), [0]);
        assert_eq!(
            (figures.written_by_all(0), figures.written_by_all(2)),
            (0, 0)
        );
        let figures = Figures::parse("figures 90 5 1 0 3:80 0:0 0:70 0:60").unwrap();
        assert_eq!(
            (figures.written_by_all(0), figures.written_by_all(2)),
            (0, 60)
        );
        assert_eq!(Figures::parse("quiet"), None);
        assert_eq!(Figures::parse("figures 90 5"), None);
    }
}
