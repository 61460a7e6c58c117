use std::time::{SystemTime, UNIX_EPOCH};

/// In ms since 1970, for what outlives a controller. Leases and time limits go by the monotonic clock.
pub(crate) fn wall_clock_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
