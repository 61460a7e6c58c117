//! How long groups wait for the next coordinator when theirs was killed.
//!
//! Three brokers: what is measured is a failover, for which a broker that is started again would be too late, and three are
//! the fewest that take commits while one is away. Groups that assign themselves commit the same offsets again and again, so
//! that most records are older values of keys that there are: the log of `__consumer_offsets` looks so where nothing was
//! compacted since its last segment began. The broker that coordinates most groups is killed with SIGKILL, and a client of
//! each of those groups asks the others.

mod group;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use foz_cli::client::{Client, ClientConfig, NewTopic};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::catch_up::settle;
use crate::cluster::Cluster;
use crate::many_partitions::accepted;
use crate::report::Product;
use group::Group;

const TOPIC: &str = "committed";
const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Commits that are under way at once.
const COMMITS: usize = 8;
/// Between two tries of a client.
const PAUSE: Duration = Duration::from_millis(10);
/// Brokers that have not done by then what is asked of them have failed.
const LIMIT: Duration = Duration::from_secs(300);

/// How much there is to load.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Size {
    /// Committed offsets of all groups together, those that were replaced since counted.
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    #[arg(long, default_value_t = 100)]
    groups: usize,
    /// Of which each group has committed offsets.
    #[arg(long, default_value_t = 1_000)]
    partitions: usize,
    /// offsets.topic.num.partitions: with 1, all groups have the same coordinator, and one thread loads all.
    #[arg(long, default_value_t = 50)]
    offsets_partitions: usize,
}

impl Size {
    /// # Errors
    /// It makes no sense.
    pub(crate) fn check(self) -> anyhow::Result<()> {
        ensure!(
            self.groups > 0 && self.partitions > 0 && self.offsets_partitions > 0,
            "--groups, --partitions and --offsets-partitions must be at least 1"
        );
        let fewest = self.groups.saturating_mul(self.partitions);
        ensure!(
            self.records >= fewest,
            "--records is {}; with {} groups and {} partitions it must be at least {fewest}",
            self.records,
            self.groups,
            self.partitions
        );
        Ok(())
    }

    /// Lines of `server.properties`.
    pub(crate) fn properties(self) -> String {
        format!("offsets.topic.num.partitions={}\n", self.offsets_partitions)
    }

    /// How often a group commits all its partitions: its last committed offset is this. The first groups have one more
    /// where the records do not divide evenly.
    fn commits(self, group: usize) -> i64 {
        let commits = self.records.div_ceil(self.partitions);
        let of_each = commits / self.groups + usize::from(group < commits % self.groups);
        of_each as i64
    }
}

/// Runs it on a cluster of three brokers that has just started; returns the report.
///
/// # Errors
/// A broker fails, or does not tell what was committed; with the ends of the brokers' logs.
pub(crate) async fn run(
    product: Product,
    mut cluster: Cluster,
    size: Size,
) -> anyhow::Result<String> {
    let failover = course(&mut cluster, size).await;
    let logs = cluster.stop().await?;
    let failover = failover.with_context(|| format!("the ends of the brokers' logs:\n{logs}"))?;
    Ok(failover.report(product, size))
}

/// What a group waited for, from the kill on.
#[derive(Debug, Clone, Copy)]
struct Answered {
    /// A broker that lives was named as its coordinator.
    named: Duration,
    /// That one told its committed offsets.
    fetched: Duration,
    /// And took others.
    committed: Duration,
}

#[derive(Debug)]
struct Failover {
    groups: Vec<Answered>,
    /// `None` where brokers have no metrics.
    loads: Option<Loads>,
}

/// What the brokers that live say of it.
#[derive(Debug, Clone, Copy)]
struct Loads {
    longest_ms: f64,
    records: f64,
    bytes: f64,
}

