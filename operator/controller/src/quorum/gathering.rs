//! Calls about one topic each that go to the quorum together.
//!
//! A change of the metadata costs the quorum and every broker about the same whether it is of one topic or of a
//! hundred: an entry that all controllers write to disk, and an image that all brokers take over. So the first call
//! goes at once, and those that come soon after it wait for each other.

use std::time::Duration;

use foz_api::CallError;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::quorum::QuorumError;

/// Between the beginnings of two calls.
const PAUSE: Duration = Duration::from_millis(50);
/// In one call: far below what the quorum takes as one change.
const ITEMS_MAX: usize = 100;

/// Calls of one kind to one quorum.
#[derive(Debug)]
pub(super) struct Gathering<Item, Answer> {
    waiting: Mutex<Vec<Waiting<Item, Answer>>>,
    /// Whoever has it makes the next call, for all that wait, and not before this moment.
    turn: tokio::sync::Mutex<Instant>,
}

#[derive(Debug)]
struct Waiting<Item, Answer> {
    item: Item,
    answer: oneshot::Sender<Result<Answer, QuorumError>>,
}

impl<Item, Answer> Default for Gathering<Item, Answer> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::new(Instant::now()),
        }
    }
}

impl<Item: Clone, Answer: Clone + Default> Gathering<Item, Answer> {
    /// The answer for this item. `call` answers for some items in their order; the one of any caller is as good as
    /// that of another.
    pub(super) async fn call<F, Fut>(&self, item: Item, call: F) -> Result<Answer, QuorumError>
    where
        F: Fn(Vec<Item>) -> Fut,
        Fut: Future<Output = Result<Vec<Answer>, QuorumError>>,
    {
        let (sender, mut answer) = oneshot::channel();
        self.waiting.lock().push(Waiting {
            item,
            answer: sender,
        });
        loop {
            let mut not_before = tokio::select! {
                biased;
                // An error: the caller that made the call was broken off.
                answer = &mut answer => return answer.unwrap_or(Err(QuorumError::TimedOut)),
                turn = self.turn.lock() => turn,
            };
            if answer.is_empty() && !answer.is_terminated() {
                sleep_until(*not_before).await;
                *not_before = Instant::now() + PAUSE;
                let together = self.take();
                ask(together, &call).await;
            }
        }
    }

    /// Those that came first, without those that nobody waits for any more.
    fn take(&self) -> Vec<Waiting<Item, Answer>> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|it| !it.answer.is_closed());
        let count = waiting.len().min(ITEMS_MAX);
        waiting.drain(..count).collect()
    }
}

async fn ask<Item, Answer, F, Fut>(together: Vec<Waiting<Item, Answer>>, call: &F)
where
    Item: Clone,
    Answer: Clone + Default,
    F: Fn(Vec<Item>) -> Fut,
    Fut: Future<Output = Result<Vec<Answer>, QuorumError>>,
{
    let items = together.iter().map(|it| it.item.clone()).collect();
    match call(items).await {
        // One of them may be what no call can hold: the others must not fail with it.
        Err(QuorumError::Call(CallError::Answered(_))) if together.len() > 1 => {
            for waiting in together {
                let answers = call(vec![waiting.item]).await;
                let answer = answers.map(|it| it.into_iter().next().unwrap_or_default());
                // An error: nobody waits for it any more.
                let _ = waiting.answer.send(answer);
            }
        }
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for waiting in together {
                let _ = waiting.answer.send(Ok(answers.next().unwrap_or_default()));
            }
        }
        Err(error) => {
            for waiting in together {
                let _ = waiting.answer.send(Err(error.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::future::join_all;
    use tonic::Status;

    use super::*;

    /// Doubles numbers, and remembers which came together. 13 is refused, with all that came with it.
    #[derive(Debug, Default)]
    struct Stage {
        gathering: Gathering<u32, u32>,
        calls: Mutex<Vec<Vec<u32>>>,
    }

    impl Stage {
        async fn double(&self, number: u32) -> Result<u32, QuorumError> {
            let call = |numbers: Vec<u32>| async move {
                self.calls.lock().push(numbers.clone());
                tokio::time::sleep(Duration::from_millis(10)).await;
                if numbers.contains(&13) {
                    let refused = Status::invalid_argument("13");
                    return Err(CallError::Answered(Box::new(refused)).into());
                }
                Ok(numbers.iter().map(|number| 2 * number).collect())
            };
            self.gathering.call(number, call).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_goes_at_once_and_the_next_ones_together() {
        let (stage, begun) = (Stage::default(), Instant::now());
        assert_eq!(stage.double(0).await.expect("an answer"), 0);
        assert_eq!(begun.elapsed(), Duration::from_millis(10));
        let answers = join_all((1..=9).map(|number| stage.double(number))).await;
        for (number, answer) in (1..).zip(answers) {
            assert_eq!(answer.expect("an answer"), 2 * number);
        }
        assert_eq!(begun.elapsed(), PAUSE + Duration::from_millis(10));
        let calls = stage.calls.lock().clone();
        assert_eq!(calls, [vec![0], (1..=9).collect()]);
        // After a while the next one is a first one again.
        tokio::time::advance(PAUSE).await;
        let again = Instant::now();
        assert_eq!(stage.double(7).await.expect("an answer"), 14);
        assert_eq!(again.elapsed(), Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_one_call_holds_go_one_after_the_other() {
        let stage = Stage::default();
        let count = u32::try_from(2 * ITEMS_MAX + 1).expect("few");
        let answers = join_all((100..100 + count).map(|number| stage.double(number))).await;
        for (number, answer) in (100..).zip(answers) {
            assert_eq!(answer.expect("an answer"), 2 * number);
        }
        let sizes: Vec<usize> = stage.calls.lock().iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| *size <= ITEMS_MAX), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 2 * ITEMS_MAX + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_refused_does_not_fail_the_others() {
        let stage = Stage::default();
        let answers = join_all([1, 12, 13, 14].map(|number| stage.double(number))).await;
        let answers: Vec<Option<u32>> = answers.into_iter().map(Result::ok).collect();
        assert_eq!(answers, [Some(2), Some(24), None, Some(28)]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_broken_off_takes_nobody_along_who_was_not_sent() {
        let stage = Arc::new(Stage::default());
        assert_eq!(stage.double(0).await.expect("an answer"), 0);
        // It waits for its time, with the turn.
        let first = Arc::clone(&stage);
        let first = tokio::spawn(async move { first.double(1).await });
        tokio::task::yield_now().await;
        let second = Arc::clone(&stage);
        let second = tokio::spawn(async move { second.double(2).await });
        tokio::task::yield_now().await;
        first.abort();
        let answer = second.await.expect("not broken off");
        assert_eq!(answer.expect("an answer"), 4);
        assert_eq!(*stage.calls.lock(), [vec![0], vec![2]]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_sent_by_another_that_is_broken_off_does_not_know_what_became_of_it() {
        let stage = Arc::new(Stage::default());
        assert_eq!(stage.double(0).await.expect("an answer"), 0);
        let callers = [1, 2].map(|number| {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move { stage.double(number).await })
        });
        tokio::time::sleep(PAUSE - Duration::from_millis(5)).await;
        assert_eq!(stage.calls.lock().len(), 2, "it is under way");
        let [first, second] = callers;
        first.abort();
        let answer = second.await.expect("not broken off");
        assert!(matches!(answer, Err(QuorumError::TimedOut)), "{answer:?}");
    }
}
