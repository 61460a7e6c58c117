//! The end of a run: everything healed, read, stopped, compared and judged.

use std::time::{Duration, Instant};

use anyhow::Result;
use foz_judge::Event;
use foz_judge::event::{Note, Topic};

use super::{Campaign, RunConfig};
use crate::clock::now_us;
use crate::fault_log::FaultLog;
use crate::history;
use crate::layout::NodeName;
use crate::replicas::{Replica, digests};
use crate::report::{Report, Verdict};
use crate::subject::SubjectName;
use crate::totals::{FaultTotals, RunLine};
use crate::verdict;

/// The delivery time-out of what is in flight, and some.
const QUIET_LIMIT: Duration = Duration::from_secs(180);
/// Four times everything, and some for a cluster that has just healed.
const DRAIN_LIMIT_LEAST: Duration = Duration::from_secs(180);
const DRAINED_PER_SECOND: u64 = 20_000;

impl Campaign {
    /// Heals, lets the clients end and read all, stops the brokers, compares their files, and judges.
    pub(super) fn reckon(mut self, config: &RunConfig, began: Instant) -> Result<Report> {
        eprintln!("healing everything and reading it back");
        self.heal_now()?;
        self.stage.heal()?;
        let stuck_already = !self.wrong.is_empty();
        if !stuck_already {
            self.settle()?;
        }
        // A run that is stuck is judged by what it wrote so far.
        let read = self.quiet_and_drain();
        if let Err(error) = &read {
            self.wrong.push(format!("{error:#}"));
        } else if !stuck_already {
            self.settle()?;
        }
        let figures = self.workload.figures();
        let (acked, failed) = (figures.acked, figures.failed);
        if figures.mismatches > 0 {
            let count = figures.mismatches;
            self.wrong
                .push(format!("{count} records came back with other bytes"));
        }
        // Who holds what is asked while there is somebody to ask.
        let held = self.view().partitions;
        let clients = config.folder.join("clients.jsonl");
        self.workload.end()?;
        let unstopped = self.stage.stop()?;
        self.wrong.extend(unstopped);

        let mut events = self.log.events();
        events.insert(0, note(config));
        events.splice(0..0, topics(&self.partitions));
        let ends = history::final_ends(&clients)?;
        for node in NodeName::brokers() {
            for ((topic, partition), end_offset) in &ends {
                // Nobody who could have told: every broker should have it, at any rate.
                let place = held.get(&(topic.clone(), *partition));
                if place.is_some_and(|place| !place.replicas.contains(&node)) {
                    continue;
                }
                let folder = self.stage.data(node).join(format!("{topic}-{partition}"));
                let replica = Replica {
                    node: node.id(),
                    topic,
                    partition: *partition,
                    end_offset: *end_offset,
                };
                let (digests, damaged) = digests(&replica, &folder, now_us())?;
                events.extend(digests);
                self.wrong.extend(damaged);
            }
        }
        let runner = config.folder.join("runner.jsonl");
        history::write(&runner, &events)?;
        eprintln!("judging");
        let verdict = verdict::verdict(&verdict::judge(&[&clients, &runner])?);
        let told = Told {
            subject: self.stage.subject.name(),
            faults: self.log,
            wrong: self.wrong,
            acked,
            failed,
        };
        told.report(config, began, verdict)
    }

    /// Ends at once, because of what is certain already.
    pub(super) fn break_off(
        self,
        config: &RunConfig,
        began: Instant,
        judged: &foz_judge::Report,
    ) -> Result<Report> {
        let figures = self.workload.figures();
        let verdict = verdict::verdict(judged);
        let told = Told {
            subject: self.stage.subject.name(),
            faults: self.log,
            wrong: self.wrong,
            acked: figures.acked,
            failed: figures.failed,
        };
        told.report(config, began, verdict)
    }

    fn quiet_and_drain(&mut self) -> Result<()> {
        let mut said = self.workload.command("stop", "quiet", QUIET_LIMIT)?;
        let acked = self.workload.figures().acked;
        let limit = DRAIN_LIMIT_LEAST + Duration::from_secs(4 * acked / DRAINED_PER_SECOND);
        said.extend(self.workload.command("drain", "drained", limit)?);
        self.wrong.extend(said);
        Ok(())
    }
}

/// What the runner itself has to tell.
struct Told {
    subject: SubjectName,
    faults: FaultLog,
    wrong: Vec<String>,
    acked: u64,
    failed: u64,
}

impl Told {
    fn report(self, config: &RunConfig, began: Instant, verdict: Verdict) -> Result<Report> {
        let faults = FaultTotals::of(&self.faults);
        let line = RunLine {
            subject: self.subject.text().to_owned(),
            seed: config.seed,
            seconds: began.elapsed().as_secs(),
            faults,
            acked: self.acked,
            unknown: self.failed,
            wrong: self.wrong.len() as u64,
            anomalies: verdict.anomalies,
            canary: config.setting.canary.clone(),
        };
        line.append_to(&config.totals)?;
        Ok(Report {
            subject: self.subject.text(),
            seed: config.seed,
            seconds: began.elapsed().as_secs(),
            faults: self.faults,
            acked: self.acked,
            failed: self.failed,
            wrong: self.wrong,
            verdict,
            again: config.again.clone(),
        })
    }
}

fn note(config: &RunConfig) -> Event {
    Event::Note(Note {
        t_us: 0,
        text: format!("seed {}: {}", config.seed, config.again),
    })
}

fn topics(partitions: &[(String, i32)]) -> Vec<Event> {
    let mut topics: Vec<Topic> = Vec::new();
    for (topic, _) in partitions {
        match topics.last_mut() {
            Some(last) if last.topic == *topic => last.partitions += 1,
            _ => topics.push(Topic {
                t_us: 0,
                topic: topic.clone(),
                partitions: 1,
                deletes: false,
            }),
        }
    }
    topics.into_iter().map(Event::Topic).collect()
}
