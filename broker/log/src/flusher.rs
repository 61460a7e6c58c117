//! Group commit: one thread that makes durable what partitions ask for, and another one for closed
//! segments, and for what an opening after a kill has left, which nobody waits for and which may be large.
//!
//! While one flush runs, everything that is asked for meanwhile gathers and is done by the next. What
//! `flush.ms` asks for waits in a schedule: one entry for each partition that has something to flush, none
//! for one that has not.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::StorageError;
use crate::partition_log::{NO_FLUSH_DUE, PartitionLog};

/// Before a flush for which there was no room is tried again.
const SHORTAGE_PAUSE_MS: u64 = 500;
/// A wait may be cut short; years would overflow the clock.
const WAIT_MS_MAX: u64 = 3_600_000;

/// Hears what became of flushes, on the flusher's threads: it must not block.
pub trait FlushObserver: Send + Sync + 'static {
    /// Everything below `flushed_offset` is durable.
    fn flushed(&self, log: &Arc<PartitionLog>, flushed_offset: i64);
    /// Data may be lost and nobody can tell which: this log is out of service for the life of the process. A flush is never
    /// retried, for the kernel may have dropped the pages that it could not write.
    fn failed(&self, log: &Arc<PartitionLog>, error: &StorageError);
    /// There was no room for what belongs to a flush: it is tried again, see [`StorageError::is_shortage`].
    fn short(&self, _log: &Arc<PartitionLog>, _error: &StorageError) {}
}

/// The flusher of one data directory. Dropping it flushes what was asked for and ends the threads.
#[derive(Debug)]
pub struct Flusher {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    backlog: Mutex<Backlog>,
    wake_backlog: Condvar,
    /// Its clock counts from here.
    started: Instant,
}

/// Partitions with closed segments, or more, to flush, each at most once.
#[derive(Debug, Default)]
struct Backlog {
    logs: VecDeque<Arc<PartitionLog>>,
    /// Something else comes first.
    is_held: bool,
    /// There was no room for the last one, so there is none for the others.
    rests_until_ms: u64,
    stopping: bool,
}

/// A partition is in each list at most once, so there are never more entries than partitions.
#[derive(Debug, Default)]
struct Queue {
    logs: VecDeque<Arc<PartitionLog>>,
    /// After a kill these may be all partitions.
    opened: VecDeque<Arc<PartitionLog>>,
    is_turn_of_opened: bool,
    schedule: Schedule,
    stopping: bool,
}

/// Which partition is due when, in ms. An entry counts only as long as its partition says the same time.
/// Pure: the time comes in.
#[derive(Debug, Default)]
struct Schedule {
    by_time: BTreeMap<(u64, u64), Weak<PartitionLog>>,
    next_id: u64,
}

impl Queue {
    /// One of each in turn: who appends does not wait for all that were opened, and those not until nobody appends.
    fn take(&mut self) -> Option<Arc<PartitionLog>> {
        // The marks go before the flush: who appends from now on asks again.
        if (std::mem::take(&mut self.is_turn_of_opened) || self.logs.is_empty())
            && let Some(log) = self.opened.pop_front()
        {
            log.opened_flush_queued.store(false, Ordering::Release);
            return Some(log);
        }
        let log = self.logs.pop_front()?;
        self.is_turn_of_opened = true;
        log.flush_queued.store(false, Ordering::Release);
        Some(log)
    }
}

impl Schedule {
    fn add(&mut self, due_ms: u64, log: &Arc<PartitionLog>) {
        let key = (due_ms, self.next_id);
        self.next_id += 1;
        self.by_time.insert(key, Arc::downgrade(log));
    }

    fn next_ms(&self) -> Option<u64> {
        self.by_time
            .first_key_value()
            .map(|((due_ms, _), _)| *due_ms)
    }

    /// A partition that is due at `now_ms` and still has something to flush.
    fn take_due(&mut self, now_ms: u64) -> Option<Arc<PartitionLog>> {
        while let Some(first) = self.by_time.first_entry() {
            let due_ms = first.key().0;
            if due_ms > now_ms {
                return None;
            }
            let Some(log) = first.remove().upgrade() else {
                continue;
            };
            // Before the flush: who appends from now on is scheduled anew.
            let (expected, none) = (due_ms, NO_FLUSH_DUE);
            let ordering = (Ordering::AcqRel, Ordering::Acquire);
            let counts = log
                .flush_due_ms
                .compare_exchange(expected, none, ordering.0, ordering.1)
                .is_ok();
            if counts && log.unflushed_records() > 0 {
                return Some(log);
            }
        }
        None
    }
}

