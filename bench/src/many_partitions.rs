//! What a partition costs a broker that has thousands, none of which is used.
//!
//! One process with both roles, from an empty folder. It is asked for topics, left alone until it has closed what it
//! opened, stopped and started, killed and started, and told to delete the topics. A partition counts when the broker's
//! metadata names its leader, which Foz's says once it leads it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use foz_cli::client::{Client, ClientConfig, ClientError, NewTopic};
use foz_protocol::error::ErrorCode;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::report::Product;
use crate::server::Server;
use crate::usage;

/// Requests for topics that are under way at once.
const REQUESTS: usize = 32;
/// Files that were used are closed after 5 to 10 s.
const IDLE_AFTER: Duration = Duration::from_secs(15);
/// Between two looks at the metadata.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// A broker that does not lead all by then has failed.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs it on a cluster of one process, whose data are in `folder`; returns the report.
///
/// # Errors
/// The broker fails; with the end of its log.
pub(crate) async fn run(
    product: Product,
    mut cluster: Cluster,
    folder: &Path,
    partitions: usize,
    topics: usize,
) -> anyhow::Result<String> {
    let course = course(cluster.broker(0), folder, partitions, topics).await;
    let log = cluster.stop().await?;
    let report = course.with_context(|| format!("the end of the broker's log:\n{log}"))?;
    Ok(format!("{}: {report}", product.name()))
}

async fn course(
    server: &mut Server,
    folder: &Path,
    partitions: usize,
    topics: usize,
) -> anyhow::Result<String> {
    let mut report = String::new();
    let client = client(server).await?;
    all_led(&client, 0).await?;
    let pid = server.pid().context("the broker has stopped")?;
    sleep(IDLE_AFTER).await;
    let empty_bytes = usage::memory_bytes(pid)?;
    let processor = usage::processor_time(pid)?;

    let began = Instant::now();
    create(&client, partitions, topics).await?;
    let answered = began.elapsed();
    all_led(&client, partitions).await?;
    let processor = usage::processor_time(pid)?.saturating_sub(processor);
    row(&mut report, "created: answered after", &seconds(answered))?;
    row(
        &mut report,
        "created: all led after",
        &seconds(began.elapsed()),
    )?;
    row(&mut report, "created: CPU", &seconds(processor))?;

    sleep(IDLE_AFTER).await;
    let bytes = usage::memory_bytes(pid)?.saturating_sub(empty_bytes) / partitions as u64;
    let files = usage::open_files(pid, folder)?;
    row(
        &mut report,
        "idle: memory a partition",
        &format!("{bytes} bytes"),
    )?;
    row(&mut report, "idle: open files", &files.to_string())?;
    let (before, idle_for) = (usage::processor_time(pid)?, Duration::from_secs(20));
    sleep(idle_for).await;
    let idle = usage::processor_time(pid)?.saturating_sub(before);
    let share = idle.as_secs_f64() / idle_for.as_secs_f64() * 100.0;
    row(&mut report, "idle: CPU", &format!("{share:.1} % of a core"))?;

    let began = Instant::now();
    server.stop().await?;
    row(&mut report, "stopped after", &seconds(began.elapsed()))?;
    let took = started(server, partitions).await?;
    row(&mut report, "started: all led after", &seconds(took))?;
    let bytes = usage::memory_bytes(server.pid().context("it has stopped")?)?;
    row(
        &mut report,
        "started: memory",
        &format!("{} MiB", bytes >> 20),
    )?;

    server.kill().await?;
    let took = started(server, partitions).await?;
    row(
        &mut report,
        "killed, started: all led after",
        &seconds(took),
    )?;

    let client = self::client(server).await?;
    let began = Instant::now();
    delete(&client, topics).await?;
    row(
        &mut report,
        "deleted: gone from the metadata after",
        &seconds(began.elapsed()),
    )?;
    Ok(format!(
        "{partitions} partitions, {topics} topics, one replica\n{report}"
    ))
}

async fn started(server: &mut Server, partitions: usize) -> anyhow::Result<Duration> {
    let began = Instant::now();
    server.spawn_again()?;
    let client = client(server).await?;
    all_led(&client, partitions).await?;
    Ok(began.elapsed())
}

async fn client(server: &mut Server) -> anyhow::Result<Client> {
    server.listening().await?;
    let config = ClientConfig {
        request_timeout: LIMIT,
        ..ClientConfig::new([server.address()])
    };
    let limit = Instant::now() + LIMIT;
    loop {
        match Client::connect(config.clone()).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > limit => return Err(error.into()),
            Err(_) => sleep(LOOK_INTERVAL).await,
        }
    }
}

/// Waits until there are so many partitions, each with a leader.
async fn all_led(client: &Client, partitions: usize) -> anyhow::Result<()> {
    let limit = Instant::now() + LIMIT;
    loop {
        let cluster = client.refresh(None).await?;
        let topics = cluster.topics.values();
        let led: usize = topics
            .map(|topic| {
                topic
                    .partitions
                    .values()
                    .filter(|it| it.leader >= 0)
                    .count()
            })
            .sum();
        if led == partitions && !cluster.brokers.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < limit,
            "{led} of {partitions} partitions are led after {} s",
            LIMIT.as_secs()
        );
        sleep(LOOK_INTERVAL).await;
    }
}

/// The first topics have one more where they do not divide evenly.
async fn create(client: &Client, partitions: usize, topics: usize) -> anyhow::Result<()> {
    let new = (0..topics).map(|n| NewTopic {
        name: name(n),
        partitions: Some((partitions / topics + usize::from(n < partitions % topics)) as i32),
        replication_factor: Some(1),
        ..NewTopic::default()
    });
    let mut new = new.collect::<Vec<_>>().into_iter();
    let mut requests = JoinSet::new();
    loop {
        while requests.len() < REQUESTS
            && let Some(topic) = new.next()
        {
            let client = client.with_own_connections();
            requests.spawn(async move { client.create_topic(&topic).await });
        }
        match requests.join_next().await {
            None => return Ok(()),
            Some(created) => accepted(created?.map(drop))?,
        }
    }
}

async fn delete(client: &Client, topics: usize) -> anyhow::Result<()> {
    for n in 0..topics {
        accepted(client.delete_topic(&name(n)).await)?;
    }
    let limit = Instant::now() + LIMIT;
    while !client.refresh(None).await?.topics.is_empty() {
        if Instant::now() > limit {
            bail!("there are topics still");
        }
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// A change that is made may be carried out for longer than its request waits.
pub(crate) fn accepted(changed: Result<(), ClientError>) -> Result<(), ClientError> {
    match changed {
        Err(error) if error.code() == Some(ErrorCode::RequestTimedOut) => Ok(()),
        changed => changed,
    }
}

fn name(n: usize) -> String {
    format!("many-{n}")
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn row(report: &mut String, what: &str, value: &str) -> std::fmt::Result {
    writeln!(report, "{what:<40}{value}")
}
