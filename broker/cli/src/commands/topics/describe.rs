//! `foz topics describe`.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};

use super::{count, kafka_uuid, print_json, replication_factor, summary};
use crate::args::Output;
use crate::client::{Client, ConfigEntry, OffsetAt, Topic, UNKNOWN_TOPIC_GRACE};
use crate::table;

/// Prints partitions, leaders, replicas, offsets and configuration of each topic.
pub(super) async fn run(
    client: &Client,
    topics: &[String],
    all_configs: bool,
    output: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut objects = Vec::new();
    for (at, name) in topics.iter().enumerate() {
        let details = details(client, name).await?;
        match output {
            Output::Json => objects.push(details.to_json()),
            Output::Text => {
                let blank = if at == 0 { "" } else { "\n" };
                write!(out, "{blank}{}", details.to_text(all_configs))?;
            }
        }
    }
    match output {
        Output::Json => print_json(&Value::Array(objects), out),
        Output::Text => Ok(()),
    }
}

struct Details {
    name: String,
    topic: Topic,
    configs: Vec<ConfigEntry>,
    earliest: BTreeMap<i32, i64>,
    latest: BTreeMap<i32, i64>,
}

async fn details(client: &Client, name: &str) -> anyhow::Result<Details> {
    let partitions = client.partitions_of(name, UNKNOWN_TOPIC_GRACE).await?;
    let topic = client.cluster().topics.get(name).cloned();
    let topic = topic.ok_or_else(|| anyhow::anyhow!("topic {name} has just been deleted"))?;
    let configs = client.topic_configs(name).await?;
    let mut details = Details {
        name: name.to_owned(),
        topic,
        configs,
        earliest: BTreeMap::new(),
        latest: BTreeMap::new(),
    };
    for partition in partitions {
        // A partition without a leader has no offsets to show, which is what people look for here.
        let one = [partition];
        if let Ok(offsets) = client.offsets(name, &one, OffsetAt::Earliest).await {
            details.earliest.extend(offsets);
        }
        if let Ok(offsets) = client.offsets(name, &one, OffsetAt::Latest).await {
            details.latest.extend(offsets);
        }
    }
    Ok(details)
}

impl Details {
    fn to_text(&self, all_configs: bool) -> String {
        let topic = &self.topic;
        let mut text = format!("topic {}", self.name);
        if !topic.id.is_nil() {
            text.push_str(&format!(" (id {})", kafka_uuid(topic.id)));
        }
        let partitions = count(topic.partitions.len() as u64, "partition");
        text.push_str(&format!(
            "\n{partitions}, replication factor {}\n",
            replication_factor(topic)
        ));
        for config in self
            .configs
            .iter()
            .filter(|config| all_configs || config.is_set_on_topic)
        {
            let value = config.value.as_deref().unwrap_or("(hidden)");
            text.push_str(&format!("config {}={value}\n", config.name));
        }
        let mut partitions = topic.partitions.values();
        let some_are_offline = partitions.any(|it| !it.offline_replicas.is_empty());
        let rows: Vec<Vec<String>> = topic
            .partitions
            .iter()
            .map(|(index, partition)| {
                let offset = |offsets: &BTreeMap<i32, i64>| {
                    offsets
                        .get(index)
                        .map_or("?".to_owned(), ToString::to_string)
                };
                let leader = match partition.leader {
                    -1 => "none".to_owned(),
                    leader => leader.to_string(),
                };
                let (earliest, latest) = (offset(&self.earliest), offset(&self.latest));
                let replicas = ids(&partition.replicas);
                let mut row = vec![index.to_string(), leader, replicas, ids(&partition.isr)];
                if some_are_offline {
                    row.push(ids(&partition.offline_replicas));
                }
                row.extend([earliest, latest]);
                row
            })
            .collect();
        let mut head = vec!["PARTITION", "LEADER", "REPLICAS", "IN SYNC"];
        if some_are_offline {
            head.push("OFFLINE");
        }
        head.extend(["FIRST OFFSET", "NEXT OFFSET"]);
        text.push_str(&table::render(&head, &rows));
        text
    }

