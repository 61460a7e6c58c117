//! Runs several things at a time, each with one line of progress.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use foz_e2e::external::External;
use foz_e2e::progress::{Progress, seconds};

use crate::outcome::Outcome;

/// Its name, and what gives the outcomes of its cases.
pub(crate) type Job<'a> = (
    String,
    Box<dyn FnOnce() -> Result<Vec<Outcome>> + Send + 'a>,
);

/// A program that the kernel kills when the thread that starts it is gone, so that none outlives a run.
pub(crate) fn dies_with_us(program: impl AsRef<OsStr>) -> External {
    External::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
}

/// So many at once, in the order given.
///
/// # Errors
/// The first of a job that could not be run at all; the others are run to their ends all the same.
pub(crate) fn run(jobs: Vec<Job<'_>>, at_once: usize, progress: &Progress) -> Result<Vec<Outcome>> {
    let waiting: Mutex<VecDeque<Job<'_>>> = Mutex::new(jobs.into());
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front()
    };
    let work = || -> Result<Vec<Outcome>> {
        let mut all = Vec::new();
        let mut failure = None;
        while let Some((name, job)) = next() {
            let begun = Instant::now();
            let outcomes = match job().with_context(|| name.clone()) {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    failure.get_or_insert(error);
                    continue;
                }
            };
            let passed = outcomes.iter().filter(|it| it.has_passed()).count();
            progress.line(&format!(
                "{name}: {passed} of {} passed ({})",
                outcomes.len(),
                seconds(begun.elapsed())
            ));
            all.extend(outcomes);
        }
        failure.map_or(Ok(all), Err)
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let ended: Vec<Result<Vec<Outcome>>> = lanes
            .into_iter()
            .map(|lane| {
                lane.join()
                    .unwrap_or_else(|_| Err(anyhow!("a thread of the run panicked")))
            })
            .collect();
        let mut all = Vec::new();
        for outcomes in ended {
            all.extend(outcomes?);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdict;

    fn outcome(case: &str) -> Outcome {
        Outcome {
            of: "of".to_owned(),
            case: case.to_owned(),
            verdict: Verdict::Passed,
            detail: String::new(),
        }
    }

    #[test]
    fn all_jobs_are_run_and_one_that_cannot_be_is_an_error() {
        let job = |name: &str| -> Job<'static> {
            let name = name.to_owned();
            (name.clone(), Box::new(move || Ok(vec![outcome(&name)])))
        };
        let mut jobs: Vec<Job<'static>> = ["a", "b", "c"].map(job).into();
        let progress = Progress::start();
        let mut cases: Vec<String> = run(jobs, 2, &progress)
            .unwrap()
            .into_iter()
            .map(|it| it.case)
            .collect();
        cases.sort();
        assert_eq!(cases, ["a", "b", "c"]);

        let (sender, ran) = std::sync::mpsc::channel();
        let last = move || {
            sender.send(()).unwrap();
            Ok(Vec::new())
        };
        jobs = vec![
            ("d".to_owned(), Box::new(|| Err(anyhow!("no program")))),
            ("e".to_owned(), Box::new(last)),
        ];
        let error = run(jobs, 1, &progress).unwrap_err();
        assert_eq!(format!("{error:#}"), "d: no program");
        assert!(ran.recv().is_ok());
    }
}
