//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use foz_canary::{Canary, UnknownCanary};

use crate::canaries::CanariesConfig;
use crate::fault::FaultSet;
use crate::layout;
use crate::run::Setting;
use crate::subject::SubjectName;

/// Breaks a cluster on purpose and says whether it kept its promise.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
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
    /// An application of Kafka Streams counts words exactly once while it and the brokers are killed. Exit status 1:
    /// a count is wrong, or missing.
    Streams(StreamsArguments),
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
pub(crate) struct Common {
    /// Whom to test.
    #[arg(long, value_enum, default_value_t = SubjectName::Foz)]
    pub(crate) subject: SubjectName,
    /// The foz-broker to test.
    #[arg(long)]
    pub(crate) broker: Option<PathBuf>,
    /// FOZ_CANARY of the brokers: a bug put in on purpose, in a build that has it.
    #[arg(long)]
    pub(crate) canary: Option<String>,
    /// Records a second.
    #[arg(long, default_value_t = 4_000)]
    pub(crate) rate: u32,
    /// Of each partition; 1 is for trying a single replica's own promise.
    #[arg(long, default_value_t = layout::BROKERS, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) replicas: u8,
    /// `transaction.version` of the cluster, 1 or 2; 0: no client has transactions. An even seed has 1, an odd one 2.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) transaction_version: Option<u8>,
    /// Producers ask another broker when one has not answered for so long.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) request_timeout_ms: u32,
    /// Only these kinds of the set, commas between.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Everything must be well so long after a fault was healed.
    #[arg(long, default_value_t = 90)]
    pub(crate) recovery_limit_s: u64,
    /// Holds data, logs and histories, in a folder of their own for each run.
    #[arg(long, default_value = "target/chaos")]
    pub(crate) folder: PathBuf,
    /// Keeps the data of a clean run, too.
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CanaryArguments {
    /// The foz-broker to test, built with the feature `canaries`.
    #[arg(long)]
    pub(crate) broker: PathBuf,
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
    pub(crate) only: Vec<String>,
    /// Records a second.
    #[arg(long, default_value_t = 4_000)]
    pub(crate) rate: u32,
    /// Everything must be well so long after a fault was healed.
    #[arg(long, default_value_t = 60)]
    pub(crate) recovery_limit_s: u64,
    /// Holds a folder for each run that found something, and the table.
    #[arg(long, default_value = "target/canaries")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StreamsArguments {
    /// Whom to test.
    #[arg(long, value_enum, default_value_t = SubjectName::Foz)]
    subject: SubjectName,
    /// The foz-broker to test.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// FOZ_CANARY of the brokers: a bug put in on purpose, in a build that has it.
    #[arg(long)]
    canary: Option<String>,
    /// Of the first run; each that follows has the next number. Drawn from the clock when it is not given.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// One after the other.
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: u64,
    /// How long faults are injected, in each.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) minutes: f64,
    /// Which faults of brokers and controllers; 0 minutes for none.
    #[arg(long, value_enum, default_value_t = FaultSet::Process)]
    pub(crate) faults: FaultSet,
    /// Only these kinds of the set, commas between.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Lines a second, three words each.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Everything must be well, and every word counted, so long after a fault was healed.
    #[arg(long, default_value_t = 90)]
    pub(crate) recovery_limit_s: u64,
    /// Holds data, logs and states, in a folder of their own for each run.
    #[arg(long, default_value = "target/chaos")]
    pub(crate) folder: PathBuf,
    /// Keeps the data of a clean run, too.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Stands for the broker without a canary.
const NO_CANARY: &str = "none";

impl Common {
    pub(crate) fn setting(&self) -> Setting {
        Setting {
            subject: self.subject,
            broker: self.broker.clone(),
            canary: self.canary.clone(),
            rate: self.rate,
            request_timeout_ms: self.request_timeout_ms,
            replicas: self.replicas,
            transaction_version: self.transaction_version,
        }
    }

    /// An empty folder; an earlier run of the same name goes.
    pub(crate) fn run_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder.canonicalize()?)
    }

    pub(crate) fn again(&self, seed: u64, minutes: f64, faults: FaultSet) -> String {
        let mut line = format!(
            "foz-chaos run --subject {} --seed {seed} --minutes {minutes} --faults {} --rate {}",
            self.subject.text(),
            set_name(faults),
            self.rate
        );
        if self.replicas != layout::BROKERS {
            line += &format!(" --replicas {}", self.replicas);
        }
        if let Some(version) = self.transaction_version {
            line += &format!(" --transaction-version {version}");
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

impl StreamsArguments {
    pub(crate) fn setting(&self) -> Setting {
        Setting {
            subject: self.subject,
            broker: self.broker.clone(),
            canary: self.canary.clone(),
            rate: self.rate,
            request_timeout_ms: 1_000,
            replicas: layout::BROKERS,
            transaction_version: None,
        }
    }

    pub(crate) fn again(&self, seed: u64) -> String {
        let mut line = format!(
            "foz-chaos streams --subject {} --seed {seed} --minutes {} --faults {} --rate {}",
            self.subject.text(),
            self.minutes,
            set_name(self.faults),
            self.rate
        );
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
    pub(crate) fn config(&self) -> Result<CanariesConfig> {
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
                transaction_version: None,
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

fn set_name(faults: FaultSet) -> String {
    let value = faults.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// All that show in such runs, and the broker without any, when none is named.
fn chosen(names: &[String]) -> Result<Vec<Option<Canary>>, UnknownCanary> {
    if names.is_empty() {
        let all = Canary::ALL.iter().copied();
        let all = all.filter(|canary| canary.shows_in_runs()).map(Some);
        return Ok(all.chain([None]).collect());
    }
    let named = names.iter().map(|name| match name.as_str() {
        NO_CANARY => Ok(None),
        name => name.parse().map(Some),
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_canaries_and_then_none_unless_some_are_named() {
        let all = chosen(&[]).unwrap();
        let shown = Canary::ALL.iter().filter(|canary| canary.shows_in_runs());
        assert_eq!(all.len(), shown.count() + 1);
        assert!(!all.contains(&Some(Canary::OfflineReplicaIsElected)));
        assert_eq!(all.last(), Some(&None));
        let first = Canary::ALL[0];
        let named = [first.name().to_owned(), NO_CANARY.to_owned()];
        assert_eq!(chosen(&named), Ok(vec![Some(first), None]));
        assert!(chosen(&["sparrow".to_owned()]).is_err());
    }
}
