use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use foz_log::{
    FlushInterval, FlushObserver, Flusher, LogConfig, OpenError, PageCache, PartitionLog,
    StorageError,
};
use foz_protocol::error::ErrorCode;

use crate::support::*;

#[derive(Default)]
struct Heard {
    flushed: AtomicI64,
    calls: AtomicUsize,
    failures: Mutex<Vec<String>>,
    changed: Condvar,
}

impl FlushObserver for Heard {
    fn flushed(&self, log: &Arc<PartitionLog>, flushed_offset: i64) {
        assert!(log.flushed_offset() >= flushed_offset);
        self.calls.fetch_add(1, Ordering::AcqRel);
        let _guard = self.failures.lock().unwrap();
        self.flushed.fetch_max(flushed_offset, Ordering::AcqRel);
        self.changed.notify_all();
    }

    fn failed(&self, _log: &Arc<PartitionLog>, error: &StorageError) {
        self.failures.lock().unwrap().push(error.to_string());
        self.changed.notify_all();
    }
}

impl Heard {
    fn wait(&self, until: impl Fn(&Self, &Vec<String>) -> bool) {
        let mut guard = self.failures.lock().unwrap();
        while !until(self, &guard) {
            guard = self.changed.wait(guard).unwrap();
        }
    }
}

#[test]
fn many_waiters_share_flushes() {
    let world = World::new(LogConfig {
        flush_before_acknowledge: true,
        ..LogConfig::default()
    });
    let (_directory, log) = world.log();
    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    std::thread::scope(|scope| {
        for id in 0..8 {
            let (log, heard, flusher) = (&log, &heard, &flusher);
            scope.spawn(move || {
                for sequence in 0..50 {
                    let appended = append(log, idempotent(id, 0, sequence, &[b"x"]));
                    flusher.request(log);
                    heard.wait(|h, _| h.flushed.load(Ordering::Acquire) > appended.last_offset);
                    assert!(log.flushed_offset() > appended.last_offset);
                }
            });
        }
    });
    assert_eq!(log.flushed_offset(), 400);
    let calls = heard.calls.load(Ordering::Acquire);
    assert!(calls < 400, "{calls} flushes for 400 acknowledgements");
}

#[test]
fn so_many_records_are_flushed_at_once() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    log.set_flush_interval(FlushInterval {
        messages: 10,
        ..FlushInterval::default()
    });
    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    for _ in 0..9 {
        append_numbers(&log, 1);
        flusher.appended(&log);
    }
    append_numbers(&log, 1);
    assert_eq!(heard.calls.load(Ordering::Acquire), 0, "9 are not 10");
    flusher.appended(&log);
    heard.wait(|h, _| h.flushed.load(Ordering::Acquire) == 10);
    assert_eq!(log.unflushed_records(), 0);
    append_numbers(&log, 1);
    flusher.appended(&log);
    drop(flusher);
    assert_eq!(log.flushed_offset(), 10);
}

#[test]
fn nothing_stays_unflushed_longer_than_flush_ms() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    log.set_flush_interval(FlushInterval {
        ms: 50,
        ..FlushInterval::default()
    });
    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    let begun = Instant::now();
    // Appends that never pause do not put the flush off.
    let mut appended = 0;
    while heard.flushed.load(Ordering::Acquire) == 0 {
        append_numbers(&log, 1);
        flusher.appended(&log);
        appended += 1;
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{appended} appended"
        );
    }
    assert!(begun.elapsed() >= Duration::from_millis(50));
    let end = log.log_end_offset();
    heard.wait(|h, _| h.flushed.load(Ordering::Acquire) >= end);
    let calls = heard.calls.load(Ordering::Acquire) as i64;
    assert!(calls < appended, "{calls} flushes for {appended} appends");
}

#[test]
fn a_shorter_flush_ms_counts_at_once() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    for ms in [i64::MAX, 3_600_000_000, 20] {
        log.set_flush_interval(FlushInterval {
            ms,
            ..FlushInterval::default()
        });
        if log.log_end_offset() == 0 {
            append_numbers(&log, 1);
        }
        flusher.appended(&log);
    }
    heard.wait(|h, _| h.flushed.load(Ordering::Acquire) == 1);
    assert_eq!(heard.calls.load(Ordering::Acquire), 1);
}

