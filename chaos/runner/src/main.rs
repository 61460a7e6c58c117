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
//!   `workload` (the clients, in Java), `run`, `failover` and `streams` (the order of things).
//!
//! Invariants: every script ends with everything healed. A fault that costs a copy of the data begins with
//! all replicas in sync, strikes one node, and nothing else happens until all are in sync again: else the
//! loss would be the harness's. A run that is killed leaves namespaces that the next one removes; its
//! processes die with it.
//!
//! Start reading at `plan.rs`, `fault.rs`, then `run.rs`. It must run as root.

mod arguments;
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
mod streams;
mod subject;
mod totals;
mod verdict;
mod wire;
mod workload;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use rustix::process::geteuid;

use crate::arguments::{Arguments, What};
use crate::failover::FailoverConfig;
use crate::run::{RunConfig, Setting};

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
        What::Streams(arguments) => {
            let interrupted = prepare_machine()?;
            streams::run_all(&arguments, &interrupted)
        }
        What::Failover { common, rounds } => {
            let interrupted = prepare_machine()?;
            let name = format!("failover-{}", common.subject.text());
            let config = FailoverConfig {
                // So that its figures can be compared with those of earlier versions.
                setting: Setting {
                    transaction_version: Some(0),
                    ..common.setting()
                },
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

/// The nodes' folders; histories and reports stay.
pub(crate) fn remove_data(folder: &std::path::Path) -> Result<()> {
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
