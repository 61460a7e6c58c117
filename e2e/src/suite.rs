//! `make test` and `make soak`: every stage with one line and its duration.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cluster;
use crate::external::{External, last_lines};
use crate::folders::{Folders, write};
use crate::images::Images;
use crate::java::Java;
use crate::kubernetes::Kubernetes;
use crate::prerequisites::{self, For};
use crate::programs::Programs;
use crate::progress::{Progress, seconds};
use crate::story::world::World;
use crate::story::{self, Story};

/// The stories' cluster is their own, so that they leave alone what `make up` started.
pub const STORIES_CLUSTER: &str = "stories";
/// When this is set, the stories' cluster is left running.
pub const KEEP_VARIABLE: &str = "FOZ_E2E_KEEP";
/// How long the chaos of `make soak` goes on.
const SOAK_MINUTES_VARIABLE: &str = "FOZ_SOAK_MINUTES";
const SOAK_MINUTES: u64 = 60;
/// Cases of each property test in `make soak`.
const SOAK_PROPTEST_CASES: &str = "20000";
/// And of the one that compares compaction with its model.
const SOAK_COMPACTION_CASES: &str = "100000";

/// A word count with exactly-once under faults, two minutes each.
const STREAMS_RUNS: &str = "20";
const TRANSACTION_VERSIONS: [&str; 2] = ["1", "2"];
const TRANSACTIONS_MINUTES: &str = "20";

const CARGO_LIMIT: Duration = Duration::from_secs(45 * 60);
const SOAK_CARGO_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);
/// They wait for most of their time: two cores have enough to do with so many.
const KAFKA_TESTS_AT_A_TIME: &str = "4";
/// Most of it is for what is fetched and built on a new machine.
const COMPAT_LIMIT: Duration = Duration::from_secs(40 * 60);
const LINES_SHOWN: usize = 80;

/// Runs every test. A stage that fails does not keep the others from being run.
pub fn test(folders: &Folders, progress: &Progress) -> Result<()> {
    prerequisites::ensure(folders, For::Stories, progress)?;
    let programs = Programs::build(folders, progress)?;
    let mut stages = Stages {
        folders,
        progress,
        cargo_limit: CARGO_LIMIT,
        failed: Vec::new(),
    };
    stages.cargo("the code is formatted", &["fmt", "--all", "--check"], &[]);
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ];
    stages.cargo("clippy finds nothing", &clippy, &[]);
    let tests = ["test", "--workspace", "--locked", "--no-fail-fast"];
    stages.cargo("unit, property and process tests pass", &tests, &[]);
    stages.run("Foz answers what Kafka does", || {
        compat(folders, &["answers"])
    });
    stages.run("every Kafka client and tool works", || {
        compat(folders, &["clients"])
    });
    stages.run("codecs are tested with what Kafka's classes write", || {
        compat(folders, &["messages", "--check"])
    });
    stages.run("Kafka's own tests pass", || {
        compat(folders, &["--jobs", KAFKA_TESTS_AT_A_TIME, "run"])
    });
    stages.run("helm lint finds nothing", || {
        lint_charts(folders, &programs)
    });
    stages.run("the stories pass", || {
        // What was built meanwhile took room.
        prerequisites::ensure(folders, For::Stories, progress)?;
        let stories = story::all();
        on_stories_cluster(folders, &programs, progress, |world| {
            story::tell(world, &stories, "", progress)
        })
    });
    stages.conclude()
}

/// Tells only the stories whose names contain `filter`; the cluster is left running.
pub fn stories(folders: &Folders, name: &str, filter: &str, progress: &Progress) -> Result<()> {
    prerequisites::ensure(folders, For::Stories, progress)?;
    let programs = Programs::build(folders, progress)?;
    let _held = cluster::hold(folders, name)?;
    let world = world(folders, &programs, name, progress)?;
    let mut stories = story::all();
    if !filter.is_empty() {
        stories.extend(story::long());
    }
    story::tell(&world, &stories, filter, progress)
}

