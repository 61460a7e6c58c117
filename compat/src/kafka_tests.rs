//! Apache Kafka's own integration tests of its clients.
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
//!
//! Start reading at [`run`], then [`comparison::compare`]; the stand-in at `compat/java/ProcessCluster.java`.

mod comparison;
mod events;
pub(crate) mod excuses;
mod fork;
pub(crate) mod row;
mod work;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use foz_e2e::build_cache::remove_folder;
use foz_e2e::folders::write;
use foz_e2e::progress::Progress;

use crate::kit::{Kit, short_name};
use crate::lanes::run_all;
use crate::setting::Setting;
use comparison::{Comparison, compare, unaccounted};
use events::SECOND_TRY;
use excuses::{Excuse, read_excuses};
use fork::{Backend, Forks};
use row::{Outcome, Row, read_rows, write_rows};
use work::{Work, agenda};

/// Tests that are excused wait for what does not come, most of them; many do so at once.
const EXCUSED_PER_JOB: usize = 3;

/// Runs these classes on Foz, all when none is named, and compares with what Kafka passes.
///
/// # Errors
/// Says what does not pass, or why nothing could be run.
pub(crate) fn run(setting: &Setting, named: &[String]) -> Result<()> {
    let _held = setting.hold()?;
    let kit = Kit::prepare(&setting.folders, &setting.progress)?;
    let tables = Tables::read(&setting.folders.repository.join("compat"))?;
    let all = kit.classes()?;
    let (classes, problems) = if named.is_empty() {
        let short: Vec<String> = all
            .iter()
            .map(|class| short_name(class).to_owned())
            .collect();
        let problems = unaccounted(&short, &tables.baseline, &tables.excuses);
        (tables.in_baseline(&all), problems)
    } else {
        let classes = chosen(&all, named)?;
        let known = tables.in_baseline(&classes);
        if let Some(class) = classes.iter().find(|class| !known.contains(class)) {
            let class = short_name(class);
            bail!(
                "{class} has nothing to be compared with: foz-compat baseline {class} runs it on Apache Kafka"
            );
        }
        (classes, Vec::new())
    };
    let forks = forks(setting, kit, Backend::Foz)?;
    on_foz(setting, &forks, &tables, &classes, problems)
}

/// Runs these classes on Apache Kafka, and puts what became of them into the baseline.
///
/// # Errors
/// A name is of no class; a JVM cannot be started; the file cannot be written.
pub(crate) fn write_baseline(setting: &Setting, named: &[String]) -> Result<()> {
    let _held = setting.hold()?;
    let kit = Kit::prepare(&setting.folders, &setting.progress)?;
    let tables = Tables::read(&setting.folders.repository.join("compat"))?;
    let classes = chosen(&kit.classes()?, named)?;
    let forks = forks(setting, kit, Backend::Kafka)?;
    let works = classes.iter().map(|class| Work::whole(class)).collect();
    let tables = Mutex::new(tables);
    run_all(works, setting.jobs, |work, lane| {
        let rows = forks.run(&work, lane, |_| true, &setting.progress)?;
        let mut tables = tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.write_baseline(&work.class, &rows)?;
        Ok(rows)
    })
    .map(drop)
}

fn forks(setting: &Setting, kit: Kit, backend: Backend) -> Result<Forks> {
    let folder = setting.place.join("run");
    remove_folder(&folder)?;
    Ok(Forks {
        kit,
        backend,
        broker: match backend {
            Backend::Foz => setting.broker()?,
            // Unused: its brokers are JVMs.
            Backend::Kafka => PathBuf::new(),
        },
        folder,
        logs: setting.place.join("logs"),
        keeps_failed: std::env::var_os("FOZ_COMPAT_KEEP").is_some(),
    })
}

/// What the repository says of the tests.
#[derive(Debug)]
pub(crate) struct Tables {
    folder: PathBuf,
    pub(crate) baseline: Vec<Row>,
    pub(crate) excuses: Vec<Excuse>,
}

impl Tables {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
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
    setting: &Setting,
    forks: &Forks,
    tables: &Tables,
    classes: &[String],
    mut problems: Vec<String>,
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
    let jobs = setting.jobs;
    let mut rows = run_all(agenda.expected, jobs, |work, lane| {
        forks.run(&work, lane, is_expected, &setting.progress)
    })?;
    rows.extend(run_all(
        agenda.excused,
        jobs * EXCUSED_PER_JOB,
        |work, lane| forks.run(&work, lane, |_| false, &setting.progress),
    )?);
    let results = setting.place.join("foz.tsv");
    write(&results, write_rows(&rows))?;
    let comparison = compare(&baseline, &rows, &excuses);
    let twice = rows.iter().filter(|row| row.reason == SECOND_TRY).count();
    tell(&comparison, twice, &setting.progress);
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
