//! The processes that count, and what is done to them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::plan::{ApplicationFault, ApplicationFaultKind, ApplicationPlan};
use super::{APPLICATION, COUNTS_TOPIC, LINES_TOPIC};
use crate::jars::Jars;
use crate::layout::{Place, bootstrap};
use crate::network::Network;
use crate::workload::Program;

/// With little memory, and soon at work.
const JVM: [&str; 6] = [
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
];
/// A thread that was replaced writes it.
const REPLACED: &str = "thread replaced: ";

/// All of them; none in runs without. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Applications {
    applications: Vec<Application>,
    plan: Option<ApplicationPlan>,
    next: Option<(u64, ApplicationFault)>,
    /// What is to be healed, and when.
    under_way: Option<(u64, ApplicationFault)>,
    /// Since when they have had time to go on; the next fault waits until they do.
    healed_us: Option<u64>,
    faults: BTreeMap<ApplicationFaultKind, usize>,
}

#[derive(Debug)]
struct Application {
    name: String,
    words: Vec<String>,
    log: PathBuf,
    state: PathBuf,
    child: Option<Child>,
}

impl Applications {
    /// Starts as many as the program has, each with a state of its own in `folder`.
    pub(crate) fn start(
        program: &Program,
        compiled: &Jars,
        network: &Network,
        folder: &Path,
    ) -> Result<Self> {
        let count = match program {
            Program::Words { applications, .. } => *applications,
            Program::History { .. } => 0,
        };
        let mut applications = Vec::new();
        for index in 0..count {
            let name = format!("application-{index}");
            let state = folder.join(&name);
            let words = compiled.command(&JVM, "dev.foz.chaos.streams.WordCount");
            let settings = [
                format!("bootstrap={}", bootstrap()),
                format!("application={APPLICATION}"),
                format!("client={name}"),
                format!("lines={}", LINES_TOPIC.0),
                format!("counts={}", COUNTS_TOPIC.0),
                format!("state={}", state.display()),
            ];
            let mut application = Application {
                words: [network.prefix(Place::Clients), words, settings.into()].concat(),
                log: folder.join(format!("{name}.log")),
                state,
                name,
                child: None,
            };
            application.start()?;
            applications.push(application);
        }
        Ok(Self {
            applications,
            plan: None,
            next: None,
            under_way: None,
            healed_us: None,
            faults: BTreeMap::new(),
        })
    }

    /// Faults from now on.
    pub(crate) fn break_from(&mut self, now_us: u64, seed: u64) {
        let mut plan = ApplicationPlan::new(seed, self.applications.len() as u8);
        self.next = draw(&mut plan, now_us);
        self.plan = Some(plan);
    }

    /// Does what is due, given when all outputs were written to; returns those that ended and were not meant to, which are started again.
    pub(crate) fn look(&mut self, now_us: u64, written_us: u64) -> Result<Vec<String>> {
        if let Some((_, fault)) = self.under_way.take_if(|(at_us, _)| *at_us <= now_us) {
            self.undo(&fault)?;
            self.healed_us = Some(now_us);
        }
        if self
            .healed_us
            .take_if(|healed_us| written_us > *healed_us)
            .is_some()
        {
            self.next = self.plan.as_mut().and_then(|plan| draw(plan, now_us));
        }
        if let Some((_, fault)) = self.next.take_if(|(at_us, _)| *at_us <= now_us) {
            self.strike(&fault)?;
            *self.faults.entry(fault.kind).or_default() += 1;
            self.under_way = Some((now_us + fault.hold_ms * 1_000, fault));
        }
        let mut ends = Vec::new();
        for application in &mut self.applications {
            let Some(child) = &mut application.child else {
                continue;
            };
            if let Some(status) = child.try_wait()? {
                ends.push(format!(
                    "{} ended with {status}; see {}",
                    application.name,
                    application.log.display()
                ));
                application.start()?;
            }
        }
        Ok(ends)
    }

    /// No more faults, and all run.
    pub(crate) fn heal(&mut self) -> Result<()> {
        self.plan = None;
        self.next = None;
        if let Some((_, fault)) = self.under_way.take() {
            self.undo(&fault)?;
        }
        Ok(())
    }

    /// Ends all, and says what happened to them.
    pub(crate) fn end(&mut self) -> Result<String> {
        let mut replaced = 0;
        for application in &mut self.applications {
            application.kill()?;
            let log = std::fs::read(&application.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            replaced += log
                .lines()
                .filter(|line| line.starts_with(REPLACED))
                .count();
        }
        let mut text = String::new();
        for (kind, times) in &self.faults {
            let _ = writeln!(text, "  {:28} {times:2}", kind.name());
        }
        let _ = write!(
            text,
            "  {replaced} threads of applications failed and were replaced"
        );
        Ok(text)
    }

    fn strike(&mut self, fault: &ApplicationFault) -> Result<()> {
        eprintln!("{} of {}", fault.kind.name(), index_name(fault.index));
        for application in struck(&mut self.applications, fault) {
            match fault.kind {
                ApplicationFaultKind::Stop => application.signal(Signal::STOP),
                ApplicationFaultKind::Kill => application.kill()?,
                ApplicationFaultKind::KillAndEmpty => {
                    application.kill()?;
                    if application.state.exists() {
                        std::fs::remove_dir_all(&application.state)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn undo(&mut self, fault: &ApplicationFault) -> Result<()> {
        for application in struck(&mut self.applications, fault) {
            match fault.kind {
                ApplicationFaultKind::Stop => application.signal(Signal::CONT),
                _ => application.start()?,
            }
        }
        Ok(())
    }
}

impl Application {
    /// What it says is added to its log.
    fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let (program, arguments) = self.words.split_first().context("a command has words")?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        self.child = Some(child);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }
}

impl Drop for Applications {
    fn drop(&mut self) {
        for application in &mut self.applications {
            let _ = application.kill();
        }
    }
}

fn draw(plan: &mut ApplicationPlan, now_us: u64) -> Option<(u64, ApplicationFault)> {
    let fault = plan.next()?;
    Some((now_us + fault.after_ms * 1_000, fault))
}

fn struck<'a>(
    applications: &'a mut [Application],
    fault: &ApplicationFault,
) -> impl Iterator<Item = &'a mut Application> {
    let index = fault.index.map(usize::from);
    let numbered = applications.iter_mut().enumerate();
    numbered
        .filter(move |(number, _)| index.is_none_or(|index| index == *number))
        .map(|(_, application)| application)
}

fn index_name(index: Option<u8>) -> String {
    index.map_or_else(
        || "all applications".to_owned(),
        |index| format!("application {index}"),
    )
}
