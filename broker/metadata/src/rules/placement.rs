//! On which brokers new partitions go.

use crate::image::{Image, Partition};

/// Chooses brokers so that the partitions of one topic are spread first, and all partitions second.
///
/// Within a topic no living broker gets a second partition before every other has one; what is left over
/// goes to the brokers that have the fewest partitions of all topics. So from an even start the counts
/// of all brokers stay within one of each other, and a new, empty broker is not handed a whole topic.
#[derive(Debug)]
pub(super) struct Placement {
    /// In the order in which equal brokers are chosen.
    brokers: Vec<(i32, usize)>,
}

impl Placement {
    /// `seed` decides among equal brokers, so that many small topics do not all start on the same one.
    pub(super) fn new(image: &Image, seed: u64) -> Self {
        let count = |node_id| (node_id, image.preferred_count(node_id));
        let mut brokers: Vec<_> = image
            .brokers()
            .filter(|broker| broker.can_lead())
            .map(|broker| count(broker.node_id))
            .collect();
        if let Some(start) = seed.checked_rem(brokers.len() as u64) {
            brokers.rotate_left(usize::try_from(start).unwrap_or_default());
        }
        Self { brokers }
    }

    /// Whether no broker is alive.
    pub(super) fn is_impossible(&self) -> bool {
        self.brokers.is_empty()
    }

    /// The brokers of `count` new partitions of a topic that has some already.
    pub(super) fn place(&mut self, existing: &[Partition], count: usize) -> Vec<i32> {
        assert!(
            !self.is_impossible(),
            "partitions are placed only while a broker is alive"
        );
        let mut in_topic = vec![0; self.brokers.len()];
        for partition in existing {
            let preferred = partition.preferred_leader();
            if let Some(at) = self
                .brokers
                .iter()
                .position(|(node_id, _)| *node_id == preferred)
            {
                in_topic[at] += 1;
            }
        }
        (0..count)
            .map(|_| {
                let at = (0..in_topic.len())
                    .min_by_key(|at| (in_topic[*at], self.brokers[*at].1))
                    .expect("a broker is alive");
                in_topic[at] += 1;
                self.brokers[at].1 += 1;
                self.brokers[at].0
            })
            .collect()
    }
}
