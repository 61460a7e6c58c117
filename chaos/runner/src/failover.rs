//! Measures how long clients wait: one fault at a time, on a cluster that is well, so many rounds of each.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::clock::now_us;
use crate::fault::{Fault, Kind};
use crate::history;
use crate::layout::NodeName;
use crate::outage::{Spread, longest_us};
use crate::run::{Campaign, Setting};
use crate::wire::NewTopic;

/// A stopped or cut node stays so until clients go on without it, and not longer than this.
const WAIT_LIMIT: Duration = Duration::from_secs(45);
/// After clients went on, it is watched for so long whether they keep on.
const AFTER: Duration = Duration::from_secs(2);
const CREATE_ATTEMPT: Duration = Duration::from_millis(500);

/// What is measured.
const KINDS: [Kind; 5] = [
    Kind::KillLeader,
    Kind::StopLeader,
    Kind::IsolateLeader,
    Kind::HandOver,
    Kind::KillActiveController,
];

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct FailoverConfig {
    pub(crate) setting: Setting,
    pub(crate) rounds: u64,
    pub(crate) only: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) recovery_limit: Duration,
}

/// One fault.
struct Round {
    kind: Kind,
    partitions: Vec<(String, i32)>,
    begin_us: u64,
    until_us: u64,
    /// Until a topic could be made.
    created_us: Option<u64>,
}

/// Runs all rounds and returns the table.
pub(crate) fn run(config: &FailoverConfig, interrupted: Arc<AtomicBool>) -> Result<String> {
    let mut campaign = Campaign::begin(
        &config.setting,
        &config.setting.workload(&config.folder, 0),
        &config.folder,
        config.recovery_limit,
        interrupted,
    )?;
    let wanted =
        |kind: &Kind| config.only.is_empty() || config.only.iter().any(|name| name == kind.name());
    let mut rounds = Vec::new();
    for number in 0..config.rounds {
        for (index, kind) in (0..).zip(KINDS.into_iter().filter(wanted)) {
            ensure!(campaign.settle()?, "{}", campaign.wrong.join("\n"));
            std::thread::sleep(Duration::from_millis(500));
            rounds.push(round(
                &mut campaign,
                kind,
                number,
                number * 10 + index + 1,
                config.setting.replicas,
            )?);
        }
    }
    campaign.workload.end()?;
    let acks = history::ack_times(&config.folder.join("clients.jsonl"))?;
    let mut text = String::new();
    for kind in KINDS.into_iter().filter(wanted) {
        let of_kind = || rounds.iter().filter(|round| round.kind == kind);
        let outages: Vec<Option<u64>> = of_kind()
            .map(|round| match kind {
                Kind::KillActiveController => round.created_us,
                _ => longest_us(&acks, &round.partitions, round.begin_us, round.until_us),
            })
            .collect();
        let known: Vec<u64> = outages.iter().copied().flatten().collect();
        let what = match kind {
            Kind::KillActiveController => "until a topic is made",
            _ => "without acknowledgement",
        };
        let spread = Spread::of(&known).unwrap_or(Spread {
            p50: 0,
            p99: 0,
            max: 0,
        });
        let _ = writeln!(
            text,
            "{:24} {what}: p50 {} ms, p99 {} ms, max {} ms of {} rounds, {} without end",
            kind.name(),
            spread.p50 / 1_000,
            spread.p99 / 1_000,
            spread.max / 1_000,
            outages.len(),
            outages.len() - known.len()
        );
    }
    Ok(text)
}

fn round(campaign: &mut Campaign, kind: Kind, number: u64, id: u64, replicas: u8) -> Result<Round> {
    let fault = Fault {
        id,
        kind,
        // Another node each time.
        pick: number,
        hold_ms: WAIT_LIMIT.as_millis() as u64,
        away_ms: WAIT_LIMIT.as_millis() as u64,
        percent: 0,
        from_clients: true,
    };
    campaign.inject(&fault)?;
    let recorded = campaign.log.faults.last().cloned();
    let recorded = recorded.filter(|recorded| recorded.id == id);
    let (begin_us, partitions) = recorded
        .map(|recorded| (recorded.begin_us, recorded.partitions))
        .unwrap_or_default();
    ensure!(begin_us > 0, "there is nobody to strike");
    let created_us = match kind {
        Kind::KillActiveController => Some(until_created(campaign, id, begin_us, replicas)?),
        _ => None,
    };
    await_resumed(campaign, &partitions, begin_us)?;
    let until_us = now_us();
    campaign.heal_now()?;
    campaign.recover()?;
    Ok(Round {
        kind,
        partitions,
        begin_us,
        until_us,
        created_us,
    })
}

/// Until acknowledgements come on all these partitions and have come for a while.
fn await_resumed(
    campaign: &mut Campaign,
    partitions: &[(String, i32)],
    begin_us: u64,
) -> Result<()> {
    let deadline = Instant::now() + WAIT_LIMIT;
    let indexes: Vec<usize> = partitions
        .iter()
        .filter_map(|partition| {
            campaign
                .partitions
                .iter()
                .position(|other| other == partition)
        })
        .collect();
    let mut since_us = begin_us;
    // What the struck node had sent already may still arrive: only what comes later counts.
    let mut resumed: Option<Instant> = None;
    while Instant::now() < deadline {
        campaign.tick()?;
        let silent = campaign
            .workload
            .figures()
            .silent_since(campaign.partitions.len(), since_us);
        if indexes.iter().all(|index| !silent.contains(index)) {
            let since = *resumed.get_or_insert_with(Instant::now);
            if since.elapsed() > AFTER {
                return Ok(());
            }
            since_us = now_us().saturating_sub(500_000).max(begin_us);
        } else {
            resumed = None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn until_created(campaign: &mut Campaign, id: u64, begin_us: u64, replicas: u8) -> Result<u64> {
    let topic = NewTopic {
        name: format!("made-{id}"),
        partitions: 1,
        replicas: i16::from(replicas),
        configs: Vec::new(),
    };
    let brokers: Vec<NodeName> = NodeName::brokers().collect();
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        campaign.look()?;
        let observer = &campaign.stage.observer;
        match observer.create_topic_within(&topic, &brokers, CREATE_ATTEMPT) {
            Ok(()) => return Ok(now_us() - begin_us),
            Err(error) => ensure!(Instant::now() < deadline, "{}: {error:#}", topic.name),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
