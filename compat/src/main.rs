//! foz-compat: Apache Kafka's own integration tests of its clients, run against Foz.
//!
//! The tests are Kafka's, from its published jar, unchanged. Their annotations start brokers inside the JVM of the
//! tests; a class of ours (`compat/java`) stands in for the one that does it, and starts processes: `foz-broker`, or
//! Apache Kafka. What the tests ask of a broker's inside fails there on both.
//!
//! - `baseline.tsv` says what became of each test on Kafka, through the same stand-in (`foz-compat baseline`).
//! - What passes there must pass on Foz, or stand in `excuses.tsv` with a reason: `later:` names what Foz does not have
//!   yet, `broker-internal:` what no other broker can have, `race:` why a test can end either way. An excuse of the
//!   first two kinds for a test that passes is an error, so that the table only shrinks.
//! - Every class of the jar is in the baseline or left out by name.
//! - Beside them, what Kafka's classes write is what the broker's codecs write: [`messages`]; and what Kafka answered Foz
//!   answers: [`answers`].
//! - Nothing outlives a run, even one that was killed: each process has the kernel kill it when its parent dies.
//!
//! Start reading at [`run`], then [`comparison::compare`]; the stand-in at `compat/java/ProcessCluster.java`.

mod answers;
mod codec;
mod comparison;
mod compressed;
mod events;
mod excuses;
mod fork;
mod kit;
mod lanes;
mod messages;
mod row;
mod work;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use foz_e2e::build_cache::remove_folder;
use foz_e2e::external::External;
use foz_e2e::folders::{Folders, write};
use foz_e2e::progress::Progress;

use crate::comparison::{Comparison, compare, unaccounted};
use crate::events::SECOND_TRY;
use crate::excuses::{Excuse, read_excuses};
use crate::fork::{Backend, Forks};
use crate::kit::{Kit, short_name};
use crate::lanes::run_all;
use crate::row::{Outcome, Row, read_rows, write_rows};
use crate::work::{Work, agenda};

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const JOBS_MAX: u8 = 4;
/// Tests that are excused wait for what does not come, most of them; many do so at once.
const EXCUSED_PER_JOB: usize = 3;

const VARIABLES: &str = "\
Environment:
  FOZ_CACHE         folder for the jars, the logs and the results [~/.cache/foz]
  FOZ_COMPAT_KEEP   leave the folders of clusters whose test failed";

/// Runs Apache Kafka's own integration tests of its clients against Foz.
#[derive(Debug, Parser)]
#[command(name = "foz-compat", disable_help_subcommand = true, after_help = VARIABLES)]
struct Arguments {
    /// How many classes are run at once.
    #[arg(long, global = true, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(JOBS_MAX)))]
    jobs: u8,
    /// The foz-broker to test; built when it is not given.
    #[arg(long, global = true)]
    broker: Option<PathBuf>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run these classes on Foz, all when none is named, and compare with what Kafka passes. The default.
    Run { classes: Vec<String> },
    /// Run these classes on Apache Kafka, and put what became of them into the baseline.
    Baseline {
        #[arg(required = true)]
        classes: Vec<String>,
    },
    /// Have Apache Kafka's classes write messages.txt.zst anew.
    Messages {
        /// Fail where it is not what they write, and leave it as it is.
        #[arg(long)]
        check: bool,
    },
    /// Ask Foz what Apache Kafka was asked, and compare the answers.
    Answers {
        /// Ask Apache Kafka, and keep its answers.
        #[arg(long)]
        record: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foz-compat: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let progress = Progress::start();
    let folders = Folders::find()?;
    let place = folders.cache.join("compat");
    let _held = hold(&place)?;
    let kit = Kit::prepare(&folders, &progress)?;
    let compat = folders.repository.join("compat");
    if let Some(Action::Messages { check }) = arguments.action {
        return messages::make(&compat.join("messages.txt.zst"), &kit, check);
    }
    if let Some(Action::Answers { record }) = arguments.action {
        let folder = place.join("answers");
        if record {
            return answers::record(&answers::Product::Kafka(&kit), &folder, &compat, &progress);
        }
        let broker = broker(arguments, Backend::Foz, &folders, &progress)?;
        return answers::compare(&answers::Product::Foz(&broker), &folder, &compat, &progress);
    }
    let mut tables = Tables::read(&compat)?;
    let all = kit.classes()?;
    let backend = match arguments.action {
        Some(Action::Baseline { .. }) => Backend::Kafka,
        _ => Backend::Foz,
    };
    let run = place.join("run");
    remove_folder(&run)?;
    let forks = Forks {
        kit,
        backend,
        broker: broker(arguments, backend, &folders, &progress)?,
        folder: run,
        logs: place.join("logs"),
        keeps_failed: std::env::var_os("FOZ_COMPAT_KEEP").is_some(),
    };
    let jobs = usize::from(arguments.jobs);
    match &arguments.action {
        Some(Action::Baseline { classes }) => {
            let classes = chosen(&all, classes)?;
            let works: Vec<Work> = classes.iter().map(|class| Work::whole(class)).collect();
            let tables = Mutex::new(&mut tables);
            let keep = |work: &Work, rows: &[Row]| {
                let mut tables = tables.lock().unwrap_or_else(PoisonError::into_inner);
                tables.write_baseline(&work.class, rows)
            };
            run_all(&forks, &works, jobs, |_| true, keep, &progress).map(drop)
        }
        Some(Action::Run { classes }) if !classes.is_empty() => {
            let classes = chosen(&all, classes)?;
            let known = tables.in_baseline(&classes);
            if let Some(class) = classes.iter().find(|class| !known.contains(class)) {
                let class = short_name(class);
                bail!(
                    "{class} has nothing to be compared with: foz-compat baseline {class} runs it on Apache Kafka"
                );
            }
            on_foz(
                &forks,
                &tables,
                &classes,
                Vec::new(),
                jobs,
                &progress,
                &place,
            )
        }
        _ => {
            let short: Vec<String> = all
                .iter()
                .map(|class| short_name(class).to_owned())
                .collect();
            let problems = unaccounted(&short, &tables.baseline, &tables.excuses);
            let classes = tables.in_baseline(&all);
            on_foz(&forks, &tables, &classes, problems, jobs, &progress, &place)
        }
    }
}

/// One run at a time: they share ports.
fn hold(place: &Path) -> Result<File> {
    std::fs::create_dir_all(place)?;
    let lock = File::create(place.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("another foz-compat is running");
    }
    Ok(lock)
}

fn broker(
    arguments: &Arguments,
    backend: Backend,
    folders: &Folders,
    progress: &Progress,
) -> Result<PathBuf> {
    if let Some(given) = &arguments.broker {
        return std::path::absolute(given).context("--broker");
    }
    let built = folders.cargo_target().join("debug/foz-broker");
    if backend == Backend::Foz {
        progress.step("build foz-broker", || {
            External::new("cargo")
                .args(["build", "--quiet", "--locked", "--package", "foz-server"])
                .args(["--bin", "foz-broker"])
                .in_folder(&folders.repository)
                .limit(BUILD_LIMIT)
                .run()
                .map(drop)
        })?;
    }
    Ok(built)
}

/// What the repository says of the tests.
#[derive(Debug)]
struct Tables {
    folder: PathBuf,
    baseline: Vec<Row>,
    excuses: Vec<Excuse>,
}

impl Tables {
    fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        Ok(Self {
            folder: folder.to_owned(),
            baseline: read_rows(&text("baseline.tsv")?).context("baseline.tsv")?,
            excuses: read_excuses(&text("excuses.tsv")?).context("excuses.tsv")?,
        })
    }