    fn to_json(&self) -> Value {
        let partitions: Vec<Value> = self
            .topic
            .partitions
            .iter()
            .map(|(index, partition)| {
                json!({
                    "partition": index,
                    "leader": (partition.leader >= 0).then_some(partition.leader),
                    "leader_epoch": partition.leader_epoch,
                    "replicas": partition.replicas,
                    "isr": partition.isr,
                    "offline_replicas": partition.offline_replicas,
                    "earliest_offset": self.earliest.get(index),
                    "latest_offset": self.latest.get(index),
                })
            })
            .collect();
        let configs: serde_json::Map<String, Value> = self
            .configs
            .iter()
            .map(|config| {
                let entry = json!({"value": config.value, "set_on_topic": config.is_set_on_topic});
                (config.name.clone(), entry)
            })
            .collect();
        let mut object = summary(&self.name, &self.topic);
        object["partition_details"] = Value::Array(partitions);
        object["configs"] = Value::Object(configs);
        object
    }
}

fn ids(ids: &[i32]) -> String {
    ids.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use foz_protocol::error::ErrorCode;
    use uuid::Uuid;

    use crate::client::Partition;

    use super::*;

    fn example() -> Details {
        let partition = |leader, isr: &[i32]| Partition {
            error: ErrorCode::None,
            leader,
            leader_epoch: 4,
            replicas: vec![1, 2],
            isr: isr.to_vec(),
            offline_replicas: Vec::new(),
        };
        let partitions = [(0, partition(1, &[1, 2])), (1, partition(-1, &[2]))].into();
        Details {
            name: "orders".into(),
            topic: Topic {
                error: ErrorCode::None,
                id: Uuid::nil(),
                is_internal: false,
                partitions,
            },
            configs: vec![
                ConfigEntry {
                    name: "retention.ms".into(),
                    value: Some("5".into()),
                    is_set_on_topic: true,
                },
                ConfigEntry {
                    name: "segment.ms".into(),
                    value: None,
                    is_set_on_topic: false,
                },
            ],
            earliest: [(0, 3)].into(),
            latest: [(0, 12)].into(),
        }
    }

    #[test]
    fn a_description_shows_what_is_set_and_what_is_missing() {
        assert_eq!(
            example().to_text(false),
            "topic orders\n\
             2 partitions, replication factor 2\n\
             config retention.ms=5\n\
             PARTITION  LEADER  REPLICAS  IN SYNC  FIRST OFFSET  NEXT OFFSET\n\
             0          1       1,2       1,2      3             12\n\
             1          none    1,2       2        ?             ?\n"
        );
        assert!(
            example()
                .to_text(true)
                .contains("config segment.ms=(hidden)\n")
        );
    }

    #[test]
    fn offline_replicas_have_a_column_where_there_are_any() {
        let mut example = example();
        let partition = example.topic.partitions.get_mut(&1).expect("1");
        partition.offline_replicas = vec![1];
        let text = example.to_text(false);
        let table: Vec<&str> = text.lines().skip(3).collect();
        assert_eq!(
            table,
            [
                "PARTITION  LEADER  REPLICAS  IN SYNC  OFFLINE  FIRST OFFSET  NEXT OFFSET",
                "0          1       1,2       1,2               3             12",
                "1          none    1,2       2        1        ?             ?",
            ]
        );
        let json = example.to_json();
        assert_eq!(json["partition_details"][0]["offline_replicas"], json!([]));
        assert_eq!(json["partition_details"][1]["offline_replicas"], json!([1]));
    }

    #[test]
    fn json_has_nulls_for_what_is_missing() {
        let json = example().to_json();
        assert_eq!(json["partitions"], 2);
        assert_eq!(json["partition_details"][1]["leader"], Value::Null);
        assert_eq!(json["partition_details"][1]["latest_offset"], Value::Null);
        assert_eq!(json["configs"]["retention.ms"]["set_on_topic"], true);
    }
}
