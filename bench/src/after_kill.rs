//! How long a broker that was killed keeps people waiting, with gigabytes in its logs.
//!
//! One process with both roles is filled and killed with SIGKILL, so that a part of what it holds was never flushed, and
//! started again. Each answer is asked for by a client of its own from the start of the process on.

use std::fmt::Write as _;
use std::time::Duration;

use foz_cli::client::{
    Client, ClientConfig, Consumer, ConsumerConfig, OffsetAt, Producer, ProducerConfig,
};
use foz_cli::message::Message;
use tokio::time::{Instant, sleep};

use crate::Tools;
use crate::cluster::Cluster;
use crate::promise::Promise;
use crate::report::Product;
use crate::workload::{BULK, PARTITIONS, Production, create_topic};

const TOPIC: &str = "after-kill";
const RECORD_BYTES: u64 = 1024;
/// Between two tries of a client.
const PAUSE: Duration = Duration::from_millis(10);
/// A broker that does not answer by then has failed.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs it for one product; returns the report.
///
/// # Errors
/// The broker or a client fails; with the end of the broker's log.
pub(crate) async fn run(tools: &Tools, product: Product, gibibytes: u64) -> anyhow::Result<String> {
    eprintln!("{}: one broker starts", product.name());
    Cluster::live(
        tools,
        product,
        Promise::PageCache,
        "",
        async |cluster, _| course(tools, cluster, product, gibibytes).await,
    )
    .await
}

async fn course(
    tools: &Tools,
    cluster: &mut Cluster,
    product: Product,
    gibibytes: u64,
) -> anyhow::Result<String> {
    create_topic(&tools.java, cluster, TOPIC).await?;
    let production = Production {
        topic: TOPIC,
        records: (gibibytes << 30) / RECORD_BYTES,
        record_bytes: RECORD_BYTES,
        properties: BULK,
    };
    let produced = production.run(&tools.java, cluster).await?;
    eprintln!(
        "        {gibibytes} GiB are written at {} MiB/s, and it is killed",
        produced.mebibytes_per_second
    );
    let bootstrap = cluster.bootstrap();
    let broker = cluster.broker(0);
    broker.kill().await?;
    let began = Instant::now();
    broker.spawn_again()?;
    let (first, newest, written) = tokio::try_join!(
        answered(began, || read_first(&bootstrap)),
        answered(began, || read_newest(&bootstrap)),
        answered(began, || write_one(&bootstrap)),
    )?;
    let mut text = format!(
        "\n{}: killed with {gibibytes} GiB in {PARTITIONS} partitions\n",
        product.name()
    );
    for (what, took) in [
        ("the first record read after", first),
        ("the newest of each partition read after", newest),
        ("a record acknowledged after", written),
    ] {
        writeln!(text, "{what:<42}{:>7.2} s", took.as_secs_f64())?;
    }
    Ok(text)
}

/// Tries until it works; returns how long after `began` that was.
async fn answered<F: Future<Output = anyhow::Result<()>>>(
    began: Instant,
    attempt: impl Fn() -> F,
) -> anyhow::Result<Duration> {
    loop {
        match attempt().await {
            Ok(()) => return Ok(began.elapsed()),
            Err(error) if began.elapsed() > LIMIT => return Err(error),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn read_first(bootstrap: &str) -> anyhow::Result<()> {
    let client = client(bootstrap).await?;
    read(&client, &[(0, 0)]).await
}

async fn read_newest(bootstrap: &str) -> anyhow::Result<()> {
    let client = client(bootstrap).await?;
    let partitions: Vec<i32> = (0..PARTITIONS).collect();
    let ends = client.offsets(TOPIC, &partitions, OffsetAt::Latest).await?;
    let newest: Vec<_> = ends
        .into_iter()
        .filter(|(_, end)| *end > 0)
        .map(|(partition, end)| (partition, end - 1))
        .collect();
    read(&client, &newest).await
}

/// The records with these partitions and offsets, or more.
async fn read(client: &Client, records: &[(i32, i64)]) -> anyhow::Result<()> {
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    for (partition, offset) in records {
        consumer.assign(TOPIC, *partition, *offset);
    }
    let mut missing: Vec<i32> = records.iter().map(|(partition, _)| *partition).collect();
    let deadline = Instant::now() + LIMIT;
    while !missing.is_empty() && Instant::now() < deadline {
        for message in consumer.poll(deadline).await?.messages {
            missing.retain(|partition| *partition != message.partition);
        }
    }
    anyhow::ensure!(missing.is_empty(), "nothing to be read in {missing:?}");
    Ok(())
}

async fn write_one(bootstrap: &str) -> anyhow::Result<()> {
    let client = client(bootstrap).await?;
    let mut producer = Producer::new(client, ProducerConfig::default()).await?;
    producer.send(TOPIC, Message::of("after the kill")).await?;
    producer.flush().await?;
    Ok(())
}

async fn client(bootstrap: &str) -> anyhow::Result<Client> {
    let client = Client::connect(ClientConfig::new([bootstrap])).await?;
    let cluster = client.refresh(Some(&[TOPIC])).await?;
    let are_led = (0..PARTITIONS).all(|partition| cluster.leader(TOPIC, partition).is_some());
    anyhow::ensure!(are_led, "not all partitions are led");
    Ok(client)
}
