//! When the quorum was last asked whether brokers are uneven in what no event tells: bytes and traffic.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The active controller makes a plan for each look: some hundred milliseconds where there are 100,000 replicas. And what
/// has shifted for less than this is not worth a copy.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// A Cluster may be gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// The last look, by the uid of the Cluster.
#[derive(Debug, Default)]
pub struct Looks(Mutex<HashMap<String, Instant>>);

impl Looks {
    /// How long until the next one; zero when it is due.
    #[must_use]
    pub fn due_in(&self, uid: &str, now: Instant) -> Duration {
        let last = self.0.lock().get(uid).copied();
        last.map_or(Duration::ZERO, |last| {
            LOOK_EVERY.saturating_sub(now.duration_since(last))
        })
    }

    /// It was answered now, whatever the answer.
    pub fn remember(&self, uid: &str, now: Instant) {
        let mut all = self.0.lock();
        all.retain(|_, last| now.duration_since(*last) < FORGOTTEN_AFTER);
        all.insert(uid.to_owned(), now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{LOOK_EVERY, Looks};

    #[test]
    fn a_look_is_due_at_once_and_then_from_time_to_time() {
        let (looks, start) = (Looks::default(), Instant::now());
        assert_eq!(looks.due_in("u", start), Duration::ZERO);
        looks.remember("u", start);
        assert_eq!(looks.due_in("u", start), LOOK_EVERY);
        assert_eq!(looks.due_in("v", start), Duration::ZERO);
        let later = start + LOOK_EVERY / 3;
        assert_eq!(looks.due_in("u", later), LOOK_EVERY * 2 / 3);
        assert_eq!(looks.due_in("u", start + LOOK_EVERY * 2), Duration::ZERO);
    }
}
