//! Tries the runs themselves: with each bug that was put in on purpose (`foz-canary`), do they find it?
//!
//! Every canary gets the same runs with the same seeds and faults, a few minutes each, one after the other
//! until something is wrong or its time is over; the same broker without any canary has to come through all of them.

mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use foz_canary::Canary;

use crate::fault::FaultSet;
use crate::layout::NodeName;
use crate::report::Report;
use crate::run::{self, RunConfig, Setting};
use table::{Outcome, table};

/// What a run takes beside its faults: to start, to read all back, to judge.
const AROUND: Duration = Duration::from_secs(75);
/// Less is not worth a start.
const FAULTS_LEAST: Duration = Duration::from_secs(20);

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct CanariesConfig {
    /// Without a canary.
    pub(crate) setting: Setting,
    /// Of the first run; each that follows has the next number.
    pub(crate) seed: u64,
    /// For each canary, all its runs together.
    pub(crate) limit: Duration,
    /// Faults of one run.
    pub(crate) round: Duration,
    /// `None`: the broker as it is.
    pub(crate) canaries: Vec<Option<Canary>>,
    pub(crate) folder: PathBuf,
    /// Gets the table.
    pub(crate) markdown: PathBuf,
    pub(crate) recovery_limit: Duration,
}

/// Runs all. False: a canary was not caught, or the broker as it is was.
pub(crate) fn run(config: &CanariesConfig, interrupted: &Arc<AtomicBool>) -> Result<bool> {
    ensure!(
        config.limit >= AROUND + FAULTS_LEAST,
        "{} s are not enough for one run",
        config.limit.as_secs()
    );
    let mut outcomes = Vec::new();
    for canary in &config.canaries {
        let outcome = try_one(config, *canary, interrupted)?;
        eprintln!("{outcome}");
        outcomes.push(outcome);
        // What was found is there when the next one is interrupted.
        std::fs::write(&config.markdown, table(config, &outcomes))?;
    }
    Ok(outcomes.iter().all(Outcome::is_right))
}

fn try_one(
    config: &CanariesConfig,
    canary: Option<Canary>,
    interrupted: &Arc<AtomicBool>,
) -> Result<Outcome> {
    let name = canary.map_or("none", Canary::name);
    let began = Instant::now();
    let mut outcome = Outcome::new(canary);
    for seed in config.seed.. {
        let left = config.limit.saturating_sub(began.elapsed() + AROUND);
        if left < FAULTS_LEAST {
            break;
        }
        eprintln!("canary {name}, seed {seed}");
        let folder = config.folder.join(format!("{name}-{seed}"));
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        let minutes = config.round.min(left).as_secs_f64() / 60.0;
        let run = run_config(config, canary, seed, minutes, folder.clone());
        let report = in_a_thread_of_its_own(&run, interrupted)?;
        std::fs::write(folder.join("report"), report.to_string())?;
        outcome.add(&report, &folder, began.elapsed());
        if !report.is_clean() {
            break;
        }
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(outcome)
}

fn run_config(
    config: &CanariesConfig,
    canary: Option<Canary>,
    seed: u64,
    minutes: f64,
    folder: PathBuf,
) -> RunConfig {
    let named = canary.map_or_else(String::new, |canary| format!(" --canary {canary}"));
    let rate = config.setting.rate;
    RunConfig {
        setting: Setting {
            canary: canary.map(|canary| canary.name().to_owned()),
            ..config.setting.clone()
        },
        seed,
        minutes,
        faults: FaultSet::All,
        only: Vec::new(),
        folder,
        totals: config.folder.join("runs.jsonl"),
        recovery_limit: config.recovery_limit,
        until_wrong: true,
        again: format!("foz-chaos run --seed {seed} --minutes {minutes} --rate {rate}{named}"),
    }
}

/// A run moves its thread to the clients' network, which ends with it.
fn in_a_thread_of_its_own(run: &RunConfig, interrupted: &Arc<AtomicBool>) -> Result<Report> {
    let (run, interrupted) = (run.clone(), Arc::clone(interrupted));
    let thread = std::thread::spawn(move || {
        let report = run::run(&run, interrupted)?;
        Ok(report)
    });
    thread
        .join()
        .map_err(|_| anyhow!("the run's thread panicked"))?
}

/// The brokers must have the canary, or the run says nothing of it.
pub(crate) fn check_switched_on(folder: &std::path::Path, canary: &str) -> Result<()> {
    for node in NodeName::all() {
        let path = folder.join(node.to_string()).join("log");
        let log = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let said = |line: &str| line.contains("a bug is switched on") && line.contains(canary);
        ensure!(
            log.lines().any(said),
            "{node} has no canary {canary}: build the broker with \
             `cargo build -p foz-server --features canaries`"
        );
    }
    Ok(())
}
