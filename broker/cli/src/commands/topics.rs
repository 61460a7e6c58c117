//! `foz topics`: list, create, describe, delete, alter.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foz_protocol::error::ErrorCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::count;
use crate::args::{AlterArgs, CreateArgs, Output, TopicsCommand};
use crate::client::{
    Client, ClientError, ConfigChange, DELETE_ALL, NewTopic, OffsetAt, Retry, Topic,
    UNKNOWN_TOPIC_GRACE,
};
use crate::table;

pub(super) mod deleted;
mod describe;

/// How long a broker without a leader, or a controller that moves, is asked again.
const PATIENCE: Duration = Duration::from_secs(15);
/// Runs one of them.
///
/// # Errors
/// What went wrong, in one sentence.
pub async fn run(
    client: &Client,
    command: TopicsCommand,
    out: &mut (impl Write + Send),
) -> anyhow::Result<()> {
    match command {
        TopicsCommand::List { internal, output } => list(client, internal, output, out).await,
        TopicsCommand::Create(args) => create(client, args, out).await,
        TopicsCommand::Describe {
            topics,
            all_configs,
            output,
        } => describe::run(client, &topics, all_configs, output, out).await,
        TopicsCommand::Delete { topics, if_exists } => {
            delete(client, &topics, if_exists, out).await
        }
        TopicsCommand::DeleteRecords { topic, before } => {
            delete_records(client, &topic, before, out).await
        }
        TopicsCommand::Alter(args) => alter(client, args, out).await,
        TopicsCommand::Deleted { .. }
        | TopicsCommand::Restore { .. }
        | TopicsCommand::Purge { .. } => unreachable!("the controllers are asked for these"),
    }
}

async fn list(
    client: &Client,
    internal: bool,
    output: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let cluster = client.refresh(None).await?;
    let topics = cluster
        .topics
        .iter()
        .filter(|(_, topic)| internal || !topic.is_internal);
    match output {
        Output::Json => {
            let topics: Vec<Value> = topics.map(|(name, topic)| summary(name, topic)).collect();
            print_json(&Value::Array(topics), out)
        }
        Output::Text => {
            let rows: Vec<Vec<String>> = topics
                .map(|(name, topic)| {
                    let replicas = replication_factor(topic).to_string();
                    vec![name.clone(), topic.partitions.len().to_string(), replicas]
                })
                .collect();
            if rows.is_empty() {
                eprintln!("no topics yet; make one with: foz topics create NAME");
                return Ok(());
            }
            out.write_all(
                table::render(&["NAME", "PARTITIONS", "REPLICATION FACTOR"], &rows).as_bytes(),
            )?;
            Ok(())
        }
    }
}

