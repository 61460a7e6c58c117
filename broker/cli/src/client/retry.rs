//! Trying again until a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::ClientError;

/// Waits grow from the first to the second.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// A deadline and the waits before it.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    deadline: Instant,
    wait: Duration,
}

impl Retry {
    /// For so long from now.
    #[must_use]
    pub fn within(limit: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            wait: WAIT_MIN,
        }
    }

    /// The time is up.
    #[must_use]
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Waits before the next try; `false` when the time is up.
    pub async fn pause(&mut self) -> bool {
        if self.is_over() {
            return false;
        }
        sleep_until((Instant::now() + self.wait).min(self.deadline)).await;
        self.wait = (self.wait * 2).min(WAIT_MAX);
        true
    }

    /// Calls `attempt` until it succeeds, fails for good, or the time is up.
    ///
    /// # Errors
    /// The last error of `attempt`.
    pub async fn run<T>(
        mut self,
        mut attempt: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        loop {
            match attempt().await {
                Err(error) if error.is_retriable() => {
                    if !self.pause().await {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }
}
