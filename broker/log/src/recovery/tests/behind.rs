//! While a start's flush is under way: who waits for it, and what is left where it ends in the middle.

use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Instant;

use super::*;

/// Of [`Heard`].
type Hears = Receiver<Result<i64, String>>;

impl World {
    /// Who flushes goes on as soon as the path was received; once the receiver is gone nobody waits.
    fn show_flushes(&self) -> Receiver<PathBuf> {
        let (shown, sees) = mpsc::sync_channel(0);
        *self.handles.flushes.shown.lock() = Some(shown);
        sees
    }
}

fn next(sees: &Receiver<PathBuf>) -> PathBuf {
    sees.recv_timeout(PATIENCE).unwrap()
}

fn flushing(open: &Open) -> (Flusher, Hears) {
    let (flusher, hears) = flusher();
    flusher.opened(&open.log);
    (flusher, hears)
}

fn base_offset(path: &Path) -> i64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// Gigabytes may be left, and a follower that has to cut stands still for all partitions of its leader; checkpoints are
/// written every few seconds.
#[test]
fn a_cut_waits_for_one_segment_and_holds_up_nobody_else() {
    type Act = fn(&LogDirectory, &PartitionLog);
    let acts: [(Act, i64); 3] = [
        (
            |it, log| it.truncate(log, END - 3, NOW_MS).unwrap(),
            END - 3,
        ),
        (|it, log| it.reset(log, 100, NOW_MS).unwrap(), 100),
        (
            |it, log| assert_ne!(it.quarantine(log, END - 3, NOW_MS).unwrap().len(), 0),
            END - 3,
        ),
    ];
    for (act, end) in acts {
        let world = World::killed();
        let open = world.open(PageCache::Survived);
        let sees = world.show_flushes();
        let (_flusher, hears) = flushing(&open);
        thread::scope(|scope| {
            // Goes before the threads are waited for, whatever fails.
            let sees = sees;
            let first = base_offset(&next(&sees));
            let (told, is_over) = mpsc::channel();
            let cut = told.clone();
            let (directory, log) = (&open.directory, &open.log);
            scope.spawn(move || {
                act(directory, log);
                cut.send("cut").unwrap();
            });
            let waits = is_over.recv_timeout(Duration::from_millis(300));
            assert_eq!(waits, Err(mpsc::RecvTimeoutError::Timeout));
            scope.spawn(move || {
                directory.checkpoint().unwrap();
                told.send("checkpoint").unwrap();
            });
            assert_eq!(is_over.recv_timeout(PATIENCE), Ok("checkpoint"));
            let mut last = first;
            let begun = Instant::now();
            while is_over.recv_timeout(Duration::from_millis(30)) != Ok("cut") {
                assert!(begun.elapsed() < PATIENCE, "{last}");
                // What is kept of a quarantined log is flushed with the cut.
                let shown = sees.try_recv().map(|path| base_offset(&path)).ok();
                last = shown.filter(|base| *base < end).unwrap_or(last);
            }
            // Between two tries it may miss its turn, but not each time.
            assert!(last < 15, "{first} to {last}");
        });
        assert!(hears.recv_timeout(PATIENCE).unwrap().is_ok());
        open.assert_offsets(end, end);
    }
}

/// A disk that fails at the last of many segments, or a kill there: the next start has one left.
#[test]
fn what_was_flushed_before_it_ended_counts() {
    let world = World::killed();
    let open = world.open(PageCache::Survived);
    *world.handles.flushes.failing.lock() = Some("00000000000000000015.log");
    let (flusher, hears) = flushing(&open);
    assert!(hears.recv_timeout(PATIENCE).unwrap().is_err());
    *world.handles.flushes.failing.lock() = None;
    open.assert_offsets(15, END);
    assert!(open.log.has_failed_flush());
    open.directory.checkpoint().unwrap();
    drop((flusher, open));
    assert_eq!(world.recovery_point(), 15);
    // What was left before it is on the disk.
    world.save_what_is_flushed();
    for later in ["15", "18"] {
        fs::remove_file(world.disk().join(format!("000000000000000000{later}.log"))).unwrap();
    }
    world.lose_power();
    world.open(PageCache::Lost).assert_offsets(15, 15);
}

/// After the kill all partitions of a broker that flushes before it acknowledges may have something left.
#[test]
fn who_appends_does_not_queue_behind_all_that_were_opened() {
    let config = || LogConfig {
        flush_before_acknowledge: true,
        ..LogConfig::default()
    };
    let partition = |index| TopicPartition::new("orders", index);
    let world = World::killed();
    let Open { directory, .. } = world.open(PageCache::Survived);
    for index in 1..5 {
        let log = directory.create(partition(index), TOPIC_ID, config(), NOW_MS);
        append(&log.unwrap(), 1);
    }
    drop(directory);
    let Open { directory, .. } = world.open(PageCache::Survived);
    let logs: Vec<_> = (1..5)
        .map(|at| directory.get(&partition(at)).unwrap())
        .collect();
    let sees = world.show_flushes();
    let (flusher, _hears) = flusher();
    for log in &logs {
        log.set_config(config());
        flusher.opened(log);
        // Once is enough.
        flusher.opened(log);
    }
    let mut order = vec![next(&sees)];
    for log in [&logs[3], &logs[2]] {
        append(log, 1);
        flusher.appended(log);
    }
    order.extend((1..4).map(|_| next(&sees)));
    let expected = [0, 3, 1, 2].map(|at| logs[at].directory().to_path_buf());
    let order: Vec<_> = order.iter().map(|path| path.parent().unwrap()).collect();
    // Who was opened and has no appends is not the last one either.
    assert_eq!(order, expected);
    drop(sees);
    drop(flusher);
    assert!(logs.iter().all(|log| log.unflushed_records() == 0));
}
