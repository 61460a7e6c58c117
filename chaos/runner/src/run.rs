//! One run: a cluster, its clients, the faults of a seed, and the reckoning at the end.

mod reckoning;
mod setting;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

pub(crate) use setting::{Setting, prepare_topics};

use crate::canaries::check_switched_on;
use crate::clock::now_us;
use crate::fault::{Fault, FaultSet, Kind, View};
use crate::fault_log::FaultLog;
use crate::live::Live;
use crate::plan::{Plan, Step};
use crate::report::Report;
use crate::schedule::{Due, Schedule};
use crate::stage::{Performed, Stage};
use crate::streams::Applications;
use crate::workload::{Workload, WorkloadConfig};

const TICK: Duration = Duration::from_millis(10);
/// An act that was not possible is tried again after this.
const AGAIN_US: u64 = 100_000;
/// For JVMs to start on a machine that has more to do, and for applications to divide their tasks.
const BEGIN_LIMIT: Duration = Duration::from_secs(240);
/// How often what takes its time is looked at.
const LOOK_PAUSE: Duration = Duration::from_millis(150);

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct RunConfig {
    pub(crate) setting: Setting,
    pub(crate) seed: u64,
    pub(crate) minutes: f64,
    pub(crate) faults: FaultSet,
    /// Restricts the set, when there are any.
    pub(crate) only: Vec<String>,
    pub(crate) folder: PathBuf,
    /// One line for each run is added to this file.
    pub(crate) totals: PathBuf,
    /// Everything must be well again so long after a fault.
    pub(crate) recovery_limit: Duration,
    /// Ends as soon as something is certainly wrong, without reading everything back.
    pub(crate) until_wrong: bool,
    /// The command that does it again.
    pub(crate) again: String,
}

/// A run under way.
pub(crate) struct Campaign {
    pub(crate) stage: Stage,
    pub(crate) workload: Workload,
    /// None in a run that writes a history.
    pub(crate) applications: Applications,
    pub(crate) topics: Vec<String>,
    pub(crate) partitions: Vec<(String, i32)>,
    pub(crate) log: FaultLog,
    pub(crate) wrong: Vec<String>,
    schedule: Schedule,
    interrupted: Arc<AtomicBool>,
    recovery_limit: Duration,
    replicas: u8,
    /// The first of the partitions, which brokers alone keep going.
    led: usize,
}

/// Runs it, and leaves the histories in the folder.
pub(crate) fn run(config: &RunConfig, interrupted: Arc<AtomicBool>) -> Result<Report> {
    let began = Instant::now();
    let mut campaign = Campaign::begin(
        &config.setting,
        &config.setting.workload(&config.folder, config.seed),
        &config.folder,
        config.recovery_limit,
        interrupted,
    )?;
    let kinds = campaign.kinds(config.faults, &config.only)?;
    let until = Instant::now() + Duration::from_secs_f64(config.minutes * 60.0);
    let mut settle = true;
    let mut live = match config.until_wrong {
        true => Some(Live::open(&config.folder.join("clients.jsonl"))?),
        false => None,
    };
    for step in Plan::new(config.seed, kinds) {
        if Instant::now() >= until {
            break;
        }
        if (settle || step.settle) && !campaign.settle()? {
            break;
        }
        settle = step.fault.kind.loses_data();
        if !campaign.step(&step)? {
            break;
        }
        if let Some(live) = &mut live
            && (!campaign.wrong.is_empty() || !live.look()?.passed())
        {
            break;
        }
    }
    if let Some(live) = &mut live {
        let judged = live.look()?;
        if !judged.passed() || !campaign.wrong.is_empty() {
            return campaign.break_off(config, began, &judged);
        }
    }
    campaign.reckon(config, began)
}

