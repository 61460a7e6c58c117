//! Progress lines: what happens now, how long it took, how long the whole run has taken.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Result;

/// A step that takes longer than this says so, again and again, so that nobody takes slow for stuck.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Prints to stderr, so that stdout carries results only.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    started: Instant,
}

impl Progress {
    /// Starts the clock of the run.
    #[must_use]
    pub fn start() -> Progress {
        Progress {
            started: Instant::now(),
        }
    }

    /// Time since [`Progress::start`].
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs `work` and prints one line when it ends: time of the run, what was done, its own time.
    pub fn step<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = self.with_heartbeat(what, work);
        let took = seconds(begun.elapsed());
        match &result {
            Ok(_) => self.line(&format!("{what} ({took})")),
            Err(_) => self.line(&format!("FAILED: {what} (after {took})")),
        }
        result
    }

    /// Prints one line with the time of the run before it.
    pub fn line(&self, text: &str) {
        eprintln!("[{:>8}] {text}", seconds(self.elapsed()));
    }

    fn with_heartbeat<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (done, ended) = channel::<()>();
        let progress = *self;
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while ended.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                    progress.line(&format!("... {what} ({} so far)", seconds(begun.elapsed())));
                }
            });
            let result = work();
            drop(done);
            result
        })
    }
}

/// `12.3 s`, or `4 min 05 s` from two minutes up.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 120 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(80)), "0.1 s");
        assert_eq!(seconds(Duration::from_millis(119_940)), "119.9 s");
        assert_eq!(seconds(Duration::from_secs(245)), "4 min 05 s");
    }

    #[test]
    fn a_step_hands_back_what_the_work_returned() {
        let progress = Progress::start();
        assert_eq!(progress.step("adding", || Ok(2 + 2)).unwrap(), 4);
        let error = progress
            .step("failing", || anyhow::bail!("no"))
            .map(|()| 0)
            .unwrap_err();
        assert_eq!(error.to_string(), "no");
    }
}
