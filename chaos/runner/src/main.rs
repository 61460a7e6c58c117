//! `foz-chaos`: real brokers, real faults, one seed.
//!
//! A run starts three controllers and three brokers, Foz's or Apache Kafka's, each in a network namespace of
//! its own; drives them with idempotent producers and with consumers; breaks them as the seed says; heals
//! them; reads everything back through every broker and from every disk; and lets the judge (`foz-judge`)
//! say whether what was acknowledged survived.
//!
//! * What decides is plain: `plan` draws faults from the seed, `fault` turns each into a script of timed acts,
//!   `fault_log`, `outage` and `report` say what it came to.
//! * What acts is thin: `network` (namespaces, rules of iptables), `stage` (processes, signals, strace, files),
//!   `workload` (the clients, in Java), `run` and `failover` (the order of things).
//!
//! Invariants: every script ends with everything healed. A fault that costs a copy of the data begins with
//! all replicas in sync, strikes one node, and nothing else happens until all are in sync again: else the
//! loss would be the harness's. A run that is killed leaves namespaces that the next one removes; its
//! processes die with it.
//!
//! Start reading at `plan.rs`, `fault.rs`, then `run.rs`. It must run as root.

mod canaries;
mod clock;
mod external;
mod failover;
mod fault;
mod fault_log;
mod history;
mod jars;
mod layout;
mod live;
mod network;
mod outage;
mod plan;
mod replicas;
mod report;
mod run;
mod schedule;
mod seed;
mod stage;
mod subject;
mod totals;
mod verdict;
mod wire;
mod workload;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use foz_canary::{Canary, UnknownCanary};
use rustix::process::geteuid;

use crate::canaries::CanariesConfig;
use crate::failover::FailoverConfig;
use crate::fault::FaultSet;
use crate::run::{RunConfig, Setting};
use crate::subject::SubjectName;

/// Breaks a cluster on purpose and says whether it kept its promise.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Faults from a seed, then the judge. Exit status 1: something was lost, doubled, reordered, or stuck.
    Run {
        #[command(flatten)]
        common: Common,
        /// Decides the faults; drawn from the clock when it is not given.
        #[arg(long)]
        seed: Option<u64>,
        /// How long faults are injected.
        #[arg(long, default_value_t = 5.0)]
        minutes: f64,
        /// Which faults.
        #[arg(long, value_enum, default_value_t = FaultSet::All)]
        faults: FaultSet,
    },
    /// How long clients wait when a leader or the active controller goes.
    Failover {
        #[command(flatten)]
        common: Common,
        /// How often each.
        #[arg(long, default_value_t = 10)]
        rounds: u64,
    },
    /// Whether runs find the bugs that were put in on purpose. Exit status 1: one was missed, or the broker
    /// without any is not clean.
    Canaries(CanaryArguments),
    /// Adds up the runs of such files (`runs.jsonl` in the folder of the runs).
    Sum {
        /// One line for each run.
        files: Vec<PathBuf>,
    },
    /// Removes what a run that was killed left.
    Sweep,
}

#[derive(Debug, Clone, Args)]
struct Common {
    /// Whom to test.
    #[arg(long, value_enum, default_value_t = SubjectName::Foz)]
    subject: SubjectName,
    /// The foz-broker to test.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// FOZ_CANARY of the brokers: a bug put in on purpose, in a build that has it.
    #[arg(long)]
    canary: Option<String>,
    /// Records a second.
    #[arg(long, default_value_t = 4_000)]
    rate: u32,
    /// Of each partition; 1 is for trying a single replica's own promise.
    #[arg(long, default_value_t = layout::BROKERS, value_parser = clap::value_parser!(u8).range(1..=3))]
    replicas: u8,
    /// Producers ask another broker when one has not answered for so long.
    #[arg(long, default_value_t = 1_000)]
    request_timeout_ms: u32,
    /// Only these kinds of the set, commas between.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Everything must be well so long after a fault was healed.
    #[arg(long, default_value_t = 90)]
    recovery_limit_s: u64,
    /// Holds data, logs and histories, in a folder of their own for each run.
    #[arg(long, default_value = "target/chaos")]
    folder: PathBuf,
    /// Keeps the data of a clean run, too.
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Clone, Args)]
struct CanaryArguments {
    /// The foz-broker to test, built with the feature `canaries`.
    #[arg(long)]
    broker: PathBuf,
    /// Of the first run; each that follows has the next number.
    #[arg(long)]
    seed: u64,
    /// For each canary, all its runs together.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Faults of one run.
    #[arg(long, default_value_t = 2.5)]
    round_minutes: f64,
    /// Only these, commas between; `none` is the broker without any.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Records a second.
    #[arg(long, default_value_t = 4_000)]
    rate: u32,
    /// Everything must be well so long after a fault was healed.
    #[arg(long, default_value_t = 60)]
    recovery_limit_s: u64,
    /// Holds a folder for each run that found something, and the table.
    #[arg(long, default_value = "target/canaries")]
    folder: PathBuf,
}