    fn in_baseline(&self, all: &[String]) -> Vec<String> {
        let is_known = |class: &&String| {
            let mut rows = self.baseline.iter();
            rows.any(|row| row.class == short_name(class))
        };
        all.iter().filter(is_known).cloned().collect()
    }

    /// Puts these in the place of what the file says of the class.
    fn write_baseline(&mut self, class: &str, rows: &[Row]) -> Result<()> {
        self.baseline.retain(|row| row.class != short_name(class));
        self.baseline.extend_from_slice(rows);
        write(self.folder.join("baseline.tsv"), write_rows(&self.baseline))
    }
}

/// Full names of the classes that a person named, with or without their packages.
fn chosen(all: &[String], named: &[String]) -> Result<Vec<String>> {
    let find = |name: &String| {
        let found = all
            .iter()
            .find(|class| short_name(class) == short_name(name));
        found
            .cloned()
            .with_context(|| format!("{name} is no class of Kafka's tests"))
    };
    named.iter().map(find).collect()
}

fn on_foz(
    forks: &Forks,
    tables: &Tables,
    classes: &[String],
    mut problems: Vec<String>,
    jobs: usize,
    progress: &Progress,
    place: &Path,
) -> Result<()> {
    let is_run = |class: &str| classes.iter().any(|run| short_name(run) == class);
    let baseline: Vec<Row> = tables
        .baseline
        .iter()
        .filter(|row| is_run(&row.class))
        .cloned()
        .collect();
    let excuses: Vec<Excuse> = tables
        .excuses
        .iter()
        .filter(|it| is_run(&it.class))
        .cloned()
        .collect();
    let agenda = agenda(classes, &baseline, &excuses);
    // What nobody waits for is not tried twice.
    let is_expected = |row: &Row| {
        !excuses.iter().any(|excuse| excuse.names(row))
            && baseline.iter().any(|expected| {
                expected.outcome == Outcome::Passed
                    && (&expected.class, &expected.test) == (&row.class, &row.test)
            })
    };
    let mut rows = run_all(
        forks,
        &agenda.expected,
        jobs,
        is_expected,
        |_, _| Ok(()),
        progress,
    )?;
    rows.extend(run_all(
        forks,
        &agenda.excused,
        jobs * EXCUSED_PER_JOB,
        |_| false,
        |_, _| Ok(()),
        progress,
    )?);
    let results = place.join("foz.tsv");
    write(&results, write_rows(&rows))?;
    let comparison = compare(&baseline, &rows, &excuses);
    let twice = rows.iter().filter(|row| row.reason == SECOND_TRY).count();
    tell(&comparison, twice, progress);
    problems.extend(comparison.problems);
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "{} problems:\n{}\nall results: {}; what the tests printed: {}",
        problems.len(),
        problems.join("\n"),
        results.display(),
        forks.logs.display()
    )
}

fn tell(comparison: &Comparison, twice: usize, progress: &Progress) {
    let Comparison {
        expected, passed, ..
    } = comparison;
    progress.line(&format!(
        "of {expected} tests that Apache Kafka passes Foz passes {passed}, {twice} of them {SECOND_TRY}"
    ));
    for (reason, count) in &comparison.excused {
        progress.line(&format!("{count:>5} excused, {reason}"));
    }
}
