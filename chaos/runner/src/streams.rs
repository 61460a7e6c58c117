//! Kafka Streams with `exactly_once_v2`: processes count words (`chaos/streams`) while they and the brokers are killed,
//! and every count is compared with what was sent.

mod applications;
mod plan;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

pub(crate) use applications::Applications;

use crate::arguments::StreamsArguments;
use crate::clock::now_us;
use crate::plan::Plan;
use crate::report::{Report, Verdict};
use crate::run::Campaign;
use crate::totals::{FaultTotals, RunLine};
use crate::workload::{Program, WorkloadConfig};

/// `application.id`: its consumer group, and the begin of the names of its topics.
pub(crate) const APPLICATION: &str = "word-count";
/// What is counted.
pub(crate) const LINES_TOPIC: (&str, i32) = ("lines", 4);
/// What comes of it.
pub(crate) const COUNTS_TOPIC: (&str, i32) = ("counts", 4);
/// Two, so that tasks move when one is killed, and one that was stopped comes back too late.
const APPLICATIONS: u8 = 2;
/// No line may be given up: nobody would know what is right.
const DELIVERY_TIMEOUT_MS: u32 = 600_000;
/// A line waits for no fault longer than this, when all is healed.
const QUIET_LIMIT: Duration = Duration::from_secs(180);
/// Everything is read three times.
const CHECK_LIMIT: Duration = Duration::from_secs(180);
/// What the words say that is not wrong.
const NOTE: &str = "note ";

/// All runs, one after the other. False: one was not clean.
pub(crate) fn run_all(arguments: &StreamsArguments, interrupted: &Arc<AtomicBool>) -> Result<bool> {
    let first = arguments.seed.unwrap_or_else(|| now_us() % 1_000_000);
    let mut clean = 0;
    for seed in first..first + arguments.runs {
        let folder = arguments.folder.join(format!("streams-{seed}"));
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let folder = folder.canonicalize()?;
        // A run moves its thread to the clients' network, which ends with it.
        let (owned, at, stop) = (arguments.clone(), folder.clone(), Arc::clone(interrupted));
        let thread = std::thread::spawn(move || run(&owned, seed, &at, stop));
        let report = thread
            .join()
            .map_err(|_| anyhow!("the run's thread panicked"))??;
        std::fs::write(folder.join("report"), report.to_string())?;
        eprintln!("{report}");
        if report.is_clean() {
            clean += 1;
            if !arguments.keep {
                std::fs::remove_dir_all(&folder)?;
            }
        }
    }
    eprintln!("{clean} of {} runs counted exactly", arguments.runs);
    Ok(clean == arguments.runs)
}

fn run(
    arguments: &StreamsArguments,
    seed: u64,
    folder: &Path,
    interrupted: Arc<AtomicBool>,
) -> Result<Report> {
    let began = Instant::now();
    let setting = arguments.setting();
    let recovery_limit = Duration::from_secs(arguments.recovery_limit_s);
    let workload = WorkloadConfig {
        topics: [LINES_TOPIC, COUNTS_TOPIC]
            .map(|(name, count)| (name.to_owned(), count))
            .into(),
        rate: setting.rate,
        request_timeout_ms: setting.request_timeout_ms,
        delivery_timeout_ms: DELIVERY_TIMEOUT_MS,
        program: Program::Words {
            seed,
            limit: recovery_limit,
            applications: APPLICATIONS,
        },
    };
    let mut campaign = Campaign::begin(&setting, &workload, folder, recovery_limit, interrupted)?;
    let kinds = campaign.kinds(arguments.faults, &arguments.only)?;
    let until = Instant::now() + Duration::from_secs_f64(arguments.minutes * 60.0);
    if arguments.minutes > 0.0 {
        campaign.applications.break_from(now_us(), seed);
    }
    let mut settle = true;
    for step in Plan::new(seed, kinds) {
        if Instant::now() >= until || !campaign.wrong.is_empty() {
            break;
        }
        // Brokers go on dying while applications still recover, but not always: nothing would be counted.
        let settled =
            !(settle || step.settle) || (campaign.settle()? && campaign.recover_applications()?);
        if !settled {
            break;
        }
        settle = step.fault.kind.loses_data();
        if !campaign.step(&step)? {
            break;
        }
    }
    reckon(campaign, arguments, seed, began)
}

/// Heals everything, lets the last words be counted, and compares.
fn reckon(
    mut campaign: Campaign,
    arguments: &StreamsArguments,
    seed: u64,
    began: Instant,
) -> Result<Report> {
    eprintln!("healing everything and comparing the counts");
    campaign.heal_now()?;
    campaign.stage.heal()?;
    campaign.applications.heal()?;
    if campaign.wrong.is_empty() {
        campaign.settle()?;
    }
    let said = quiet_and_check(&mut campaign);
    let said = said.unwrap_or_else(|error| vec![format!("{error:#}")]);
    let (notes, wrong): (Vec<_>, Vec<_>) =
        said.into_iter().partition(|line| line.starts_with(NOTE));
    campaign.wrong.extend(wrong);
    campaign.look()?;
    let figures = campaign.workload.figures();
    let mut text = campaign.applications.end()?;
    for note in notes {
        text += &format!("\n  {}", note.trim_start_matches(NOTE));
    }
    if let Err(error) = campaign.workload.end() {
        campaign
            .wrong
            .push(format!("the words did not end: {error:#}"));
    }
    let unstopped = campaign.stage.stop()?;
    campaign.wrong.extend(unstopped);
    let report = Report {
        subject: campaign.stage.subject.name().text(),
        seed,
        seconds: began.elapsed().as_secs(),
        faults: campaign.log,
        acked: figures.acked,
        failed: figures.failed,
        wrong: campaign.wrong,
        verdict: Verdict {
            text,
            ..Verdict::default()
        },
        again: arguments.again(seed),
    };
    let line = RunLine {
        subject: report.subject.to_owned(),
        seed,
        seconds: report.seconds,
        faults: FaultTotals::of(&report.faults),
        acked: report.acked,
        unknown: report.failed,
        wrong: report.wrong.len() as u64,
        anomalies: 0,
        canary: arguments.setting().canary,
    };
    line.append_to(&arguments.folder.join("streams.jsonl"))?;
    Ok(report)
}

fn quiet_and_check(campaign: &mut Campaign) -> Result<Vec<String>> {
    let mut said = campaign.workload.command("stop", "quiet", QUIET_LIMIT)?;
    let limit = campaign.recovery_limit() + CHECK_LIMIT;
    said.extend(campaign.workload.command("check", "checked", limit)?);
    if said.iter().any(|line| !line.starts_with(NOTE)) {
        campaign.workload.describe();
    }
    Ok(said)
}
