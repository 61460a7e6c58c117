//! foz-compat-clients: every Kafka client, and every command-line tool of Apache Kafka, on three brokers of Foz.
//!
//! - One program for each client runs the same cases (`README.md` lists them) and prints a line of JSON for each.
//! - `tools.txt` is a transcript: what is typed, and what must come.
//! - What does not pass stands in `expected.tsv` with its reason. A row of it that passes is an error, too, so that
//!   the table only shrinks. What the server does not advertise is skipped without a row, and comes by itself once it
//!   does.
//! - Nothing outlives a run, even one that was killed: the kernel kills what was started when its parent is gone.
//!
//! Start reading at [`run`]; then [`clients::CLIENTS`] and [`tools::read_stories`].

mod broker_apis;
mod clients;
mod cluster;
mod expected;
mod jobs;
mod outcome;
mod tools;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use foz_e2e::external::External;
use foz_e2e::folders::{Folders, write};
use foz_e2e::progress::{Progress, seconds};

use crate::broker_apis::features;
use crate::clients::{CLIENTS, Client, Prepared};
use crate::cluster::{Cluster, Product};
use crate::expected::{compare, read_expected};
use crate::outcome::{Outcome, table};
use crate::tools::{Tools, read_stories};

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const JOBS_MAX: u8 = 8;

const VARIABLES: &str = "\
Environment:
  FOZ_CACHE   folder for what is fetched and built, the logs and the results [~/.cache/foz]";

/// Runs every Kafka client and every tool of Apache Kafka on Foz.
#[derive(Debug, Parser)]
#[command(name = "foz-compat-clients", disable_help_subcommand = true, after_help = VARIABLES)]
struct Arguments {
    /// Only the clients and the stories of tools whose names contain one of these.
    names: Vec<String>,
    /// How many run at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(JOBS_MAX)))]
    jobs: u8,
    /// The foz-broker to test; built when it is not given.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Run on Apache Kafka, to see what it answers; nothing is compared.
    #[arg(long)]
    kafka: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foz-compat-clients: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let progress = Progress::start();
    let folders = Folders::find()?;
    let sources = folders.repository.join("compat/clients");
    let place = folders.cache.join("compat/clients");
    let _held = hold(&place)?;
    let expected_text = read(&sources.join("expected.tsv"))?;
    let expected = read_expected(&expected_text)?;
    let is_wanted = |name: &str| {
        arguments.names.is_empty() || arguments.names.iter().any(|part| name.contains(part))
    };
    let clients: Vec<&Client> = CLIENTS
        .iter()
        .filter(|client| is_wanted(client.name))
        .collect();
    let mut stories = read_stories(&read(&sources.join("tools.txt"))?)?;
    stories.retain(|story| is_wanted(&story.name));
    if clients.is_empty() && stories.is_empty() {
        bail!(
            "no client and no story of a tool is called {:?}",
            arguments.names
        );
    }
    let prepared: Vec<Prepared> = clients
        .into_iter()
        .map(|client| client.prepare(&sources, &place, &progress))
        .collect::<Result<_>>()?;
    let tools = Tools::prepare(&sources, &place, &progress)?;
    let product = if arguments.kafka {
        Product::Kafka(tools.clone())
    } else {
        Product::Foz(broker(arguments, &folders, &progress)?)
    };
    let cluster = progress.step("start three brokers", || {
        Cluster::start(&product, &place.join("run"))
    })?;
    let has = features(cluster.bootstrap())?;
    let tools = tools.with_archive(cluster.bootstrap(), &place)?;

    let mut jobs: Vec<jobs::Job<'_>> = Vec::new();
    for client in &prepared {
        let (cluster, has, place) = (&cluster, &has, &place);
        let work = move || client.run(cluster.bootstrap(), has, place);
        jobs.push((client.name().to_owned(), Box::new(work)));
    }
    for story in &stories {
        let (tools, cluster, place) = (&tools, &cluster, &place);
        let work = move || tools.tell(story, cluster.bootstrap(), &place.join("tools"));
        jobs.push((format!("tools: {}", story.name), Box::new(work)));
    }
    let begun = Instant::now();
    let outcomes = jobs::run(jobs, usize::from(arguments.jobs), &progress)?;
    progress.line(&format!(
        "{} cases in {}",
        outcomes.len(),
        seconds(begun.elapsed())
    ));
    drop(cluster);
    conclude(arguments, &outcomes, &expected, &has, &place)
}

/// One run at a time: they share their folders.
fn hold(place: &Path) -> Result<File> {
    std::fs::create_dir_all(place)?;
    let lock = File::create(place.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("another foz-compat-clients is running");
    }
    Ok(lock)
}

fn conclude(
    arguments: &Arguments,
    outcomes: &[Outcome],
    expected: &[expected::Expected],
    has: &[String],
    place: &Path,
) -> Result<()> {
    let results = place.join(if arguments.kafka {
        "kafka.tsv"
    } else {
        "foz.tsv"
    });
    write(&results, table(outcomes))?;
    if arguments.kafka {
        for outcome in outcomes.iter().filter(|outcome| !outcome.has_passed()) {
            eprintln!("{outcome}");
        }
        return Ok(());
    }
    let problems = compare(outcomes, expected, has, arguments.names.is_empty());
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "{} problems:\n{}\nall results: {}",
        problems.len(),
        problems.join("\n"),
        results.display()
    )
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn broker(arguments: &Arguments, folders: &Folders, progress: &Progress) -> Result<PathBuf> {
    if let Some(given) = &arguments.broker {
        return std::path::absolute(given).context("--broker");
    }
    progress.step("build foz-broker", || {
        External::new("cargo")
            .args(["build", "--quiet", "--locked", "--package", "foz-server"])
            .args(["--bin", "foz-broker"])
            .in_folder(&folders.repository)
            .limit(BUILD_LIMIT)
            .run()
            .map(drop)
    })?;
    Ok(folders.cargo_target().join("debug/foz-broker"))
}
