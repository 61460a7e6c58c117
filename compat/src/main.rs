//! foz-compat: what others wrote for Apache Kafka, run against Foz.
//!
//! - [`kafka_tests`]: Kafka's own integration tests of its clients (`run`, `baseline`).
//! - [`clients`]: every Kafka client, and every command-line tool of Kafka (`clients`).
//! - What Kafka's classes write is what the broker's codecs write: [`messages`]; and what Kafka answered Foz answers:
//!   [`answers`].
//! - [`page`]: `docs/compatibility.md`, from the tables that these are compared with (`page`).
//! - Nothing outlives a run, even one that was killed: each process has the kernel kill it when its parent dies.

mod answers;
mod child;
mod clients;
mod codec;
mod compressed;
mod free_port;
mod kafka_tests;
mod kit;
mod lanes;
mod maven;
mod messages;
mod page;
mod setting;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::setting::Setting;

const JOBS_MAX: u8 = 4;

const VARIABLES: &str = "\
Environment:
  FOZ_CACHE         folder for what is fetched and built, the logs and the results [~/.cache/foz]
  FOZ_COMPAT_KEEP   leave the folders of clusters whose test failed";

/// Runs what others wrote for Apache Kafka against Foz.
#[derive(Debug, Parser)]
#[command(name = "foz-compat", disable_help_subcommand = true, after_help = VARIABLES)]
struct Arguments {
    /// How many things are run at once.
    #[arg(long, global = true, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(JOBS_MAX)))]
    jobs: u8,
    /// The foz-broker to test; built when it is not given.
    #[arg(long, global = true)]
    broker: Option<PathBuf>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run these classes of Kafka's tests on Foz, all when none is named, and compare with what Kafka passes. The
    /// default.
    Run { classes: Vec<String> },
    /// Run these classes of Kafka's tests on Apache Kafka, and put what became of them into the baseline.
    Baseline {
        #[arg(required = true)]
        classes: Vec<String>,
    },
    /// Run every client and every tool.
    Clients {
        /// Only the clients and the stories of tools whose names contain one of these.
        names: Vec<String>,
        /// Run on Apache Kafka, to see what it answers; nothing is compared.
        #[arg(long)]
        kafka: bool,
    },
    /// Have Apache Kafka's classes write messages.txt.zst anew.
    Messages {
        /// Fail where it is not what they write, and leave it as it is.
        #[arg(long)]
        check: bool,
    },
    /// Ask Foz what Apache Kafka was asked, and compare the answers.
    Answers {
        /// Ask Apache Kafka, and keep its answers.
        #[arg(long)]
        record: bool,
    },
    /// Write docs/compatibility.md.
    Page,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foz-compat: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let action = arguments.action.unwrap_or(Action::Run {
        classes: Vec::new(),
    });
    let setting = Setting::find(usize::from(arguments.jobs), arguments.broker)?;
    match action {
        Action::Run { classes } => kafka_tests::run(&setting, &classes),
        Action::Baseline { classes } => kafka_tests::write_baseline(&setting, &classes),
        Action::Clients { names, kafka } => clients::run(&setting, &names, kafka),
        Action::Messages { check } => messages::make(&setting, check),
        Action::Answers { record: true } => answers::record(&setting),
        Action::Answers { record: false } => answers::compare(&setting),
        Action::Page => page::write(&setting.folders.repository),
    }
}
