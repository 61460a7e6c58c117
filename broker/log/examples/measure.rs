//! Figures of this machine: `measure <empty directory>`.
//!
//! Leaves a data directory `sample` behind, closed in good order, with every kind of file, for
//! Apache Kafka's `kafka-dump-log` to judge.

#![allow(clippy::print_stdout, reason = "printing is its purpose")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foz_log::{
    CleanShutdown, FileHandles, FlushObserver, Flusher, LogConfig, LogDirectory, OpenReport,
    PageCache, PartitionLog, StorageError, TopicPartition,
};
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

const NOW_MS: i64 = 1_700_000_000_000;
const PARTITIONS: i32 = 1000;

fn main() -> Result<()> {
    let directory = std::env::args()
        .nth(1)
        .context("usage: measure <empty directory>")?;
    let directory = Path::new(&directory);
    write_sample(&directory.join("sample"))?;
    measure_append_and_read(&directory.join("append"))?;
    for is_flushed in [false, true, false, true] {
        measure_rolling(&directory.join("roll"), is_flushed)?;
    }
    for producers in [1, 4, 16, 64] {
        measure_group_commit(&directory.join(format!("flush-{producers}")), producers)?;
    }
    measure_reopen(&directory.join("reopen"))
}

fn open(path: &Path, config: &LogConfig) -> Result<(LogDirectory, OpenReport)> {
    let handles = FileHandles::new(1024);
    let config_of = |_: &TopicPartition, _| config.clone();
    Ok(LogDirectory::open(
        path,
        PageCache::Survived,
        2,
        &handles,
        NOW_MS,
        &config_of,
        &|_| {},
    )?)
}

fn create(directory: &LogDirectory, name: &str, config: &LogConfig) -> Result<Arc<PartitionLog>> {
    let name = TopicPartition::new(name, 0);
    Ok(directory.create(name, Uuid::new_v4(), config.clone(), NOW_MS)?)
}

fn batch(builder: BatchBuilder, count: i64, value: &[u8], timestamp_ms: i64) -> Result<Vec<u8>> {
    let mut builder = builder;
    for n in 0..count {
        let key = format!("key-{n}");
        let headers = [("trace", Some(&b"abc"[..])), ("none", None)];
        let key = (n % 3 > 0).then_some(key.as_bytes());
        let value = (n % 5 > 0 || count == 1).then_some(value);
        builder.push(&RecordToWrite {
            timestamp_ms: timestamp_ms + n,
            key,
            value,
            headers: &headers,
        });
    }
    Ok(builder.build()?)
}

fn write_sample(path: &Path) -> Result<()> {
    let config = LogConfig {
        segment_bytes: 100_000,
        flush_before_acknowledge: true,
        ..LogConfig::default()
    };
    for round in 0..3 {
        let (directory, _) = open(path, &config)?;
        let name = TopicPartition::new("sample", 0);
        let log = match directory.get(&name) {
            Some(log) => log,
            None => create(&directory, "sample", &config)?,
        };
        let mut sequences = [0; 5];
        for n in 0..200_i64 {
            let producer = (n % 5) as usize;
            let builder = BatchBuilder::new(Compression::ALL[(n / 7 % 5) as usize]).idempotent(
                4000 + producer as i64,
                round,
                sequences[producer],
            );
            let count = 1 + n % 9;
            sequences[producer] += count as i32;
            // Times go back now and then.
            let ms = NOW_MS + i64::from(round) * 100_000 + n * 10 - n % 4 * 25;
            let mut bytes = batch(builder, count, &vec![b'v'; (n * 13 % 900) as usize], ms)?;
            log.append_as_leader(&mut bytes, i32::from(round) * 2, NOW_MS)?;
        }
        log.flush()?;
        // The second life ends in a crash.
        if round != 1 {
            directory.close_cleanly(CleanShutdown { broker_epoch: 7 })?;
        }
    }
    println!("sample: {}", path.display());
    Ok(())
}

fn measure_append_and_read(path: &Path) -> Result<()> {
    let config = LogConfig::default();
    let (directory, _) = open(path, &config)?;
    let log = create(&directory, "append", &config)?;
    let template = batch(
        BatchBuilder::new(Compression::None),
        1,
        &[b'v'; 16_300],
        NOW_MS,
    )?;
    let count = 16_384;
    let begin = Instant::now();
    for _ in 0..count {
        let mut bytes = template.clone();
        log.append_as_leader(&mut bytes, 0, NOW_MS)?;
    }
    report(
        "append to the page cache",
        begin,
        count,
        template.len() * count,
    );
    for max_bytes in [template.len(), 1 << 20] {
        let begin = Instant::now();
        let (mut offset, mut bytes, mut reads) = (0, 0, 0);
        while offset < log.log_end_offset() {
            let read = log.read(offset, max_bytes, i64::MAX, true)?;
            bytes += read.len();
            offset += (read.len() / template.len()) as i64;
            reads += 1;
        }
        report(&format!("read of {max_bytes} bytes"), begin, reads, bytes);
    }
    drop((directory, log));
    let begin = Instant::now();
    let (directory, _) = open(path, &config)?;
    report(
        "recovery of one partition, CRC and flush included",
        begin,
        1,
        template.len() * count,
    );
    drop(directory);
    std::fs::remove_dir_all(path)?;
    Ok(())
}

