//! The clock of histories: microseconds that never go back, the same for every process of this machine.

use rustix::time::{ClockId, clock_gettime};

/// What Java's `System.nanoTime() / 1000` says at the same moment.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}