impl Flusher {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(observer: Arc<dyn FlushObserver>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            backlog: Mutex::default(),
            wake_backlog: Condvar::new(),
            started: Instant::now(),
        });
        // Ends what was started when the second one is refused.
        let mut flusher = Self {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        let (worker, backlog_observer) = (Arc::clone(&shared), Arc::clone(&observer));
        flusher.spawn("foz-flusher", move || worker.run(&*observer))?;
        flusher.spawn("foz-backlog-flusher", move || {
            shared.run_backlog(&*backlog_observer);
        })?;
        Ok(flusher)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned());
        self.threads.push(thread.spawn(run)?);
        Ok(())
    }

    /// To be called after every append, and after a change of configuration: what must be flushed is flushed, now
    /// (`flush_before_acknowledge`, `flush.messages`) or in time (`flush.ms`). Segments that are closed are flushed in the
    /// background, so that recovery has one to walk and a clean stop one to flush, as Kafka does it.
    pub fn appended(&self, log: &Arc<PartitionLog>) {
        self.flush_what_must_be(log, Self::request);
    }

    /// The same for what a log holds when it is taken into service. Nobody may wait for it, and all others may be in the same
    /// place: who appends meanwhile does not queue behind them.
    pub fn opened(&self, log: &Arc<PartitionLog>) {
        self.flush_what_must_be(log, Self::request_opened);
    }

    fn flush_what_must_be(&self, log: &Arc<PartitionLog>, at_once: fn(&Self, &Arc<PartitionLog>)) {
        let interval = log.flush_interval();
        let unflushed = log.unflushed_records();
        if unflushed == 0 {
            return;
        }
        if unflushed >= interval.messages || log.config().flush_before_acknowledge {
            at_once(self, log);
            return;
        }
        if log.has_backlog() {
            self.request_backlog(log);
        }
        let Ok(interval_ms) = u64::try_from(interval.ms) else {
            return;
        };
        if interval.ms == i64::MAX {
            return;
        }
        let due_ms = self.shared.now_ms().saturating_add(interval_ms);
        // Most appends find an earlier time there, and are flushed with it.
        if log.flush_due_ms.fetch_min(due_ms, Ordering::AcqRel) > due_ms {
            self.shared.queue.lock().schedule.add(due_ms, log);
            self.shared.wake.notify_one();
        }
    }

    /// From now on the backlog, closed segments and what an opening has left, waits until [`Self::release_backlog`] or until
    /// this is dropped: after a kill they may be gigabytes, and what a start has to write goes to the same disk.
    pub fn hold_backlog(&self) {
        self.shared.backlog.lock().is_held = true;
    }

    /// See [`Self::hold_backlog`].
    pub fn release_backlog(&self) {
        self.shared.backlog.lock().is_held = false;
        self.shared.wake_backlog.notify_one();
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

impl Flusher {
    fn request_opened(&self, log: &Arc<PartitionLog>) {
        if log.opened_flush_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.shared.queue.lock().opened.push_back(Arc::clone(log));
        self.shared.wake.notify_one();
    }

    fn request_backlog(&self, log: &Arc<PartitionLog>) {
        if log.backlog_flush_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.shared.backlog.lock().logs.push_back(Arc::clone(log));
        self.shared.wake_backlog.notify_one();
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_one();
        self.shared.backlog.lock().stopping = true;
        self.shared.wake_backlog.notify_one();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("the flusher panicked");
            }
        }
    }
}

impl Shared {
    fn run(&self, observer: &dyn FlushObserver) {
        while let Some(log) = self.next() {
            match log.flush() {
                Ok(flushed_offset) => observer.flushed(&log, flushed_offset),
                Err(error) if error.is_passing() => {
                    if error.is_shortage() {
                        observer.short(&log, &error);
                    }
                    self.flush_later(&log);
                }
                Err(error) => observer.failed(&log, &error),
            }
        }
    }

    fn flush_later(&self, log: &Arc<PartitionLog>) {
        let due_ms = self.now_ms().saturating_add(SHORTAGE_PAUSE_MS);
        if log.flush_due_ms.fetch_min(due_ms, Ordering::AcqRel) > due_ms {
            self.queue.lock().schedule.add(due_ms, log);
            self.wake.notify_one();
        }
    }

    fn run_backlog(&self, observer: &dyn FlushObserver) {
        while let Some(log) = self.next_of_backlog() {
            // Before the flush: who appends from now on asks again.
            log.backlog_flush_queued.store(false, Ordering::Release);
            match log.flush_backlog() {
                Ok(flushed_offset) => observer.flushed(&log, flushed_offset),
                Err(error) if error.is_passing() => {
                    if error.is_shortage() {
                        observer.short(&log, &error);
                    }
                    self.flush_backlog_later(log);
                }
                Err(error) => observer.failed(&log, &error),
            }
        }
    }

    fn flush_backlog_later(&self, log: Arc<PartitionLog>) {
        let mut queue = self.backlog.lock();
        queue.rests_until_ms = self.now_ms().saturating_add(SHORTAGE_PAUSE_MS);
        // Who closes the partition flushes it all.
        if !queue.stopping && !log.backlog_flush_queued.swap(true, Ordering::AcqRel) {
            queue.logs.push_back(log);
        }
    }

    fn next_of_backlog(&self) -> Option<Arc<PartitionLog>> {
        let mut queue = self.backlog.lock();
        loop {
            let rest_ms = queue.rests_until_ms.saturating_sub(self.now_ms());
            let rests = rest_ms > 0 && !queue.stopping;
            let waits = rests || queue.is_held && !queue.stopping;
            if !waits && let Some(log) = queue.logs.pop_front() {
                return Some(log);
            }
            if queue.stopping {
                return None;
            }
            if rests {
                let rest = Duration::from_millis(rest_ms);
                self.wake_backlog.wait_for(&mut queue, rest);
            } else {
                self.wake_backlog.wait(&mut queue);
            }
        }
    }

    fn next(&self) -> Option<Arc<PartitionLog>> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(log) = queue.take() {
                return Some(log);
            }
            // What waits in the schedule is flushed when the partitions are closed.
            if queue.stopping {
                return None;
            }
            if let Some(log) = queue.schedule.take_due(self.now_ms()) {
                if !log.flush_queued.swap(true, Ordering::AcqRel) {
                    queue.logs.push_back(log);
                }
                continue;
            }
            match queue.schedule.next_ms() {
                Some(due_ms) => {
                    let left_ms = due_ms.saturating_sub(self.now_ms());
                    let limit = Duration::from_millis(left_ms.min(WAIT_MS_MAX));
                    self.wake.wait_for(&mut queue, limit);
                }
                None => self.wake.wait(&mut queue),
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
