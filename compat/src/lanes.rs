//! Several things at once.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};

/// Runs all of `works` in the order given, as many at a time as there are lanes; `run` is told the number of its lane.
///
/// # Errors
/// The first of one that could not be run; the others are run to their ends all the same.
pub(crate) fn run_all<W: Send, T: Send>(
    works: Vec<W>,
    lanes: usize,
    run: impl Fn(W, usize) -> Result<Vec<T>> + Sync,
) -> Result<Vec<T>> {
    let waiting: Mutex<VecDeque<W>> = Mutex::new(works.into());
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front()
    };
    let work = |lane: usize| -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut failure = None;
        while let Some(work) = next() {
            match run(work, lane) {
                Ok(some) => all.extend(some),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(all), Err)
    };
    std::thread::scope(|scope| {
        let work = &work;
        let lanes: Vec<_> = (0..lanes)
            .map(|lane| scope.spawn(move || work(lane)))
            .collect();
        let ended: Vec<Result<Vec<T>>> = lanes
            .into_iter()
            .map(|lane| {
                lane.join()
                    .unwrap_or_else(|_| Err(anyhow!("a thread of the run panicked")))
            })
            .collect();
        let mut all = Vec::new();
        for some in ended {
            all.extend(some?);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_run_and_one_that_cannot_be_is_an_error() {
        let mut found = run_all(vec![1, 2, 3], 2, |work, _| Ok(vec![work])).unwrap();
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);

        let ran = Mutex::new(Vec::new());
        let error = run_all(vec![1, 2, 3], 1, |work, lane| {
            ran.lock().unwrap().push((work, lane));
            if work < 3 {
                return Err(anyhow!("no program for {work}"));
            }
            Ok(vec![work])
        });
        assert_eq!(error.unwrap_err().to_string(), "no program for 1");
        assert_eq!(ran.into_inner().unwrap(), [(1, 0), (2, 0), (3, 0)]);
    }
}