/// Runs what takes hours: property tests with many more cases, Kafka Streams and transactions under faults, and the
/// stories of chaos again and again.
pub fn soak(folders: &Folders, progress: &Progress) -> Result<()> {
    let minutes = soak_minutes(std::env::var(SOAK_MINUTES_VARIABLE).ok().as_deref())?;
    prerequisites::ensure(folders, For::Stories, progress)?;
    let programs = Programs::build(folders, progress)?;
    let mut stages = Stages {
        folders,
        progress,
        cargo_limit: SOAK_CARGO_LIMIT,
        failed: Vec::new(),
    };
    let environment = [
        ("PROPTEST_CASES", SOAK_PROPTEST_CASES),
        ("FOZ_COMPACTION_CASES", SOAK_COMPACTION_CASES),
    ];
    let tests = ["test", "--workspace", "--locked", "--no-fail-fast"];
    stages.cargo(
        &format!("tests with {SOAK_PROPTEST_CASES} cases each"),
        &tests,
        &environment,
    );
    let build = ["build", "--package", "foz-server", "--locked"];
    stages.cargo("foz-broker is built", &build, &[]);
    let broker = folders.cargo_target().join("debug/foz-broker");
    let broker = broker.display().to_string();
    let runs = ["run", "--package", "foz-chaos", "--locked", "--"];
    let streams = ["streams", "--broker", &broker, "--runs", STREAMS_RUNS];
    stages.cargo(
        &format!(
            "Kafka Streams counts exactly in {STREAMS_RUNS} runs in which everything is killed"
        ),
        &[&runs[..], &streams].concat(),
        &[],
    );
    for version in TRANSACTION_VERSIONS {
        let transactions = [
            "run",
            "--broker",
            &broker,
            "--faults",
            "process",
            "--transaction-version",
            version,
            "--minutes",
            TRANSACTIONS_MINUTES,
        ];
        stages.cargo(
            &format!(
                "transactions of version {version} hold for {TRANSACTIONS_MINUTES} minutes in which everything is killed"
            ),
            &[&runs[..], &transactions].concat(),
            &[],
        );
    }
    stages.run(&format!("{minutes} minutes of chaos lose nothing"), || {
        on_stories_cluster(folders, &programs, progress, |world| {
            chaos(world, minutes, progress)
        })
    });
    stages.conclude()
}

fn chaos(world: &Arc<World>, minutes: u64, progress: &Progress) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    story::tell(world, &story::beginning(), "", progress)?;
    story::tell(world, &story::long(), "", progress)?;
    let again: Vec<Story> = story::chaos();
    while Instant::now() < until {
        story::tell(world, &again, "", progress)?;
    }
    Ok(())
}

fn soak_minutes(set: Option<&str>) -> Result<u64> {
    match set.map(|text| (text, text.parse())) {
        None => Ok(SOAK_MINUTES),
        Some((_, Ok(minutes @ 1..))) => Ok(minutes),
        Some((text, _)) => {
            bail!("{SOAK_MINUTES_VARIABLE} is {text:?}; it must be a number of minutes from 1 up")
        }
    }
}

fn on_stories_cluster(
    folders: &Folders,
    programs: &Programs,
    progress: &Progress,
    tell: impl FnOnce(&Arc<World>) -> Result<()>,
) -> Result<()> {
    // What an earlier run left would be told as if it were this one's.
    cluster::down(folders, STORIES_CLUSTER)?;
    let held = cluster::hold(folders, STORIES_CLUSTER)?;
    let world = world(folders, programs, STORIES_CLUSTER, progress)?;
    let told = tell(&world);
    drop(held);
    if std::env::var_os(KEEP_VARIABLE).is_none() {
        progress.step("remove the stories' cluster", || {
            cluster::down(folders, STORIES_CLUSTER)
        })?;
    }
    told
}

fn world(
    folders: &Folders,
    programs: &Programs,
    name: &str,
    progress: &Progress,
) -> Result<Arc<World>> {
    let java = Java::fetch(folders, progress)?;
    let images = Images::build(folders, progress)?;
    let kubernetes = Kubernetes::get(folders, programs, name, progress)?;
    kubernetes.load(&images, progress)?;
    Ok(Arc::new(World {
        folders: folders.clone(),
        kubernetes,
        images,
        java,
        progress: *progress,
    }))
}

/// A program of its own, which needs this library; it tells what it does and where its logs are.
fn compat(folders: &Folders, action: &[&str]) -> Result<()> {
    External::new("cargo")
        .args([
            "run",
            "--quiet",
            "--locked",
            "--package",
            "foz-compat",
            "--",
        ])
        .args(action)
        .in_folder(&folders.repository)
        .limit(COMPAT_LIMIT)
        .run_shown()
}

