//! Events by virtual time, and in the order in which they were put where that is the same.

use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: BTreeMap<(i64, u64), E>,
    put: u64,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self {
            events: BTreeMap::new(),
            put: 0,
        }
    }

    pub(crate) fn put(&mut self, at_ms: i64, event: E) {
        self.put += 1;
        self.events.insert((at_ms, self.put), event);
    }

    pub(crate) fn pop(&mut self) -> Option<(i64, E)> {
        let ((at_ms, _), event) = self.events.pop_first()?;
        Some((at_ms, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_putting() {
        let mut queue = Queue::new();
        for (at_ms, name) in [(5, "c"), (1, "a"), (5, "d"), (2, "b")] {
            queue.put(at_ms, name);
        }
        let names: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(names, [(1, "a"), (2, "b"), (5, "c"), (5, "d")]);
    }
}
