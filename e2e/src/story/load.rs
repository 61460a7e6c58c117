//! A steady load of a Java producer, three consumer groups and librdkafka, and what they felt.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::world::{BOOTSTRAP, World};
use crate::external::{External, Output, last_lines};
use crate::wait::wait_until;

/// The greatest time that a load goes on for.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// Until what the cluster carries is known, and the groups have read it.
const STEADY_LIMIT: Duration = Duration::from_secs(180);
/// Lines that are quoted of what a load that failed said.
const WORDS: usize = 12;
/// Lines that kcat is given at a time.
const BATCH: usize = 500;
const BATCH_PAUSE: Duration = Duration::from_millis(500);

/// A load that goes on.
#[derive(Debug)]
pub(super) struct Load {
    /// There while the load is steady; it ends when somebody removes it.
    steady: PathBuf,
    java: JoinHandle<Result<Output>>,
    librdkafka: Librdkafka,
}

/// What a load was, and what its clients felt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Felt {
    /// Records of 1 KiB.
    pub(super) records_per_second: u64,
    pub(super) sent: u64,
    /// Sends that failed after the client's own retries.
    pub(super) failed: u64,
    /// Records that a group never saw, and those that it saw twice.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) seconds: Vec<Second>,
    /// Its words about what failed, if anything did.
    pub(super) said: String,
}

/// One second of the producer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Second {
    /// Since 1970.
    pub(super) epoch: u64,
    pub(super) acknowledged: u64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Load {
    /// Begins on two topics that are there: `topic`, and one for librdkafka. `records_per_second`: half of what the
    /// cluster carries where none is said, which takes some seconds to find out. Returns when the load is steady.
    pub(super) fn begin(
        world: &World,
        topic: &str,
        librdkafka_topic: &str,
        records_per_second: Option<u64>,
    ) -> Result<Load> {
        let steady = world.folders.cache.join(format!("steady-{topic}"));
        let _ = std::fs::remove_file(&steady);
        let mut java = world
            .java("Load.java")?
            .args([BOOTSTRAP, topic])
            .arg(&steady)
            .limit(LIMIT);
        if let Some(rate) = records_per_second {
            java = java.arg(rate.to_string());
        }
        let load = Load {
            steady,
            java: thread::spawn(move || java.run()),
            librdkafka: Librdkafka::begin(world, librdkafka_topic)?,
        };
        wait_until("the load to be steady", STEADY_LIMIT, || {
            if load.java.is_finished() {
                // Its end says why.
                return Ok(Ok(()));
            }
            let seen = || format!("no {}", load.steady.display());
            Ok(load.steady.exists().then_some(()).ok_or_else(seen))
        })?;
        Ok(load)
    }

    /// Ends it, reads everything back, and says how it went.
    pub(super) fn end(self) -> Result<Felt> {
        // Not there where it ended by itself.
        let _ = std::fs::remove_file(&self.steady);
        let ended = self.java.join();
        let librdkafka = self.librdkafka.end();
        let output = ended.map_err(|_| anyhow!("the load's thread panicked"))??;
        let said = output.error_text();
        let felt = felt(&output.text()).with_context(|| format!("the load said {said}"))?;
        librdkafka?;
        Ok(Felt { said, ..felt })
    }
}

