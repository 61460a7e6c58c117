//! The producer of `bench/java/SteadyLoad.java`, and what it says.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::java::Java;
use crate::latencies::Written;

const SOURCE: &str = include_str!("../java/SteadyLoad.java");

/// Of each record.
pub(crate) const RECORD_BYTES: u64 = 1024;

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Records in a second.
    pub(crate) rate: u32,
    /// So many, in turn; 0: records have none.
    pub(crate) keys: u32,
}

/// Writes until it is dropped.
#[derive(Debug)]
pub(crate) struct SteadyLoad {
    child: Child,
    seen: Arc<Mutex<Seen>>,
}

/// What the producer said until now.
#[derive(Debug, Default)]
struct Seen {
    written: Vec<Written>,
    /// When that was, since 1970, and the fewest replicas in sync that a partition had.
    in_sync: Option<(u64, usize)>,
    /// What should not have happened.
    wrong: Option<String>,
}

impl SteadyLoad {
    /// Writes `load` to `topic`.
    ///
    /// # Errors
    /// It cannot be run.
    pub(crate) fn start(
        java: &Java,
        cluster: &Cluster,
        folder: &Path,
        topic: &str,
        load: Load,
    ) -> anyhow::Result<Self> {
        let source = folder.join("SteadyLoad.java");
        std::fs::write(&source, SOURCE)?;
        let source = source.display().to_string();
        let mut child = java
            .command(&["-Xmx256M"], &source)
            .args([&cluster.bootstrap(), topic])
            .args([load.rate.to_string(), RECORD_BYTES.to_string()])
            .arg(load.keys.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run java")?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let seen = Arc::default();
        tokio::spawn(listen(output, Arc::clone(&seen)));
        Ok(Self { child, seen })
    }

    /// Waits until every partition has `replicas` in sync and no more. Returns when that was seen, since
    /// 1970.
    ///
    /// # Errors
    /// It takes longer than `limit`, or a record was given up.
    pub(crate) async fn in_sync(
        &mut self,
        replicas: usize,
        limit: Duration,
    ) -> anyhow::Result<u64> {
        let after_ms = now_ms();
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.check()?;
            match seen {
                // What was seen before the question is of another time.
                Some((at_ms, least)) if at_ms >= after_ms && least == replicas => return Ok(at_ms),
                _ if Instant::now() > deadline => {
                    bail!("not {replicas} replicas in sync within {limit:?}, but {seen:?}")
                }
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// What was acknowledged until now, in that order.
    ///
    /// # Errors
    /// A record was given up.
    pub(crate) fn written(&mut self) -> anyhow::Result<Vec<Written>> {
        self.check()?;
        Ok(lock(&self.seen).written.clone())
    }

    fn check(&mut self) -> anyhow::Result<Option<(u64, usize)>> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "the steady load ended with {status}; it takes a JDK: apt-get install default-jdk-headless"
            );
        }
        let seen = lock(&self.seen);
        match &seen.wrong {
            Some(wrong) => bail!("the steady load: {wrong}"),
            None => Ok(seen.in_sync),
        }
    }
}

/// Now, since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}

async fn listen(output: ChildStdout, seen: Arc<Mutex<Seen>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        lock(&seen).add(&line);
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn add(&mut self, line: &str) {
        if self.parse(line).is_none() && self.wrong.is_none() {
            self.wrong = Some(line.to_owned());
        }
    }

    fn parse(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let what = words.next()?;
        let at_ms = words.next()?.parse().ok()?;
        let figure = words.next()?;
        match what {
            "written" => self.written.push(Written {
                due_ms: at_ms,
                latency_us: figure.parse().ok()?,
            }),
            "in-sync" => self.in_sync = Some((at_ms, figure.parse().ok()?)),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_producer_says_is_kept() {
        let mut seen = Seen::default();
        seen.add("in-sync 1790000000100 3");
        seen.add("written 1790000000000 5123");
        seen.add("in-sync 1790000000300 2");
        assert_eq!(seen.in_sync, Some((1_790_000_000_300, 2)));
        let written = Written {
            due_ms: 1_790_000_000_000,
            latency_us: 5123,
        };
        assert_eq!(seen.written, [written]);
        assert_eq!(seen.wrong, None);
    }

    #[test]
    fn a_record_that_was_given_up_and_a_line_that_is_none_are_wrong() {
        for line in [
            "failed 1790000000000 org.apache.kafka.common.errors.TimeoutException: gone",
            "written 1790000000000",
            "written x 1",
            "",
        ] {
            let mut seen = Seen::default();
            seen.add(line);
            seen.add("written 1 1");
            assert_eq!(seen.wrong.as_deref(), Some(line));
        }
    }
}
