//! Crashes of the operator: before one of the writes that it asks for, or after it. Writes are those of the API server
//! and of the quorum alike, counted together.

use std::sync::{Arc, Mutex, MutexGuard};

/// When the operator crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The write is never done.
    Before,
    /// It is done, and its answer never arrives.
    After,
}

/// What is counted; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    writes: Vec<String>,
    at: Option<(usize, When)>,
    crashed: bool,
}

impl Faults {
    /// The operator crashes at this write, counted from 1 and from now on.
    pub(crate) fn crash_at(&self, at: Option<(usize, When)>) {
        let mut state = self.lock();
        *state = State {
            at,
            ..State::default()
        };
    }

    /// It hangs in a write, and is to be ended.
    pub(crate) fn has_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Another operator may write, and does not crash.
    pub(crate) fn revive(&self) {
        let mut state = self.lock();
        (state.crashed, state.at) = (false, None);
    }

    /// What was asked for.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.lock().writes.clone()
    }

    /// A write is asked for. What a crashed operator asks for is not done.
    pub(crate) async fn begins(&self, what: String) -> usize {
        let (number, hangs) = {
            let mut state = self.lock();
            state.writes.push(what);
            let number = state.writes.len();
            state.crashed |= state.at == Some((number, When::Before));
            (number, state.crashed)
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        number
    }

    /// It is done.
    pub(crate) async fn ends(&self, number: usize) {
        let hangs = {
            let mut state = self.lock();
            state.crashed |= state.at == Some((number, When::After));
            state.crashed
        };
        if hangs {
            std::future::pending::<()>().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds this")
    }
}