impl Felt {
    /// The median of the p99 of the seconds that are in this span; `None` when there are none.
    pub(super) fn p99_ms(&self, span: std::ops::Range<u64>) -> Option<f64> {
        let within = self.seconds.iter().filter(|it| span.contains(&it.epoch));
        let mut figures: Vec<f64> = within.map(|it| it.p99_ms).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    /// The same for so long before something, without the five seconds in which others began, and while it went on.
    /// `began_ms` and `ended_ms` since 1970.
    pub(super) fn p99_ms_before_and_during(
        &self,
        before: Duration,
        began_ms: u128,
        ended_ms: u128,
    ) -> Result<(f64, f64)> {
        let began = u64::try_from(began_ms / 1000)?;
        let ended = u64::try_from(ended_ms / 1000)?;
        let before = self.p99_ms(began - before.as_secs() + 5..began);
        let during = self.p99_ms(began..ended);
        let both = before.zip(during);
        both.context("the load says nothing of the seconds before, or of those meanwhile")
    }

    /// The longest that a record took.
    pub(super) fn max_ms(&self) -> f64 {
        let greatest = |max: f64, second: &Second| max.max(second.max_ms);
        self.seconds.iter().fold(0.0, greatest)
    }

    /// Nothing failed, nothing was lost, nothing is there twice.
    pub(super) fn ensure_clean(&self) -> Result<()> {
        ensure!(
            self.failed == 0 && self.lost == 0 && self.doubled == 0 && self.sent > 0,
            "of {} records, {} failed, {} were lost, {} are there twice; the load said {}",
            self.sent,
            self.failed,
            self.lost,
            self.doubled,
            last_lines(&self.said, WORDS)
        );
        Ok(())
    }
}

/// One kcat, which sends the lines that it is given as long as it is given some.
#[derive(Debug)]
struct Librdkafka {
    stopped: Arc<AtomicBool>,
    giving: JoinHandle<Result<usize>>,
    sending: JoinHandle<Result<Output>>,
    count: External,
}

impl Librdkafka {
    fn begin(world: &World, topic: &str) -> Result<Librdkafka> {
        let stopped = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stopped);
        let (reader, mut writer) = std::io::pipe()?;
        // -E: librdkafka says so where no connection is up just then, and goes on; kcat alone would end.
        let kcat = world.kcat()?.args(["-P", "-E", "-t", topic]);
        let kcat = kcat.args(["-X", "acks=all", "-X", "enable.idempotence=true"]);
        let kcat = kcat.stdin_pipe(reader).limit(LIMIT);
        let sending = thread::spawn(move || kcat.run());
        let giving = thread::spawn(move || {
            let mut given = 0;
            while !until.load(Ordering::Acquire) {
                let lines: String = (given..given + BATCH).map(|it| format!("{it}\n")).collect();
                // It is refused by a kcat that has ended, which says why.
                writer.write_all(lines.as_bytes())?;
                given += BATCH;
                thread::sleep(BATCH_PAUSE);
            }
            Ok(given)
        });
        let count = world.kcat()?.args(["-C", "-e", "-q", "-t", topic]);
        Ok(Librdkafka {
            stopped,
            giving,
            sending,
            count,
        })
    }

    fn end(self) -> Result<()> {
        self.stopped.store(true, Ordering::Release);
        let given = self.giving.join();
        let ended = self.sending.join();
        ended.map_err(|_| anyhow!("kcat's thread panicked"))??;
        let sent = given.map_err(|_| anyhow!("who gave kcat its lines panicked"))??;
        let read = self.count.limit(LIMIT).run()?.text();
        let mut numbers = read
            .lines()
            .map(str::parse)
            .collect::<Result<Vec<usize>, _>>()?;
        numbers.sort_unstable();
        ensure!(
            numbers.iter().copied().eq(0..sent),
            "librdkafka sent {sent} messages, and {} are there, not each of them once",
            numbers.len()
        );
        Ok(())
    }
}

/// From what `e2e/java/Load.java` prints.
fn felt(text: &str) -> Result<Felt> {
    let mut felt = Felt {
        records_per_second: 0,
        sent: 0,
        failed: 0,
        lost: 0,
        doubled: 0,
        seconds: Vec::new(),
        said: String::new(),
    };
    let mut groups = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["second", epoch, acknowledged, p99_ms, max_ms] => felt.seconds.push(Second {
                epoch: epoch.parse()?,
                acknowledged: acknowledged.parse()?,
                p99_ms: p99_ms.parse()?,
                max_ms: max_ms.parse()?,
            }),
            ["group", _, _, lost, doubled] => {
                groups += 1;
                felt.lost += lost.parse::<u64>()?;
                felt.doubled += doubled.parse::<u64>()?;
            }
            ["total", rate, sent, failed] => {
                felt.records_per_second = rate.parse()?;
                felt.sent = sent.parse()?;
                felt.failed = failed.parse()?;
            }
            _ => {}
        }
    }
    ensure!(groups == 3, "{groups} groups have read, not 3");
    Ok(felt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "second 100 500 2.5 9.0\nsecond 101 500 7.5 20.0\nsecond 102 500 3.5 9.0\n\
        group a 1500 0 0\ngroup b 1500 1 0\ngroup c 1499 0 2\ntotal 500 1500 0";

    #[test]
    fn what_the_load_says_is_read() {
        let felt = felt(SAID).unwrap();
        assert_eq!((felt.records_per_second, felt.sent), (500, 1500));
        assert_eq!((felt.failed, felt.lost, felt.doubled), (0, 1, 2));
        assert_eq!(felt.p99_ms(100..102), Some(7.5));
        assert_eq!(felt.p99_ms(100..103), Some(3.5));
        assert_eq!(felt.p99_ms(200..300), None);
        let of =
            |ended_ms| felt.p99_ms_before_and_during(Duration::from_secs(6), 101_900, ended_ms);
        assert_eq!(of(103_000).unwrap(), (2.5, 7.5));
        assert!(of(101_950).is_err());
        assert!((felt.max_ms() - 20.0).abs() < f64::EPSILON);
        assert!(felt.ensure_clean().is_err());
    }

    #[test]
    fn a_group_that_says_nothing_is_missed() {
        let said = SAID.replace("group b", "grouch b");
        assert!(felt(&said).is_err());
    }
}
