//! Work that waits for a disk.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::task::spawn_blocking;

/// Runs `work` on a thread of its own. A panic in it goes on here. Work that has not begun when the runtime ends never
/// does, and who waits for it waits until it is dropped with the runtime.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    #[should_panic(expected = "half-way")]
    async fn a_panic_goes_on_where_the_work_is_waited_for() {
        blocking(|| panic!("half-way")).await
    }

    #[test]
    fn work_that_the_end_of_the_runtime_keeps_from_beginning_is_no_panic() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (free, wait) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || wait.recv());
        let (queued, dropped) = std::sync::mpsc::channel::<()>();
        let mut poll = Context::from_waker(Waker::noop());
        let mut work = {
            let _inside = runtime.enter();
            let mut work = Box::pin(blocking(move || drop(queued)));
            // It is in the queue behind the thread that is taken.
            assert!(work.as_mut().poll(&mut poll).is_pending());
            work
        };
        runtime.shutdown_background();
        drop(free);
        // The queue is emptied: its work is dropped with what it holds.
        dropped.recv().unwrap_err();
        assert!(work.as_mut().poll(&mut poll).is_pending());
    }
}
