//! For each anomaly a history that has it and nothing else, and the nearest one that is innocent.

mod logs;
mod reads;
mod transactions;
mod writes;

/// Offsets and values.
pub(crate) const FOUR: [(i64, u64); 4] = [(0, 0), (1, 1), (2, 2), (3, 3)];
