//! Brokers that want to stop, and whether what they led is committed to be led by others.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// One entry for each broker that asked to stop in this term.
#[derive(Debug, Default)]
pub(crate) struct Handovers {
    brokers: watch::Sender<BTreeMap<i32, Asked>>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Of the newest decision; what becomes of an older one is of no interest.
    number: u64,
    committed: Option<Handover>,
}

/// Leadership was moved away from a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handover {
    /// The registration of the broker.
    pub(crate) epoch: i64,
    /// Of the image in which it is so.
    pub(crate) offset: i64,
}

impl Handovers {
    /// Something was decided for the broker: what was committed before is no longer all. The number is
    /// for [`committed`](Self::committed).
    pub(crate) fn begin(&self, node_id: i32) -> u64 {
        let mut number = 0;
        self.brokers.send_modify(|brokers| {
            number = brokers.get(&node_id).map_or(0, |asked| asked.number + 1);
            let committed = None;
            brokers.insert(node_id, Asked { number, committed });
        });
        number
    }

    pub(crate) fn committed(&self, node_id: i32, number: u64, handover: Handover) {
        self.brokers
            .send_if_modified(|brokers| match brokers.get_mut(&node_id) {
                Some(asked) if asked.number == number => {
                    asked.committed = Some(handover);
                    true
                }
                _ => false,
            });
    }

    pub(crate) fn clear(&self) {
        self.brokers.send_replace(BTreeMap::new());
    }

    /// Whether `handover` is still the newest that was decided for the broker.
    pub(crate) fn is_newest(&self, node_id: i32, handover: Handover) -> bool {
        newest(&self.brokers.borrow(), node_id, handover.epoch) == Some(handover)
    }

    /// Returns when the registration `epoch` of the broker has handed over.
    pub(crate) async fn wait(&self, node_id: i32, epoch: i64) -> Handover {
        let mut brokers = self.brokers.subscribe();
        loop {
            let found = newest(&brokers.borrow_and_update(), node_id, epoch);
            if let Some(handover) = found {
                return handover;
            }
            brokers
                .changed()
                .await
                .expect("the sender is borrowed as long as this waits");
        }
    }
}

fn newest(brokers: &BTreeMap<i32, Asked>, node_id: i32, epoch: i64) -> Option<Handover> {
    let committed = brokers.get(&node_id)?.committed;
    committed.filter(|handover| handover.epoch == epoch)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn only_the_newest_decision_of_the_same_registration_counts() {
        let handovers = Handovers::default();
        let handover = Handover {
            epoch: 5,
            offset: 9,
        };
        let first = handovers.begin(0);
        let second = handovers.begin(0);
        handovers.committed(0, first, handover);
        assert_eq!(handovers.wait(0, 5).now_or_never(), None);
        assert!(!handovers.is_newest(0, handover));
        handovers.committed(0, second, handover);
        assert_eq!(handovers.wait(0, 5).now_or_never(), Some(handover));
        assert_eq!(handovers.wait(0, 6).now_or_never(), None);
        assert_eq!(handovers.wait(1, 5).now_or_never(), None);
        assert!(handovers.is_newest(0, handover));
        handovers.begin(0);
        assert!(!handovers.is_newest(0, handover));
        assert_eq!(handovers.wait(0, 5).now_or_never(), None);
    }

    #[test]
    fn what_an_earlier_term_decided_is_forgotten() {
        let handovers = Handovers::default();
        let number = handovers.begin(0);
        handovers.clear();
        let handover = Handover {
            epoch: 5,
            offset: 9,
        };
        handovers.committed(0, number, handover);
        assert_eq!(handovers.wait(0, 5).now_or_never(), None);
    }
}