impl Campaign {
    /// Starts cluster and clients; returns when every partition is written to.
    pub(crate) fn begin(
        setting: &Setting,
        workload_config: &WorkloadConfig,
        folder: &std::path::Path,
        recovery_limit: Duration,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let subject = setting.subject()?;
        // The stage takes this thread to the clients' network, where Maven has nobody to ask.
        let compiled = workload_config.program.compile(folder)?;
        eprintln!(
            "starting 3 controllers and 3 brokers in {}",
            folder.display()
        );
        let stage = Stage::build(subject, folder)?;
        prepare_topics(&stage, workload_config, setting.replicas, &interrupted)?;
        if let Some(canary) = &setting.canary {
            check_switched_on(folder, canary)?;
        }
        let applications =
            Applications::start(&workload_config.program, &compiled, &stage.network, folder)?;
        let workload = Workload::start(workload_config, &compiled, &stage.network, folder)?;
        let mut campaign = Self {
            stage,
            workload,
            applications,
            topics: workload_config
                .topics
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
            partitions: workload_config.partitions(),
            log: FaultLog::default(),
            wrong: Vec::new(),
            schedule: Schedule::default(),
            interrupted,
            recovery_limit,
            replicas: setting.replicas,
            led: workload_config.led(),
        };
        let started = now_us();
        let all = campaign.partitions.len();
        if !campaign.await_acks(all, started, BEGIN_LIMIT)? {
            campaign.workload.describe();
            let log = folder.join("workload.log");
            bail!("the clients write nothing; see {}", log.display());
        }
        Ok(campaign)
    }

    pub(crate) fn recovery_limit(&self) -> Duration {
        self.recovery_limit
    }

    /// Those of a set that this subject is not spared.
    pub(crate) fn kinds(&self, faults: FaultSet, only: &[String]) -> Result<Vec<Kind>> {
        let mut kinds = faults.kinds();
        kinds.retain(|kind| only.is_empty() || only.iter().any(|name| name == kind.name()));
        kinds.retain(|kind| self.stage.subject.spares(*kind).is_none());
        ensure!(!kinds.is_empty(), "no kind of fault is left to draw from");
        Ok(kinds)
    }