/// What it costs who appends that closed segments are flushed in the background.
fn measure_rolling(path: &Path, is_flushed: bool) -> Result<()> {
    let config = LogConfig {
        segment_bytes: 64 << 20,
        ..LogConfig::default()
    };
    let (directory, _) = open(path, &config)?;
    let log = create(&directory, "roll", &config)?;
    let flusher = Flusher::start(Arc::new(Waiters::default()))?;
    let builder = BatchBuilder::new(Compression::None);
    let template = batch(builder, 1, &[b'v'; 16_300], NOW_MS)?;
    let count = 65_536;
    let mut slowest = Duration::ZERO;
    let begin = Instant::now();
    for _ in 0..count {
        let mut bytes = template.clone();
        let append = Instant::now();
        log.append_as_leader(&mut bytes, 0, NOW_MS)?;
        if is_flushed {
            flusher.appended(&log);
        }
        slowest = slowest.max(append.elapsed());
    }
    let what = match is_flushed {
        true => "append to segments of 64 MiB, closed ones flushed",
        false => "append to segments of 64 MiB, none flushed",
    };
    report(what, begin, count, template.len() * count);
    println!(
        "  slowest {slowest:?}; {} of {} segments are on the disk",
        log.flushed_offset() * log.segment_count() as i64 / log.log_end_offset(),
        log.segment_count(),
    );
    let begin = Instant::now();
    drop(flusher);
    directory.close_cleanly(CleanShutdown { broker_epoch: 1 })?;
    println!("  closing it: {:?}", begin.elapsed());
    std::fs::remove_dir_all(path)?;
    Ok(())
}

fn report(what: &str, begin: Instant, count: usize, bytes: usize) {
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{what}: {count} times, {:.1} us each, {:.0} MB/s",
        seconds * 1e6 / count as f64,
        bytes as f64 / 1e6 / seconds
    );
}

#[derive(Default)]
struct Waiters {
    flushed: Mutex<i64>,
    changed: Condvar,
    flushes: AtomicUsize,
}

impl FlushObserver for Waiters {
    fn flushed(&self, _log: &Arc<PartitionLog>, flushed_offset: i64) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        *self.flushed.lock() = flushed_offset;
        self.changed.notify_all();
    }

    fn failed(&self, _log: &Arc<PartitionLog>, error: &StorageError) {
        panic!("{error}");
    }
}

fn measure_group_commit(path: &Path, producers: usize) -> Result<()> {
    let config = LogConfig {
        flush_before_acknowledge: true,
        ..LogConfig::default()
    };
    let (directory, _) = open(path, &config)?;
    let log = create(&directory, "flush", &config)?;
    let waiters = Arc::new(Waiters::default());
    let flusher = Flusher::start(Arc::<Waiters>::clone(&waiters))?;
    let template = batch(
        BatchBuilder::new(Compression::None),
        1,
        &[b'v'; 1000],
        NOW_MS,
    )?;
    let left = AtomicI64::new(3000);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..producers {
            scope.spawn(|| {
                while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                    let mut bytes = template.clone();
                    let appended = log.append_as_leader(&mut bytes, 0, NOW_MS).expect("append");
                    flusher.request(&log);
                    let mut flushed = waiters.flushed.lock();
                    while *flushed <= appended.last_offset {
                        waiters.changed.wait(&mut flushed);
                    }
                }
            });
        }
    });
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "group commit, {producers} producers: {:.0} acknowledgements/s, {:.0} flushes/s, {:.2} ms each",
        3000.0 / seconds,
        waiters.flushes.load(Ordering::Relaxed) as f64 / seconds,
        seconds * 1e3 * producers as f64 / 3000.0,
    );
    drop((flusher, directory, log));
    std::fs::remove_dir_all(path)?;
    Ok(())
}

fn measure_reopen(path: &Path) -> Result<()> {
    let config = LogConfig {
        flush_before_acknowledge: true,
        ..LogConfig::default()
    };
    let template = batch(
        BatchBuilder::new(Compression::None).idempotent(1, 0, 0),
        10,
        &[1; 100],
        0,
    )?;
    let (directory, _) = open(path, &config)?;
    let begin = Instant::now();
    for n in 0..PARTITIONS {
        let name = TopicPartition::new("many", n);
        let log = directory.create(name, Uuid::new_v4(), config.clone(), NOW_MS)?;
        log.append_as_leader(&mut template.clone(), 0, NOW_MS)?;
        log.flush()?;
    }
    println!(
        "creating {PARTITIONS} partitions, one flushed batch each: {:?}",
        begin.elapsed()
    );
    drop(directory);
    let begin = Instant::now();
    let (directory, report) = open(path, &config)?;
    println!(
        "opening them after a kill: {:?}, {} findings",
        begin.elapsed(),
        report.findings.len()
    );
    let before = resident_bytes()?;
    let begin = Instant::now();
    directory.checkpoint()?;
    println!("first checkpoint: {:?}", begin.elapsed());
    let begin = Instant::now();
    directory.checkpoint()?;
    println!("a checkpoint without changes: {:?}", begin.elapsed());
    let begin = Instant::now();
    directory.close_cleanly(CleanShutdown { broker_epoch: 1 })?;
    println!("closing them: {:?}", begin.elapsed());
    drop(directory);
    println!("resident with them open: {} KiB", before / 1024);
    let begin = Instant::now();
    let (directory, report) = open(path, &config)?;
    println!("opening them after a clean stop: {:?}", begin.elapsed());
    anyhow::ensure!(report.findings.is_empty(), "{report:?}");
    drop(directory);
    std::fs::remove_dir_all(path)?;
    Ok(())
}

fn resident_bytes() -> Result<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = pages.split(' ').nth(1).context("statm")?.parse()?;
    Ok(pages * 4096)
}