async fn course(cluster: &mut Cluster, size: Size) -> anyhow::Result<Failover> {
    let brokers = cluster.replicas();
    let client = Client::connect(ClientConfig::new(cluster.addresses(None))).await?;
    within_limit("the brokers have not met", async || {
        client
            .refresh(None)
            .await
            .is_ok_and(|it| it.brokers.len() == brokers)
    })
    .await?;
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        partitions: Some(i32::try_from(size.partitions)?),
        replication_factor: Some(i16::try_from(brokers)?),
        ..NewTopic::default()
    };
    accepted(client.create_topic(&topic).await.map(drop))?;
    in_sync(&client, TOPIC, brokers).await?;
    let groups: Vec<Group> = (0..size.groups)
        .map(|number| Group::new(&client, number, size.commits(number)))
        .collect();
    commit_all(&groups, size).await?;
    in_sync(&client, CONSUMER_OFFSETS, brokers).await?;
    settle().await?;

    let mut by_coordinator: BTreeMap<i32, Vec<Group>> = BTreeMap::new();
    for group in groups {
        let coordinator = group.coordinator().await?;
        by_coordinator.entry(coordinator).or_default().push(group);
    }
    let most = by_coordinator
        .into_iter()
        .max_by_key(|(_, groups)| groups.len());
    let (victim, groups) = most.context("no group has a coordinator")?;
    eprintln!(
        "        broker {victim} coordinates {} groups and is to be killed",
        groups.len()
    );
    let victim = usize::try_from(victim)?;
    let others = Client::connect(ClientConfig::new(cluster.addresses(Some(victim)))).await?;
    let before = quiet_loads(cluster, victim).await?;
    let mut clients = Vec::new();
    for group in &groups {
        let group = group.by_way_of(&others);
        // Connections are there before they are needed.
        group.coordinator().await?;
        clients.push(group);
    }
    let began = Instant::now();
    cluster.broker(victim).kill().await?;
    let mut waiting = JoinSet::new();
    for group in clients {
        waiting.spawn(answered(group, victim as i32, size, began));
    }
    let mut answered = Vec::new();
    while let Some(group) = waiting.join_next().await {
        answered.push(group??);
    }
    let after = loads(cluster, victim).await?;
    Ok(Failover {
        groups: answered,
        loads: after.zip(before).map(|(after, before)| Loads {
            longest_ms: after.longest_ms,
            records: after.records - before.records,
            bytes: after.bytes - before.bytes,
        }),
    })
}

