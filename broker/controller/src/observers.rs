//! Which nodes follow the metadata.
//!
//! A broker holds its lease on one connection and follows the metadata on another. A process that dies
//! closes both at once; one that only lost its lease stream still follows. So the two together tell a
//! death, which is acted on at once, from a reconnect, which is waited for.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use uuid::Uuid;

/// The streams of the metadata that each node has open here, by the process that has them.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    streams: Mutex<BTreeMap<i32, Vec<Uuid>>>,
}

impl Observers {
    pub(crate) fn opened(&self, node_id: i32, incarnation: Uuid) {
        let mut streams = self.streams.lock();
        streams.entry(node_id).or_default().push(incarnation);
    }

    pub(crate) fn closed(&self, node_id: i32, incarnation: Uuid) {
        let mut streams = self.streams.lock();
        let Some(open) = streams.get_mut(&node_id) else {
            return;
        };
        if let Some(at) = open.iter().position(|it| *it == incarnation) {
            open.swap_remove(at);
        }
        if open.is_empty() {
            streams.remove(&node_id);
        }
    }

    pub(crate) fn is_observing(&self, node_id: i32) -> bool {
        self.streams.lock().contains_key(&node_id)
    }

    /// Whether a process of the node observes that is not this one.
    pub(crate) fn is_another_observing(&self, node_id: i32, incarnation: Uuid) -> bool {
        let streams = self.streams.lock();
        let open = streams.get(&node_id);
        open.is_some_and(|open| open.iter().any(|it| *it != incarnation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_observes_until_its_last_stream_has_closed() {
        let (old, new) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let observers = Observers::default();
        observers.closed(0, old);
        assert!(!observers.is_observing(0));
        observers.opened(0, old);
        observers.opened(0, old);
        observers.opened(0, new);
        observers.closed(0, old);
        assert!(observers.is_observing(0) && !observers.is_observing(1));
        assert!(observers.is_another_observing(0, new));
        observers.closed(0, old);
        assert!(observers.is_observing(0));
        assert!(!observers.is_another_observing(0, new));
        assert!(observers.is_another_observing(0, old));
        observers.closed(0, new);
        assert!(!observers.is_observing(0));
    }
}
