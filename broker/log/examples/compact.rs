//! How fast a log is compacted, and in how much memory: `cargo run --release -p foz-log --example compact -- <directory>`.
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use foz_log::{
    CompactionLimits, FileHandles, LogConfig, LogDirectory, PageCache, PartitionLog, TopicPartition,
};
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use uuid::Uuid;

const NOW_MS: i64 = 1_700_000_000_000;
const LOG_BYTES: usize = 1 << 30;
const RECORDS_PER_BATCH: u64 = 100;
/// 1.9 million keys.
const MAP_BYTES: usize = 48 << 20;

/// What a log holds.
struct Shape {
    name: &'static str,
    value_bytes: usize,
    keys: u64,
    codec: Compression,
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).map(PathBuf::from);
    let path = path.context("which directory to write to")?;
    for shape in [
        Shape {
            name: "values of 100 bytes, 1,000,000 keys",
            value_bytes: 100,
            keys: 1_000_000,
            codec: Compression::None,
        },
        Shape {
            name: "values of 1,000 bytes, 100,000 keys",
            value_bytes: 1_000,
            keys: 100_000,
            codec: Compression::None,
        },
        Shape {
            name: "values of 1,000 bytes, 100,000 keys, LZ4",
            value_bytes: 1_000,
            keys: 100_000,
            codec: Compression::Lz4,
        },
    ] {
        measure(&path, &shape)?;
    }
    Ok(())
}

fn measure(path: &Path, shape: &Shape) -> Result<()> {
    let config = LogConfig {
        segment_bytes: 256 << 20,
        cleanup_compact: true,
        cleanup_delete: false,
        ..LogConfig::default()
    };
    let handles = FileHandles::new(64);
    let config_of = |_: &TopicPartition, _| config.clone();
    let page_cache = PageCache::Survived;
    let (directory, _) =
        LogDirectory::open(path, page_cache, 1, &handles, NOW_MS, &config_of, &|_| {})?;
    let name = TopicPartition::new("compacted", 0);
    let log = directory.create(name, Uuid::new_v4(), config.clone(), NOW_MS)?;
    fill(&log, shape)?;
    println!("{}", shape.name);
    for pass in ["first pass", "another one, a quarter is new"] {
        log.flush()?;
        log.set_high_watermark(log.log_end_offset());
        let before_bytes = resident_bytes("VmRSS")?;
        // The greatest from now on: writing 5 sets it back (proc(5)).
        std::fs::write("/proc/self/clear_refs", "5")?;
        let (begin, begin_ran) = (Instant::now(), ran()?);
        let limits = CompactionLimits {
            map_bytes: MAP_BYTES,
        };
        let compacted = log.compact(limits, NOW_MS, &mut |_| ControlFlow::Continue(()))?;
        let (seconds, ran) = (begin.elapsed().as_secs_f64(), ran()? - begin_ran);
        println!(
            "  {pass}: {:.0} MB of segments became {:.0} MB in {seconds:.2} s, {ran:.2} s of them on a core: {:.0} MB/s, {:.0} MB/s where nobody else wants the core; {:.0} MB read, {:.0} MB written; {:.1} MiB more memory at most, the map {:.1} MiB",
            mega(compacted.bytes_before),
            mega(compacted.bytes_after),
            mega(compacted.bytes_before) / seconds,
            mega(compacted.bytes_before) / ran,
            mega(compacted.read_bytes),
            mega(compacted.written_bytes),
            resident_bytes("VmHWM")?.saturating_sub(before_bytes) as f64 / f64::from(1 << 20),
            compacted.map_bytes as f64 / f64::from(1 << 20),
        );
        fill_part(&log, shape, LOG_BYTES / 4 + config.segment_bytes as usize)?;
    }
    drop((log, directory));
    std::fs::remove_dir_all(path)?;
    Ok(())
}

fn fill(log: &Arc<PartitionLog>, shape: &Shape) -> Result<()> {
    fill_part(log, shape, LOG_BYTES)
}

fn fill_part(log: &Arc<PartitionLog>, shape: &Shape, bytes: usize) -> Result<()> {
    let mut written = 0;
    let mut state = log.log_end_offset().unsigned_abs() | 1;
    while written < bytes {
        let mut builder = BatchBuilder::new(shape.codec);
        for n in 0..RECORDS_PER_BATCH {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let key = format!("key-{:012}", (state >> 33) % shape.keys);
            let mut noise = state;
            // Half of it says something: what is packed becomes half as long.
            let value: Vec<u8> = (0..shape.value_bytes)
                .map(|at| {
                    if at % 64 < 32 {
                        noise ^= noise << 13;
                        noise ^= noise >> 7;
                        noise ^= noise << 17;
                        noise as u8
                    } else {
                        b'.'
                    }
                })
                .collect();
            builder.push(&RecordToWrite {
                timestamp_ms: NOW_MS + n as i64,
                key: Some(key.as_bytes()),
                value: Some(&value),
                headers: &[],
            });
        }
        let mut batch = builder.build()?;
        written += batch.len();
        log.append_as_leader(&mut batch, 0, NOW_MS)?;
    }
    Ok(())
}

fn resident_bytes(field: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kibibytes.context("no such field")?.parse::<u64>()? * 1024)
}

/// Seconds of this thread on a core (proc(5), `schedstat`).
fn ran() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().context("it is empty")?;
    Ok(nanoseconds.parse::<u64>()? as f64 / 1e9)
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
