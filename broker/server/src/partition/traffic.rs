//! How much was written to a partition here, and read from it, since the process began.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Traffic {
    appended_bytes: AtomicU64,
    fetched_bytes: AtomicU64,
}

impl Traffic {
    /// By whoever produces.
    pub(super) fn appended(&self, bytes: usize) {
        self.appended_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// By a consumer.
    pub(crate) fn fetched(&self, bytes: usize) {
        self.fetched_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.load(Ordering::Relaxed)
    }
}