/// All groups commit in turn, so that their records lie between each other's.
async fn commit_all(groups: &[Group], size: Size) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..COMMITS {
        let groups: Vec<Group> = (groups.iter().skip(writer).step_by(COMMITS))
            .map(Group::with_own_connections)
            .collect();
        writers.spawn(async move {
            for offset in 1..=size.commits(0) {
                for group in groups.iter().filter(|group| group.offset >= offset) {
                    until_answered(Instant::now(), || group.commit(size.partitions, offset))
                        .await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    let took = began.elapsed().as_secs_f64();
    eprintln!(
        "        {} offsets are committed in {took:.1} s",
        size.records
    );
    Ok(())
}

async fn answered(
    group: Group,
    victim: i32,
    size: Size,
    began: Instant,
) -> anyhow::Result<Answered> {
    until_answered(began, || group.has_other_coordinator(victim)).await?;
    let named = began.elapsed();
    let offsets = until_answered(began, || group.committed(size.partitions)).await?;
    let fetched = began.elapsed();
    until_answered(began, || group.commit(1, group.offset + 1)).await?;
    let committed = began.elapsed();
    let expected = vec![group.offset; size.partitions];
    ensure!(
        offsets == expected,
        "a group has committed {} in all its partitions, and the next coordinator says {offsets:?}",
        group.offset
    );
    Ok(Answered {
        named,
        fetched,
        committed,
    })
}

/// Tries until it works.
async fn until_answered<T, F: Future<Output = anyhow::Result<T>>>(
    began: Instant,
    attempt: impl Fn() -> F,
) -> anyhow::Result<T> {
    loop {
        match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(error) if began.elapsed() > LIMIT => return Err(error),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn in_sync(client: &Client, topic: &str, replicas: usize) -> anyhow::Result<()> {
    within_limit("not all replicas are in sync", async || {
        let cluster = client.refresh(Some(&[topic])).await;
        cluster.is_ok_and(|cluster| {
            cluster.topics.get(topic).is_some_and(|topic| {
                let mut partitions = topic.partitions.values();
                partitions.all(|it| it.leader >= 0 && it.isr.len() == replicas)
            })
        })
    })
    .await
}

async fn within_limit(else_: &str, mut is_so: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
    let limit = Instant::now() + LIMIT;
    while !is_so().await {
        ensure!(
            Instant::now() < limit,
            "{else_} after {} s",
            LIMIT.as_secs()
        );
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Of all brokers but this one, once they tell of no load any longer that was before: those of partitions that had just
/// been made.
async fn quiet_loads(cluster: &mut Cluster, but: usize) -> anyhow::Result<Option<Loads>> {
    let limit = Instant::now() + LIMIT;
    loop {
        match loads(cluster, but).await? {
            Some(loads) if !loads.longest_ms.is_nan() && Instant::now() < limit => {
                sleep(Duration::from_secs(1)).await;
            }
            loads => return Ok(loads),
        }
    }
}

/// Of all brokers but this one. The longest is not a number where nothing was loaded lately.
async fn loads(cluster: &mut Cluster, but: usize) -> anyhow::Result<Option<Loads>> {
    let mut all = Loads {
        longest_ms: f64::NAN,
        records: 0.0,
        bytes: 0.0,
    };
    for number in (0..cluster.replicas()).filter(|number| *number != but) {
        let Some(text) = cluster.broker(number).metrics().await? else {
            return Ok(None);
        };
        let metric = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value = line.and_then(|value| value.parse::<f64>().ok());
            value.with_context(|| format!("/metrics of broker {number} has no {name}"))
        };
        let longest_ms = "kafka_server_group_coordinator_metrics_partition_load_time_max";
        // The one that is a number.
        all.longest_ms = all.longest_ms.max(metric(longest_ms)?);
        all.records += metric("foz_group_coordinator_loaded_records_total")?;
        all.bytes += metric("foz_group_coordinator_loaded_bytes_total")?;
    }
    Ok(Some(all))
}

impl Failover {
    fn report(&self, product: Product, size: Size) -> String {
        let mut text = format!(
            "\n{}: {} committed offsets of {} groups and {} partitions, {} partitions of {CONSUMER_OFFSETS}\n\
             the coordinator of {} groups is killed\n\
             {:<42}{:>10}{:>10}\n",
            product.name(),
            size.records,
            size.groups,
            size.partitions,
            size.offsets_partitions,
            self.groups.len(),
            "",
            "median",
            "last"
        );
        let mut row = |what: &str, of: fn(&Answered) -> Duration| {
            let mut times: Vec<Duration> = self.groups.iter().map(of).collect();
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            let last = times.last().copied().unwrap_or_default();
            let (median, last) = (median.as_millis(), last.as_millis());
            let _ = writeln!(text, "{what:<42}{median:>7} ms{last:>7} ms");
        };
        row("the next coordinator is named after", |it| it.named);
        row("it answers OffsetFetch after", |it| it.fetched);
        row("it answers OffsetCommit after", |it| it.committed);
        row("from its name to its first answer", |it| {
            it.fetched.saturating_sub(it.named)
        });
        if let Some(Loads {
            longest_ms,
            records,
            bytes,
        }) = self.loads
        {
            let mebibytes = bytes / f64::from(1 << 20);
            let _ = write!(
                text,
                "{:<42}{records:>7} records, {mebibytes:.1} MiB\n\
                 {:<42}{longest_ms:>7.0} ms\n",
                "loaded by the others", "the longest load of a partition"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        records: 1_000_000,
        groups: 100,
        partitions: 1_000,
        offsets_partitions: 50,
    };

    #[test]
    fn each_group_commits_so_often_that_there_are_as_many_records() {
        for (records, partitions) in [(1_000_000, 1_000), (100_000, 1_000), (1_000, 7)] {
            let size = Size {
                records,
                partitions,
                ..SIZE
            };
            size.check().unwrap();
            let commits: i64 = (0..size.groups).map(|group| size.commits(group)).sum();
            let written = commits as usize * partitions;
            assert!(
                (records..records + partitions).contains(&written),
                "{written}"
            );
            assert!((1..size.groups).all(|group| size.commits(group) <= size.commits(0)));
        }
        let refused = Size {
            records: 99_999,
            ..SIZE
        };
        let reason = refused.check().unwrap_err().to_string();
        assert!(reason.contains("--records is 99999"), "{reason}");
        assert!(reason.contains("at least 100000"), "{reason}");
    }

    #[test]
    fn the_report_tells_the_election_and_the_load_apart() {
        let group = |named, fetched, committed| Answered {
            named: Duration::from_millis(named),
            fetched: Duration::from_millis(fetched),
            committed: Duration::from_millis(committed),
        };
        let failover = Failover {
            groups: vec![group(30, 400, 440), group(20, 90, 91), group(40, 140, 150)],
            loads: Some(Loads {
                longest_ms: 99.6,
                records: 340_000.0,
                bytes: 31.0 * 1048576.0,
            }),
        };
        let report = failover.report(Product::Foz, SIZE);
        let words = |start: &str| {
            let line = report.lines().find_map(|line| line.strip_prefix(start));
            let words = line.unwrap_or_else(|| panic!("{start}: {report}"));
            words.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words("the next coordinator is named after"), "30 ms 40 ms");
        assert_eq!(words("it answers OffsetFetch after"), "140 ms 400 ms");
        assert_eq!(words("it answers OffsetCommit after"), "150 ms 440 ms");
        assert_eq!(words("from its name to its first answer"), "100 ms 370 ms");
        assert_eq!(words("loaded by the others"), "340000 records, 31.0 MiB");
        assert_eq!(words("the longest load of a partition"), "100 ms");
    }
}