async fn create(client: &Client, args: CreateArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let topic = NewTopic {
        name: args.topic,
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        configs: args.config.into_iter().collect(),
    };
    let name = &topic.name;
    let created = Retry::within(PATIENCE)
        .run(async || retry_on_controller(client, client.create_topic(&topic).await).await);
    match created.await {
        Ok(created) => {
            let partitions = created
                .partitions
                .map(|number| count(number.unsigned_abs().into(), "partition"));
            let replicas = created
                .replication_factor
                .map(|it| format!("replication factor {it}"));
            let details: Vec<String> = partitions.into_iter().chain(replicas).collect();
            let details = if details.is_empty() {
                String::new()
            } else {
                format!(" ({})", details.join(", "))
            };
            writeln!(out, "created topic {name}{details}")?;
            Ok(())
        }
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) && args.if_not_exists => {
            writeln!(out, "topic {name} exists already")?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete(
    client: &Client,
    topics: &[String],
    if_exists: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    for name in topics {
        let deleted = delete_one(client, name, if_exists).await?;
        let done = if deleted { "deleted" } else { "there is no" };
        writeln!(out, "{done} topic {name}")?;
    }
    Ok(())
}

/// UNKNOWN_TOPIC_OR_PARTITION can be retried in general, but here it is the answer.
async fn delete_one(client: &Client, name: &str, if_exists: bool) -> Result<bool, ClientError> {
    Retry::within(PATIENCE)
        .run(
            async || match retry_on_controller(client, client.delete_topic(name).await).await {
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                    if if_exists {
                        return Ok(false);
                    }
                    Err(ClientError::Invalid(format!(
                        "deleting topic {name}: there is no topic of this name; \
                         foz topics list shows all"
                    )))
                }
                done => done.map(|()| true),
            },
        )
        .await
}

async fn delete_records(
    client: &Client,
    topic: &str,
    before: Vec<(i32, i64)>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let known = client.partitions_of(topic, UNKNOWN_TOPIC_GRACE).await?;
    let mut wanted = BTreeMap::new();
    for (partition, offset) in before {
        if !known.contains(&partition) {
            bail!(
                "topic {topic} has no partition {partition}; foz topics describe {topic} shows all"
            );
        }
        if wanted.insert(partition, offset).is_some() {
            bail!("partition {partition} is named twice");
        }
    }
    let retry = Retry::within(PATIENCE);
    let starts = retry
        .run(async || {
            let done = delete_records_once(client, topic, &mut wanted).await;
            if done.as_ref().is_err_and(ClientError::is_retriable) {
                // Learns who leads. A failure shows in the next try.
                let _ = client.refresh(Some(&[topic])).await;
            }
            done
        })
        .await?;
    for (partition, start) in starts {
        writeln!(out, "{topic}-{partition} begins at offset {start} now")?;
    }
    Ok(())
}

/// What the end is, is asked once: what is produced after that stays, however often the rest is tried.
async fn delete_records_once(
    client: &Client,
    topic: &str,
    wanted: &mut BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, i64>, ClientError> {
    let to_the_end = wanted.iter().filter(|(_, before)| **before == DELETE_ALL);
    let to_the_end: Vec<i32> = to_the_end.map(|(partition, _)| *partition).collect();
    if !to_the_end.is_empty() {
        let ends = client.offsets(topic, &to_the_end, OffsetAt::Latest);
        wanted.extend(ends.await?);
    }
    client.delete_records(topic, wanted).await
}

async fn alter(client: &Client, args: AlterArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let name = &args.topic;
    // First the question whether it exists, so that a typing error is answered at once.
    client.partitions_of(name, UNKNOWN_TOPIC_GRACE).await?;
    let set = args
        .config
        .into_iter()
        .map(|(key, value)| ConfigChange::Set(key, value));
    let delete = args.delete_config.into_iter().map(ConfigChange::Delete);
    let changes: Vec<ConfigChange> = set.chain(delete).collect();
    if !changes.is_empty() {
        let retry = Retry::within(PATIENCE);
        retry
            .run(async || {
                let done = client.alter_topic_configs(name, &changes).await;
                retry_on_controller(client, done).await
            })
            .await?;
        for change in &changes {
            match change {
                ConfigChange::Set(key, value) => writeln!(out, "topic {name}: {key}={value}")?,
                ConfigChange::Delete(key) => {
                    writeln!(out, "topic {name}: {key} is back to its default")?;
                }
            }
        }
    }
    if let Some(partitions) = args.partitions {
        let retry = Retry::within(PATIENCE);
        retry
            .run(async || {
                let done = client.create_partitions(name, partitions).await;
                retry_on_controller(client, done).await
            })
            .await?;
        let partitions = count(partitions.unsigned_abs().into(), "partition");
        writeln!(out, "topic {name} has {partitions} now")?;
    }
    Ok(())
}

/// Learns where the controller is before the next try.
async fn retry_on_controller<T>(
    client: &Client,
    done: Result<T, ClientError>,
) -> Result<T, ClientError> {
    if done.as_ref().is_err_and(ClientError::is_retriable) {
        // A failure shows in the next try.
        let _ = client.refresh(Some(&[])).await;
    }
    done
}

fn summary(name: &str, topic: &Topic) -> Value {
    json!({
        "name": name,
        "id": kafka_uuid(topic.id),
        "partitions": topic.partitions.len(),
        "replication_factor": replication_factor(topic),
        "internal": topic.is_internal,
    })
}

/// Ids as Kafka's own tools write them.
fn kafka_uuid(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// Of the first partition: a reassignment may make partitions differ for a while.
fn replication_factor(topic: &Topic) -> usize {
    topic
        .partitions
        .values()
        .next()
        .map_or(0, |partition| partition.replicas.len())
}

fn print_json(value: &Value, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "{value:#}")?;
    Ok(())
}