/// Nobody asks for it: RF 3 with Kafka's defaults never does.
#[test]
fn closed_segments_are_flushed_in_the_background() {
    let world = World::new(small_segments(300));
    let (directory, log) = world.log();
    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    for epoch in 0..5 {
        for _ in 0..4 {
            let value = log.log_end_offset().to_string();
            let mut bytes = batch(&[value.as_bytes()]);
            log.append_as_leader(&mut bytes, epoch, NOW_MS).unwrap();
            flusher.appended(&log);
        }
    }
    let last = files(&world.partition_dir(), ".log").pop().unwrap();
    let active: i64 = last[..20].parse().unwrap();
    assert!(active > 10, "{last}");
    heard.wait(|h, _| h.flushed.load(Ordering::Acquire) >= active);
    assert_eq!(log.flushed_offset(), active, "the active one can wait");
    assert!(!log.has_backlog());
    let epochs = std::fs::read_to_string(world.partition_dir().join("leader-epoch-checkpoint"));
    assert!(epochs.unwrap().starts_with("0\n5\n0 0\n1 4\n"));
    directory.checkpoint().unwrap();
    drop((flusher, directory, log));

    // Recovery looks at what is behind the recovery point, and at headers of the segment before.
    let first = world.partition_dir().join("00000000000000000000.log");
    let whole = std::fs::read(&first).unwrap();
    std::fs::write(&first, vec![0xff; whole.len()]).unwrap();
    let (directory, report) = world.open_after(PageCache::Survived);
    assert!(
        report.findings.is_empty() && report.offline.is_empty(),
        "{report:?}"
    );
    std::fs::write(&first, whole).unwrap();
    assert_numbers(&directory.get(&partition()).unwrap(), 0, 20);
}

#[test]
fn a_followers_closed_segments_are_flushed_in_the_background() {
    let leader = World::new(LogConfig::default());
    let (_leaders, leading) = leader.log();
    append_numbers(&leading, 20);
    let bytes = leading.read(0, 1 << 20, i64::MAX, true).unwrap();
    let world = World::new(small_segments(300));
    let (_directory, log) = world.log();
    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    assert!(
        log.append_as_follower(&bytes, LEADER, NOW_MS)
            .unwrap()
            .rolled
    );
    flusher.appended(&log);
    heard.wait(|h, _| h.flushed.load(Ordering::Acquire) > 10);
    assert!(!log.has_backlog() && log.unflushed_records() > 0);
}

/// The first flush of a closed segment does not end before the other partition's flush is done.
struct Slow {
    slow: Arc<PartitionLog>,
    heard: Heard,
    blocked: AtomicUsize,
}

impl FlushObserver for Slow {
    fn flushed(&self, log: &Arc<PartitionLog>, flushed_offset: i64) {
        if Arc::ptr_eq(log, &self.slow) {
            self.blocked.fetch_add(1, Ordering::AcqRel);
            self.heard
                .wait(|h, _| h.flushed.load(Ordering::Acquire) > 0);
        } else {
            self.heard.flushed(log, flushed_offset);
        }
    }

    fn failed(&self, _: &Arc<PartitionLog>, error: &StorageError) {
        panic!("{error}");
    }
}

#[test]
fn nobody_waits_for_closed_segments() {
    let world = World::new(small_segments(300));
    let (directory, slow) = world.log();
    let quick = directory
        .create(
            foz_log::TopicPartition::new("quick", 0),
            TOPIC_ID,
            LogConfig {
                flush_before_acknowledge: true,
                ..LogConfig::default()
            },
            NOW_MS,
        )
        .unwrap();
    let observer = Arc::new(Slow {
        slow: Arc::clone(&slow),
        heard: Heard::default(),
        blocked: AtomicUsize::default(),
    });
    let flusher = Flusher::start(observer.clone()).unwrap();
    append_numbers(&slow, 6);
    flusher.appended(&slow);
    while observer.blocked.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    append_numbers(&slow, 6);
    flusher.appended(&slow);
    append_numbers(&quick, 1);
    flusher.appended(&quick);
    observer
        .heard
        .wait(|h, _| h.flushed.load(Ordering::Acquire) == 1);
    drop(flusher);
    assert!(!slow.has_backlog(), "asked for");
}