fn lint_charts(folders: &Folders, programs: &Programs) -> Result<()> {
    for chart in ["foz-operator", "foz-cluster"] {
        let folder = folders.repository.join("charts").join(chart);
        External::new(&programs.helm)
            .args(["lint", "--strict"])
            .arg(folder)
            .run()?;
    }
    Ok(())
}

/// Runs stages and remembers which failed.
struct Stages<'a> {
    folders: &'a Folders,
    progress: &'a Progress,
    /// For one command of cargo.
    cargo_limit: Duration,
    failed: Vec<String>,
}

impl Stages<'_> {
    fn run(&mut self, name: &str, stage: impl FnOnce() -> Result<()>) {
        if let Err(error) = self.progress.step(name, stage) {
            eprintln!("{error:#}");
            self.failed.push(name.to_owned());
        }
    }

    fn cargo(&mut self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) {
        let logs = self.folders.cache.join("logs");
        let log = logs.join(log_name(name));
        let repository = self.folders.repository.clone();
        let limit = self.cargo_limit;
        self.run(name, || {
            cargo(&repository, arguments, environment, limit, &log)
        });
    }

    fn conclude(self) -> Result<()> {
        let took = seconds(self.progress.elapsed());
        if self.failed.is_empty() {
            self.progress.line(&format!("everything passed in {took}"));
            return Ok(());
        }
        bail!("failed after {took}: {}", self.failed.join("; "))
    }
}

/// Of a stage: several run the same command, and none may write over what another one said.
fn log_name(stage: &str) -> String {
    let plain = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter.to_ascii_lowercase(),
        false => '-',
    };
    format!("{}.log", stage.chars().map(plain).collect::<String>())
}

/// What cargo and the tests say of failures, each with a few words more. In the output of thousands of tests
/// they are far from the end.
fn failures(said: &str) -> Vec<&str> {
    const LINES_EACH: usize = 2;
    const LINES_MAX: usize = 60;
    let mut left = 0;
    let lines = said.lines().filter(|line| {
        if line.ends_with("... FAILED") || line.contains("panicked at") || line.starts_with("error")
        {
            left = LINES_EACH;
        }
        let is_shown = left > 0;
        left = left.saturating_sub(1);
        is_shown
    });
    lines.take(LINES_MAX).collect()
}

fn cargo(
    repository: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
    log: &PathBuf,
) -> Result<()> {
    let mut command = External::new("cargo")
        .args(arguments)
        .in_folder(repository)
        .limit(limit);
    for (name, value) in environment {
        command = command.env(name, value);
    }
    let output = command.run_any()?;
    let said = format!("{}\n{}", output.error_text(), output.text());
    write(log, &said)?;
    if !output.status.success() {
        let failures = failures(&said).join("\n");
        let end = last_lines(&said, LINES_SHOWN);
        bail!(
            "{end}\nwhat failed:\n{failures}\nall of it is in {}",
            log.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soaks_length_is_a_number_of_minutes() {
        assert_eq!(soak_minutes(None).unwrap(), SOAK_MINUTES);
        assert_eq!(soak_minutes(Some("5")).unwrap(), 5);
        for wrong in ["", "0", "-1", "an hour"] {
            let error = soak_minutes(Some(wrong)).unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
    }

    #[test]
    fn each_stage_has_its_log() {
        assert_eq!(
            log_name("Kafka's tests, 20 runs"),
            "kafka-s-tests--20-runs.log"
        );
        assert_ne!(log_name("version 1 holds"), log_name("version 2 holds"));
    }

    #[test]
    fn failures_are_found_among_what_went_well() {
        let said = "test a ... ok\ntest b ... FAILED\ntest c ... ok\nthread 'b' panicked at b.rs:1:\nleft: 1\n\
                    right: 2\nstack\nerror: 1 target failed:\n    `-p b`\n";
        assert_eq!(
            failures(said),
            [
                "test b ... FAILED",
                "test c ... ok",
                "thread 'b' panicked at b.rs:1:",
                "left: 1",
                "error: 1 target failed:",
                "    `-p b`"
            ]
        );
    }
}
