//! Every Kafka client, and every command-line tool of Apache Kafka, on three brokers of Foz.
//!
//! - One program for each client runs the same cases (`compat/clients/README.md` lists them) and prints a line of JSON for each.
//! - `tools.txt` is a transcript: what is typed, and what must come.
//! - What does not pass stands in `expected.tsv` with its reason. A row of it that passes is an error, too, so that
//!   the table only shrinks. What the server does not advertise is skipped without a row, and comes by itself once it
//!   does.
//!
//! Start reading at [`run`]; then [`client::CLIENTS`] and [`tools::read_stories`].

mod broker_apis;
pub(crate) mod client;
mod cluster;
mod exchange;
pub(crate) mod expected;
pub(crate) mod lowered;
pub(crate) mod outcome;
pub(crate) mod tools;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use foz_e2e::folders::write;
use foz_e2e::progress::seconds;

use crate::lanes::run_all;
use crate::setting::Setting;
use broker_apis::features;
use client::{CLIENTS, Client, Prepared};
use cluster::{Cluster, Product};
use expected::{Expected, compare, read_expected};
use outcome::{Outcome, Verdict, table};
use tools::{Story, Tools, read_stories};

/// How often nodes are looked at in stories in which they end.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What one lane does.
#[derive(Debug)]
enum Job<'a> {
    Client(&'a Prepared),
    Tools(&'a Story),
}

/// Runs clients and stories of the tools, all when none is named, on Foz or on Kafka.
///
/// # Errors
/// Says what became of cases that should have become something else, or why nothing could be run.
pub(crate) fn run(setting: &Setting, names: &[String], on_kafka: bool) -> Result<()> {
    let _held = setting.hold()?;
    let progress = &setting.progress;
    let sources = setting.folders.repository.join("compat/clients");
    let place = setting.place.join("clients");
    let expected = read_expected(&read(&sources.join("expected.tsv"))?)?;
    let is_wanted =
        |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    let clients: Vec<&Client> = CLIENTS
        .iter()
        .filter(|client| is_wanted(client.name))
        .collect();
    let mut stories = read_stories(&read(&sources.join("tools.txt"))?)?;
    stories.retain(|story| is_wanted(&story.name));
    if clients.is_empty() && stories.is_empty() {
        bail!("no client and no story of a tool is called {names:?}");
    }
    let prepared: Vec<Prepared> = clients
        .into_iter()
        .map(|client| client.prepare(&sources, &place, progress))
        .collect::<Result<_>>()?;
    let tools = Tools::prepare(&sources, &place, progress)?;
    let product = if on_kafka {
        Product::Kafka(tools.clone())
    } else {
        Product::Foz(setting.broker()?)
    };
    let cluster = progress.step("start three brokers", || {
        Cluster::start(product, &place.join("run"))
    })?;
    let bootstrap = cluster.bootstrap();
    let has = features(bootstrap)?;
    let tools = tools.with_archive(bootstrap, &place)?;

    let jobs = prepared.iter().map(Job::Client);
    let beside = stories.iter().filter(|story| !story.is_alone);
    let jobs = jobs.chain(beside.map(Job::Tools)).collect();
    let run_job = |job: Job<'_>, cases: &[&str], suffix: &str| {
        let begun = Instant::now();
        let (name, outcomes) = match job {
            Job::Client(client) => (
                format!("{}{suffix}", client.name()),
                client.run(bootstrap, &has, cases, suffix, &place),
            ),
            Job::Tools(story) => (
                format!("tools: {}", story.name),
                tools.tell(story, &cluster, &place.join("tools")),
            ),
        };
        let outcomes = outcomes.with_context(|| name.clone())?;
        progress.line(&format!(
            "{name}: {} ({})",
            summary(&outcomes, &expected),
            seconds(begun.elapsed())
        ));
        Ok(outcomes)
    };
    let begun = Instant::now();
    let mut outcomes = run_all(jobs, setting.jobs, |job, _lane| run_job(job, &[], ""))?;
    outcomes.extend(lowered::run(
        &prepared,
        |story| run_job(Job::Tools(story), &[], ""),
        |clients, cases, suffix| {
            let jobs = clients.into_iter().map(Job::Client).collect();
            run_all(jobs, setting.jobs, |job, _lane| run_job(job, cases, suffix))
        },
    )?);
    let alone = stories.iter().filter(|story| story.is_alone);
    let alone = alone.map(Job::Tools).collect();
    outcomes.extend(run_tended(alone, &cluster, |job| run_job(job, &[], ""))?);
    let took = seconds(begun.elapsed());
    progress.line(&format!("{} cases in {took}", outcomes.len()));
    drop(cluster);
    if on_kafka {
        write(place.join("kafka.tsv"), table(&outcomes))?;
        for outcome in outcomes.iter().filter(|outcome| !outcome.has_passed()) {
            eprintln!("{outcome}");
        }
        return Ok(());
    }
    conclude(&outcomes, &expected, &has, names.is_empty(), &place)
}

/// One after the other; nodes that end by themselves meanwhile are started again. All are run by one thread: the nodes that
/// it starts end with it.
fn run_tended(
    jobs: Vec<Job<'_>>,
    cluster: &Cluster,
    run: impl Fn(Job<'_>) -> Result<Vec<Outcome>> + Sync,
) -> Result<Vec<Outcome>> {
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run_all(jobs, 1, |job, _lane| run(job)));
        while !running.is_finished() {
            cluster.revive()?;
            std::thread::sleep(LOOK_AGAIN);
        }
        let ended = running.join();
        ended.unwrap_or_else(|_| Err(anyhow!("a thread of the run panicked")))
    })
}

fn conclude(
    outcomes: &[Outcome],
    expected: &[Expected],
    has: &[String],
    is_whole: bool,
    place: &Path,
) -> Result<()> {
    let results = place.join("foz.tsv");
    write(&results, table(outcomes))?;
    let problems = compare(outcomes, expected, has, is_whole);
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "{} problems:\n{}\nall results: {}; what programs said: {}; the brokers' logs: {}",
        problems.len(),
        problems.join("\n"),
        results.display(),
        place.join("logs").display(),
        place.join("run/*/log").display()
    )
}

/// `27 passed, 2 skipped, 1 failed`; what is known to fail is `excused`.
fn summary(outcomes: &[Outcome], expected: &[Expected]) -> String {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        let is_known = expected.iter().any(|row| row.names(outcome));
        let word = match outcome.verdict {
            Verdict::Failed if is_known => "excused",
            verdict => verdict.name(),
        };
        *counts.entry(word).or_insert(0) += 1;
    }
    let words = ["passed", "skipped", "excused", "failed"];
    let counts = words
        .iter()
        .filter_map(|word| Some(format!("{} {word}", counts.get(word)?)));
    counts.collect::<Vec<_>>().join(", ")
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_to_fail_is_told_apart() {
        let outcome = |case: &str, verdict| Outcome {
            of: "franz".to_owned(),
            case: case.to_owned(),
            verdict,
            detail: String::new(),
        };
        let expected = read_expected("franz\ta\tfailed\tlater: a").unwrap();
        let outcomes = [
            outcome("a", Verdict::Failed),
            outcome("b", Verdict::Failed),
            outcome("c", Verdict::Passed),
            outcome("d", Verdict::Passed),
        ];
        assert_eq!(
            summary(&outcomes, &expected),
            "2 passed, 1 excused, 1 failed"
        );
        assert_eq!(summary(&outcomes[..1], &[]), "1 failed");
    }
}
