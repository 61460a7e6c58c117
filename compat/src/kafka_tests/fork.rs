//! Some tests of one class in a JVM of their own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use foz_e2e::external::External;
use foz_e2e::folders::write;
use foz_e2e::progress::{Progress, seconds};

use crate::child::dies_with_us;
use crate::kafka_tests::events::Events;
use crate::kafka_tests::row::{Outcome, Row};
use crate::kafka_tests::work::Work;
use crate::kit::{Kit, short_name};

/// A JVM that takes longer hangs: each test has a limit of its own.
const CLASS_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Below the ports that the kernel gives to clients.
const PORT_FIRST: usize = 20_000;
const PORTS: usize = 1_000;

/// Whose brokers the tests run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Foz,
    Kafka,
}

impl Backend {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Backend::Foz => "foz",
            Backend::Kafka => "kafka",
        }
    }
}

/// What is the same for all classes of a run.
#[derive(Debug)]
pub(crate) struct Forks {
    pub(crate) kit: Kit,
    pub(crate) backend: Backend,
    pub(crate) broker: PathBuf,
    /// Holds what the brokers write, and is emptied before each run.
    pub(crate) folder: PathBuf,
    /// Holds what the JVMs print.
    pub(crate) logs: PathBuf,
    /// Whether the folders of clusters whose test failed stay.
    pub(crate) keeps_failed: bool,
}

impl Forks {
    /// Runs tests, and those once more that did not pass and that `retries` names.
    ///
    /// `lane` tells apart what runs at the same time.
    ///
    /// # Errors
    /// A file cannot be written. A JVM that fails shows in the rows: tests are missing, or hung.
    pub(crate) fn run(
        &self,
        work: &Work,
        lane: usize,
        retries: impl Fn(&Row) -> bool,
        progress: &Progress,
    ) -> Result<Vec<Row>> {
        let begun = Instant::now();
        let short = short_name(&work.class);
        let mut events = self.once(work, lane)?;
        let is_worth_it = |row: &Row| row.outcome == Outcome::Failed && retries(row);
        let failed = events.rows(short).into_iter().filter(is_worth_it);
        let again: BTreeSet<String> = failed.map(|row| row.method).collect();
        if !again.is_empty() {
            let work = Work {
                methods: again,
                name: format!("{}-second-try", work.name),
                ..work.clone()
            };
            events.retried(self.once(&work, lane)?);
        }
        let rows = events.rows(short);
        let passed = rows.iter().filter(|row| row.outcome == Outcome::Passed);
        progress.line(&format!(
            "{}: {} of {} passed ({})",
            work.name,
            passed.count(),
            rows.len(),
            seconds(begun.elapsed())
        ));
        Ok(rows)
    }

    fn once(&self, work: &Work, lane: usize) -> Result<Events> {
        let name = format!("{}-{}", self.backend.name(), work.name);
        let folder = self.folder.join(&name);
        std::fs::create_dir_all(&folder)?;
        let rows = folder.join("rows.tsv");
        let said = match self.command(work, lane, &folder, &rows).run_any() {
            Ok(output) => format!("{}\n{}", output.text(), output.error_text()),
            Err(error) => format!("{error:#}"),
        };
        write(self.logs.join(format!("{name}.log")), &said)?;
        let text = std::fs::read_to_string(&rows).unwrap_or_default();
        Ok(Events::read(&text))
    }

    fn command(&self, work: &Work, lane: usize, folder: &Path, rows: &Path) -> External {
        let property = |name: &str, value: &str| format!("-Dfoz.compat.{name}={value}");
        let port = PORT_FIRST + lane * PORTS;
        dies_with_us("java")
            .args(["-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
            .arg(format!("-Djava.io.tmpdir={}", folder.display()))
            .arg(property("backend", self.backend.name()))
            .arg(property("broker", &self.broker.display().to_string()))
            .arg(property("folder", &folder.display().to_string()))
            .arg(property("port.first", &port.to_string()))
            .arg(property("port.count", &PORTS.to_string()))
            .arg(property("keep", &self.keeps_failed.to_string()))
            .args(["-cp", &self.kit.class_path(), "dev.foz.compat.Run"])
            .arg(rows)
            .arg(&work.class)
            .args(&work.methods)
            .limit(CLASS_LIMIT)
    }
}