    /// Waits until every replica of every partition is in sync. False: it took too long, which is wrong.
    pub(crate) fn settle(&mut self) -> Result<bool> {
        let began = now_us();
        let deadline = Instant::now() + self.recovery_limit;
        loop {
            self.look()?;
            let unsettled =
                self.stage
                    .observer
                    .unsettled(&self.topics, self.partitions.len(), self.replicas);
            if unsettled.is_empty() {
                self.log.resyncs_us.push(now_us() - began);
                return Ok(true);
            }
            if Instant::now() > deadline {
                let what = unsettled.join("; ");
                self.stuck(&format!("not all are in sync: {what}"));
                return Ok(false);
            }
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    /// One fault and its companion, from the gap before to the recovery after. False: no recovery.
    pub(crate) fn step(&mut self, step: &Step) -> Result<bool> {
        let begin = Instant::now() + Duration::from_millis(step.gap_ms);
        while Instant::now() < begin {
            self.look()?;
            std::thread::sleep(TICK);
        }
        self.inject(&step.fault)?;
        let mut companion = step.companion.clone();
        let began = Instant::now();
        while !self.schedule.is_empty() || companion.is_some() {
            self.tick()?;
            if let Some((after_ms, fault)) = &companion
                && began.elapsed() >= Duration::from_millis(*after_ms)
            {
                self.inject(fault)?;
                companion = None;
            }
            std::thread::sleep(TICK);
        }
        self.recover()
    }

    /// Waits until every partition is written to again. False: it took too long, which is wrong.
    pub(crate) fn recover(&mut self) -> Result<bool> {
        let healed = now_us();
        let recovered = self.await_written(self.led, healed)?;
        if recovered {
            self.log.recoveries_us.push(now_us() - healed);
        }
        Ok(recovered)
    }

    /// The same, for what the applications write, too.
    pub(crate) fn recover_applications(&mut self) -> Result<bool> {
        self.await_written(self.partitions.len(), now_us())
    }

    fn await_written(&mut self, partitions: usize, healed: u64) -> Result<bool> {
        if self.await_acks(partitions, healed, self.recovery_limit)? {
            return Ok(true);
        }
        let silent = self.workload.figures().silent_since(partitions, healed);
        let names: Vec<String> = silent
            .into_iter()
            .map(|index| format!("{}-{}", self.partitions[index].0, self.partitions[index].1))
            .collect();
        self.stuck(&format!("nothing is acknowledged on {}", names.join(", ")));
        Ok(false)
    }

    /// Strikes: looks whom the fault finds, does the first acts, and puts the others into the schedule.
    pub(crate) fn inject(&mut self, fault: &Fault) -> Result<()> {
        let view = self.view();
        let Some(script) = fault.script(&view) else {
            return Ok(());
        };
        let targets: Vec<String> = script.targets.iter().map(ToString::to_string).collect();
        eprintln!(
            "fault {}: {} on {}",
            fault.id,
            fault.kind.name(),
            targets.join(", ")
        );
        let now = now_us();
        self.log.begin(fault, &script, &view, now);
        self.schedule.begin(fault, &script, now);
        self.tick()
    }

    /// The cluster at this moment, with what the clients have in flight.
    pub(crate) fn view(&self) -> View {
        let running: Vec<_> = self.stage.running().collect();
        let mut view = self.stage.observer.view(&self.topics, &running);
        let figures = self.workload.figures().partitions;
        for (partition, figures) in self.partitions.iter().zip(figures) {
            if let Some(seen) = view.partitions.get_mut(partition) {
                seen.in_flight = figures.in_flight;
            }
        }
        view
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self) -> Result<()> {
        while let Some(due) = self.schedule.pop(now_us()) {
            match self.stage.perform(due.fault, due.pick, &due.act)? {
                Performed::Done => {}
                Performed::Note(note) => self.log.note(due.fault, note),
                Performed::Wrong(wrong) => self.wrong(format!("fault {}: {wrong}", due.fault)),
                Performed::Again => {
                    // What comes after it in the same fault waits for it.
                    self.schedule.put(Due {
                        at_us: now_us() + AGAIN_US,
                        ..due.clone()
                    });
                }
            }
            if !self.schedule.holds(due.fault) {
                self.log.end(due.fault, now_us());
            }
        }
        self.look()
    }

    /// Makes everything that is still to be done for a fault due now, and does it.
    pub(crate) fn heal_now(&mut self) -> Result<()> {
        while !self.schedule.is_empty() {
            self.schedule.hurry(now_us());
            self.tick()?;
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// Whether the clients and the processes are as they should be.
    pub(crate) fn look(&mut self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        for complaint in self.workload.check()? {
            self.wrong(format!("workload: {complaint}"));
        }
        for end in self.stage.unexpected_ends()? {
            self.wrong(end);
        }
        let newest = self.workload.figures().written_by_all(self.led);
        for end in self.applications.look(now_us(), newest)? {
            self.wrong(end);
        }
        Ok(())
    }

    /// Waits until the first of the partitions have been acknowledged after `since_us`.
    fn await_acks(&mut self, partitions: usize, since_us: u64, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            self.look()?;
            let figures = self.workload.figures();
            if figures.at_us > since_us && figures.silent_since(partitions, since_us).is_empty() {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(TICK);
        }
    }

    fn stuck(&mut self, what: &str) {
        self.workload.describe();
        let seconds = self.recovery_limit.as_secs();
        let mut text = format!("{seconds} s after everything was healed, {what}");
        for node in crate::layout::NodeName::all() {
            text += &format!("\n--- {node}\n{}", self.stage.log_tail(node));
        }
        self.wrong(text);
    }

    fn wrong(&mut self, wrong: String) {
        eprintln!("WRONG: {wrong}");
        self.wrong.push(wrong);
    }
}
