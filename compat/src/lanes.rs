//! Several JVMs at once.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use foz_e2e::progress::{Progress, seconds};

use crate::fork::Forks;
use crate::row::{Outcome, Row};
use crate::work::Work;

/// Runs all of `works`, as many at a time as there are lanes, and tells `done` of each as soon as it is.
///
/// # Errors
/// Of [`Forks::run`] and of `done`. What other lanes have begun comes to its end.
pub(crate) fn run_all(
    forks: &Forks,
    works: &[Work],
    lanes: usize,
    retries: impl Fn(&Row) -> bool + Sync,
    done: impl Fn(&Work, &[Row]) -> Result<()> + Sync,
    progress: &Progress,
) -> Result<Vec<Row>> {
    let waiting: Mutex<VecDeque<&Work>> = Mutex::new(works.iter().collect());
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let work = |lane: usize| -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        while let Some(work) = next() {
            let begun = Instant::now();
            let found = forks.run(work, lane, &retries)?;
            let passed = found
                .iter()
                .filter(|row| row.outcome == Outcome::Passed)
                .count();
            progress.line(&format!(
                "{}: {passed} of {} passed ({})",
                work.name,
                found.len(),
                seconds(begun.elapsed())
            ));
            done(work, &found)?;
            rows.extend(found);
        }
        Ok(rows)
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes)
            .map(|lane| {
                scope.spawn({
                    let work = &work;
                    move || work(lane)
                })
            })
            .collect();
        let mut rows = Vec::new();
        for lane in lanes {
            let found = lane
                .join()
                .map_err(|_| anyhow::anyhow!("a thread of the run panicked"))?;
            rows.extend(found?);
        }
        Ok(rows)
    })
}
