//! Group commit: one thread that makes durable what partitions ask for.
//!
//! While one flush runs, everything that is asked for meanwhile gathers and is done by the next.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::error::StorageError;
use crate::partition_log::PartitionLog;

/// Hears what became of flushes, on the flusher's thread: it must not block.
pub trait FlushObserver: Send + Sync + 'static {
    /// Everything below `flushed_offset` is durable.
    fn flushed(&self, log: &Arc<PartitionLog>, flushed_offset: i64);
    /// Data may be lost and nobody can tell which: the process must stop. A flush is never retried,
    /// for the kernel may have dropped the pages that it could not write.
    fn failed(&self, log: &Arc<PartitionLog>, error: &StorageError);
}

/// The flusher of one data directory. Dropping it flushes what was asked for and ends the thread.
#[derive(Debug)]
pub struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// A partition is in it at most once, so there are never more entries than partitions.
#[derive(Debug, Default)]
struct Queue {
    logs: VecDeque<Arc<PartitionLog>>,
    stopping: bool,
}

impl Flusher {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(observer: Arc<dyn FlushObserver>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("foz-flusher".to_owned())
            .spawn(move || worker.run(&*observer))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Asks for everything that is in `log` now to be flushed; the observer hears of it.
    pub fn request(&self, log: &Arc<PartitionLog>) {
        if log.flush_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.shared.queue.lock().logs.push_back(Arc::clone(log));
        self.shared.wake.notify_one();
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the flusher panicked");
        }
    }
}

impl Shared {
    fn run(&self, observer: &dyn FlushObserver) {
        while let Some(log) = self.next() {
            // Before the flush: who appends from now on asks again.
            log.flush_queued.store(false, Ordering::Release);
            match log.flush() {
                Ok(flushed_offset) => observer.flushed(&log, flushed_offset),
                Err(error) => observer.failed(&log, &error),
            }
        }
    }

    fn next(&self) -> Option<Arc<PartitionLog>> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(log) = queue.logs.pop_front() {
                return Some(log);
            }
            if queue.stopping {
                return None;
            }
            self.wake.wait(&mut queue);
        }
    }
}
