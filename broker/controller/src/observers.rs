//! Which nodes follow the metadata.
//!
//! A broker holds its lease on one connection and follows the metadata on another. A process that dies
//! closes both at once; one that only lost its lease stream still follows. So the two together tell a
//! death, which is acted on at once, from a reconnect, which is waited for.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// How many streams of the metadata each node has open here.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    streams: Mutex<BTreeMap<i32, usize>>,
}

impl Observers {
    pub(crate) fn opened(&self, node_id: i32) {
        *self.streams.lock().entry(node_id).or_default() += 1;
    }

    pub(crate) fn closed(&self, node_id: i32) {
        let mut streams = self.streams.lock();
        if let Some(count) = streams.get_mut(&node_id) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&node_id);
            }
        }
    }

    pub(crate) fn is_observing(&self, node_id: i32) -> bool {
        self.streams.lock().contains_key(&node_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_observes_until_its_last_stream_has_closed() {
        let observers = Observers::default();
        observers.closed(0);
        assert!(!observers.is_observing(0));
        observers.opened(0);
        observers.opened(0);
        observers.closed(0);
        assert!(observers.is_observing(0) && !observers.is_observing(1));
        observers.closed(0);
        assert!(!observers.is_observing(0));
    }
}