/// Stands for the broker without a canary.
const NO_CANARY: &str = "none";

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("foz-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn start(arguments: Arguments) -> Result<bool> {
    match arguments.command {
        What::Sum { files } => {
            let text = totals::sum(&files)?;
            write!(std::io::stdout(), "{text}")?;
            Ok(true)
        }
        What::Sweep => {
            prepare_machine()?;
            network::sweep().map(|()| true)
        }
        What::Run {
            common,
            seed,
            minutes,
            faults,
        } => {
            let interrupted = prepare_machine()?;
            let seed = seed.unwrap_or_else(|| clock::now_us() % 1_000_000);
            let folder = common.run_folder(&format!("{}-{seed}", common.subject.text()))?;
            let config = RunConfig {
                setting: common.setting(),
                seed,
                minutes,
                faults,
                only: common.only.clone(),
                folder,
                totals: common.folder.join("runs.jsonl"),
                recovery_limit: Duration::from_secs(common.recovery_limit_s),
                until_wrong: false,
                again: common.again(seed, minutes, faults),
            };
            let report = run::run(&config, interrupted)?;
            let text = report.to_string();
            std::fs::write(config.folder.join("report"), &text)?;
            writeln!(std::io::stdout(), "{text}")?;
            if report.is_clean() && !common.keep {
                remove_data(&config.folder)?;
            }
            Ok(report.is_clean())
        }
        What::Canaries(arguments) => {
            let config = arguments.config()?;
            let interrupted = prepare_machine()?;
            let right = canaries::run(&config, &interrupted)?;
            let text = std::fs::read_to_string(&config.markdown)?;
            write!(std::io::stdout(), "{text}")?;
            Ok(right)
        }
        What::Failover { common, rounds } => {
            let interrupted = prepare_machine()?;
            let name = format!("failover-{}", common.subject.text());
            let config = FailoverConfig {
                setting: common.setting(),
                rounds,
                only: common.only.clone(),
                folder: common.run_folder(&name)?,
                recovery_limit: Duration::from_secs(common.recovery_limit_s),
            };
            let text = failover::run(&config, interrupted)?;
            write!(std::io::stdout(), "{}\n{text}", common.subject.text())?;
            if !common.keep {
                remove_data(&config.folder)?;
            }
            Ok(true)
        }
    }
}

/// Whether everything is there that a run needs; what it returns becomes true when the run is to end.
fn prepare_machine() -> Result<Arc<AtomicBool>> {
    ensure!(
        geteuid().is_root(),
        "this needs root: it makes network namespaces"
    );
    external::require(&[
        ("ip", "iproute2"),
        ("iptables-restore", "iptables"),
        ("nsenter", "util-linux"),
        ("setpriv", "util-linux"),
        ("strace", "strace"),
        ("javac", "default-jdk-headless"),
    ])?;
    let interrupted = Arc::new(AtomicBool::new(false));
    watch_signals(Arc::clone(&interrupted))?;
    Ok(interrupted)
}

impl Common {
    fn setting(&self) -> Setting {
        Setting {
            subject: self.subject,
            broker: self.broker.clone(),
            canary: self.canary.clone(),
            rate: self.rate,
            request_timeout_ms: self.request_timeout_ms,
            replicas: self.replicas,
        }
    }

    /// An empty folder; an earlier run of the same name goes.
    fn run_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder.canonicalize()?)
    }

    fn again(&self, seed: u64, minutes: f64, faults: FaultSet) -> String {
        use clap::ValueEnum;
        let set = faults.to_possible_value();
        let set = set.map_or_else(String::new, |value| value.get_name().to_owned());
        let mut line = format!(
            "foz-chaos run --subject {} --seed {seed} --minutes {minutes} --faults {set} --rate {}",
            self.subject.text(),
            self.rate
        );
        if self.replicas != layout::BROKERS {
            line += &format!(" --replicas {}", self.replicas);
        }
        if let Some(broker) = &self.broker {
            line += &format!(" --broker {}", broker.display());
        }
        if let Some(canary) = &self.canary {
            line += &format!(" --canary {canary}");
        }
        if !self.only.is_empty() {
            line += &format!(" --only {}", self.only.join(","));
        }
        line
    }
}

impl CanaryArguments {
    fn config(&self) -> Result<CanariesConfig> {
        std::fs::create_dir_all(&self.folder)?;
        let folder = self.folder.canonicalize()?;
        Ok(CanariesConfig {
            setting: Setting {
                subject: SubjectName::Foz,
                broker: Some(self.broker.clone()),
                canary: None,
                rate: self.rate,
                request_timeout_ms: 1_000,
                replicas: layout::BROKERS,
            },
            seed: self.seed,
            limit: Duration::from_secs_f64(self.minutes * 60.0),
            round: Duration::from_secs_f64(self.round_minutes * 60.0),
            canaries: chosen(&self.only)?,
            markdown: folder.join("canaries.md"),
            folder,
            recovery_limit: Duration::from_secs(self.recovery_limit_s),
        })
    }
}

/// All, and the broker without any, when none is named.
fn chosen(names: &[String]) -> Result<Vec<Option<Canary>>, UnknownCanary> {
    if names.is_empty() {
        let all = Canary::ALL.iter().copied().map(Some);
        return Ok(all.chain([None]).collect());
    }
    let named = names.iter().map(|name| match name.as_str() {
        NO_CANARY => Ok(None),
        name => name.parse().map(Some),
    });
    named.collect()
}

/// The nodes' folders; histories and reports stay.
fn remove_data(folder: &std::path::Path) -> Result<()> {
    for name in layout::NodeName::all() {
        let node = folder.join(name.to_string());
        if node.exists() {
            std::fs::remove_dir_all(node)?;
        }
    }
    Ok(())
}

/// Ctrl-C and SIGTERM end the run in order: namespaces and processes go.
fn watch_signals(interrupted: Arc<AtomicBool>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            interrupted.store(true, Ordering::Relaxed);
        });
    });
    Ok(())
}