#[test]
fn a_closed_segment_that_cannot_be_flushed_is_fatal() {
    let world = World::new(small_segments(300));
    let (_directory, log) = world.log();
    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    append_numbers(&log, 6);
    world.handles.close_idle();
    world.handles.close_idle();
    let path = world.partition_dir().join("00000000000000000000.log");
    let aside = world.dir.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    flusher.appended(&log);
    heard.wait(|_, failures| !failures.is_empty());
    std::fs::rename(&aside, &path).unwrap();
    assert!(log.has_failed_flush());
    assert!(log.flush_backlog().is_err(), "not tried again");
    assert_eq!(log.flushed_offset(), 0);
}

/// They have nothing to flush and must not keep the thread busy either.
#[test]
fn a_deleted_log_in_the_queue_is_passed_over() {
    let world = World::new(small_segments(300));
    let (directory, log) = world.log();
    append_numbers(&log, 6);
    directory.delete(&partition()).unwrap();
    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    flusher.appended(&log);
    drop(flusher);
    assert_eq!(heard.calls.load(Ordering::Acquire), 1);
    assert!(heard.failures.lock().unwrap().is_empty());
}

#[test]
fn dropping_the_flusher_flushes_what_was_asked_for() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    append_numbers(&log, 3);
    assert_eq!(log.flushed_offset(), 0);
    let flusher = Flusher::start(Arc::new(Heard::default())).unwrap();
    flusher.request(&log);
    drop(flusher);
    assert_eq!(log.flushed_offset(), 3);
}

#[test]
fn a_failed_flush_is_fatal_and_not_tried_again() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 3);
    world.handles.close_idle();
    world.handles.close_idle();
    let path = world.partition_dir().join("00000000000000000000.log");
    let aside = world.dir.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();

    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    flusher.request(&log);
    heard.wait(|_, failures| !failures.is_empty());
    assert!(heard.failures.lock().unwrap()[0].contains("00000000000000000000.log"));

    // Even though it would work now.
    std::fs::rename(&aside, &path).unwrap();
    assert!(log.has_failed_flush());
    assert!(
        log.flush()
            .unwrap_err()
            .to_string()
            .contains("not tried again")
    );
    assert_eq!(log.flushed_offset(), 0);
    let error = log
        .append_as_leader(&mut batch(&[b"x"]), 0, NOW_MS)
        .unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::KafkaStorageError);
    assert!(log.read(0, 100, i64::MAX, true).is_err());
    let mut follows = batch(&[b"x"]);
    foz_protocol::batch::assign(&mut follows, 3, 0);
    let error = log
        .append_as_follower(&follows, LEADER, NOW_MS)
        .unwrap_err();
    assert!(error.to_string().contains("a flush failed"), "{error}");
    for error in [
        directory.truncate(&log, 1, NOW_MS).unwrap_err(),
        directory.reset(&log, 1, NOW_MS).unwrap_err(),
        directory.quarantine(&log, 1, NOW_MS).unwrap_err(),
    ] {
        assert!(matches!(error, OpenError::Unusable(..)), "{error}");
    }
    assert_eq!(log.log_end_offset(), 3);
    drop(flusher);
    World::stop(directory, log);
    assert!(!world.data().join(".kafka_cleanshutdown").exists());
}

/// Tried again it might succeed, and the mark would vouch for what is not on disk.
#[test]
fn a_flush_that_fails_while_closing_leaves_no_mark() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 3);
    world.handles.close_idle();
    world.handles.close_idle();
    let path = world.partition_dir().join("00000000000000000000.log");
    let aside = world.dir.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    let mark = foz_log::CleanShutdown { broker_epoch: 1 };
    assert!(directory.close_cleanly(mark).is_err());
    assert!(log.has_failed_flush());
    std::fs::rename(&aside, &path).unwrap();
    directory.close_cleanly(mark).unwrap();
    assert!(!world.data().join(".kafka_cleanshutdown").exists());
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_numbers(&log, 0, 3);
}

#[test]
fn flushing_reaches_over_rolled_segments() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    assert_eq!(log.flush().unwrap(), 20);
    directory.checkpoint().unwrap();
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_eq!(log.flushed_offset(), 20);
    assert_numbers(&log, 0, 20);
}
