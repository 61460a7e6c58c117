//! rdkafka: librdkafka from Rust; what each case does stands in `compat/clients/README.md`.

mod cases;
mod check;
mod member;
mod record;
mod transactions;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use serde::{Deserialize, Serialize};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
struct Setup {
    bootstrap: String,
    prefix: String,
    has: Vec<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    result: &'a str,
    detail: String,
    ms: u128,
}

/// Whether a case that ended without an error was skipped, and why.
type Outcome = Result<Option<String>>;
const PASSED: Outcome = Ok(None);

struct Scenario {
    setup: Setup,
    topic: String,
    admin: AdminClient<DefaultClientContext>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let file = std::env::args()
        .nth(1)
        .ok_or_else(|| anyhow!("no setup is named"))?;
    let setup: Setup = serde_json::from_slice(&std::fs::read(file)?)?;
    let s = Scenario {
        topic: format!("{}-records", setup.prefix),
        admin: ClientConfig::new()
            .set("bootstrap.servers", &setup.bootstrap)
            .create()?,
        setup,
    };
    tell("create-topic", s.create_topic()).await?;
    tell("create-partitions", s.create_partitions()).await?;
    tell("topic-configs", s.topic_configs()).await?;
    for (partition, codec) in (0..).zip(CODECS) {
        tell(&format!("produce-{codec}"), s.produce(codec, partition)).await?;
    }
    tell("too-large", s.too_large()).await?;
    tell("consume-by-offset", s.consume_by_offset()).await?;
    tell("consume-by-time", s.consume_by_time()).await?;
    tell("list-offsets", s.list_offsets()).await?;
    tell("greatest-time", skip("the client has no call for it")).await?;
    tell("offset-out-of-range", s.offset_out_of_range()).await?;
    tell("idempotent", s.idempotent()).await?;
    for assignor in ["range", "roundrobin", "cooperative-sticky"] {
        let case = format!("group-{assignor}");
        tell(
            &case,
            s.rebalance(assignor, &[("partition.assignment.strategy", assignor)]),
        )
        .await?;
    }
    tell(
        "group-sticky",
        skip("librdkafka has only the cooperative one"),
    )
    .await?;
    tell("group-static", s.static_member()).await?;
    tell("group-new-protocol", s.new_protocol()).await?;
    for case in [
        "group-new-static",
        "group-new-regex",
        "group-new-range",
        "group-migration",
    ] {
        tell(case, skip("as confluent-kafka, whose library it has")).await?;
    }
    tell("commits", s.commits()).await?;
    tell("group-admin", s.group_admin()).await?;
    tell("group-changes", s.group_changes()).await?;
    tell("delete-records", s.delete_records()).await?;
    tell("delete-topic", s.delete_topic()).await?;
    tell("transactions", s.transactions()).await?;
    tell("transaction-open", s.transaction_open()).await?;
    tell("transaction-offsets", s.transaction_offsets()).await?;
    tell("transaction-fenced", s.transaction_fenced()).await
}

async fn skip(reason: &str) -> Outcome {
    Ok(Some(reason.to_owned()))
}

/// One that fails does not keep the next from being tried.
async fn tell(case: &str, action: impl Future<Output = Outcome>) -> Result<()> {
    let begun = Instant::now();
    let (result, detail) = match action.await {
        Ok(None) => ("passed", String::new()),
        Ok(Some(reason)) => ("skipped", reason),
        Err(error) => ("failed", format!("{error:#}").chars().take(500).collect()),
    };
    let ms = begun.elapsed().as_millis();
    println!(
        "{}",
        serde_json::to_string(&Line {
            case,
            result,
            detail,
            ms
        })?
    );
    Ok(())
}
