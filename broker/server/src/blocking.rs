//! Work that waits for a disk.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::task::spawn_blocking;

/// Runs `work` on a thread of its own. A panic in it goes on here. Work that comes when the runtime ends never
/// begins, and who waits for it waits until it is dropped with the runtime.
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
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    #[should_panic(expected = "half-way")]
    async fn a_panic_goes_on_where_the_work_is_waited_for() {
        blocking(|| panic!("half-way")).await
    }

    #[test]
    fn work_that_comes_after_the_end_of_the_runtime_is_no_panic() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _inside = handle.enter();
        let mut work = pin!(blocking(|| ()));
        let mut poll = Context::from_waker(Waker::noop());
        assert!(work.as_mut().poll(&mut poll).is_pending());
    }
}
