//! `foz topics deleted`, `restore` and `purge`: what only the controllers know.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{bail, ensure};
use foz_api::ActiveController;
use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::list_deleted_topics_response::DeletedTopic;
use foz_api::v1::{
    ListDeletedTopicsRequest, Outcome, PurgeDeletedTopicsRequest, RestoreTopicRequest, TopicRef,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{kafka_uuid, print_json};
use crate::args::{Output, TopicsCommand};
use crate::commands::count;
use crate::table;

/// Runs one of them.
///
/// # Errors
/// What went wrong, in one sentence.
pub(in crate::commands) async fn run(
    controllers: Vec<String>,
    command: TopicsCommand,
    out: &mut (impl Write + Send),
) -> anyhow::Result<()> {
    let controllers = ActiveController::new(controllers);
    match command {
        TopicsCommand::Deleted { output } => list(&controllers, output, out).await,
        TopicsCommand::Restore { topic, new_name } => {
            restore(&controllers, &topic, new_name.unwrap_or_default(), out).await
        }
        TopicsCommand::Purge { topics } => purge(&controllers, &topics, out).await,
        _ => bail!("a broker is to be asked for this"),
    }
}

async fn deleted(controllers: &ActiveController) -> anyhow::Result<Vec<DeletedTopic>> {
    let call = |channel| async move {
        let mut admin = AdminClient::new(channel);
        let request = ListDeletedTopicsRequest::default();
        admin.list_deleted_topics(request).await
    };
    Ok(controllers.call(call).await?.into_inner().topics)
}

async fn list(
    controllers: &ActiveController,
    output: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let topics = deleted(controllers).await?;
    match output {
        Output::Json => print_json(&Value::Array(topics.iter().map(summary).collect()), out),
        Output::Text => {
            if topics.is_empty() {
                eprintln!("no deleted topics");
                return Ok(());
            }
            let now_ms = now_ms();
            let rows: Vec<_> = topics.iter().map(|topic| row(topic, now_ms)).collect();
            let head = [
                "NAME",
                "ID",
                "PARTITIONS",
                "DELETED",
                "KEPT FOR",
                "BY",
                "STATE",
            ];
            out.write_all(table::render(&head, &rows).as_bytes())?;
            Ok(())
        }
    }
}

async fn restore(
    controllers: &ActiveController,
    topic: &str,
    new_name: String,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let request = RestoreTopicRequest {
        topic: Some(topic_ref(&deleted(controllers).await?, topic)),
        new_name,
        operator_epoch: 0,
    };
    let call = |channel| {
        let request = request.clone();
        async move { AdminClient::new(channel).restore_topic(request).await }
    };
    let answer = controllers.call(call).await?.into_inner();
    check(answer.outcome)?;
    let restored = answer.topic.unwrap_or_default();
    let partitions = count(restored.partitions.len() as u64, "partition");
    writeln!(out, "restored topic {} ({partitions})", restored.name)?;
    Ok(())
}

async fn purge(
    controllers: &ActiveController,
    topics: &[String],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let deleted = deleted(controllers).await?;
    let topics_meant = topics.iter().map(|topic| topic_ref(&deleted, topic));
    let request = PurgeDeletedTopicsRequest {
        topics: topics_meant.collect(),
        operator_epoch: 0,
    };
    let call = |channel| {
        let request = request.clone();
        async move {
            let mut admin = AdminClient::new(channel);
            admin.purge_deleted_topics(request).await
        }
    };
    let results = controllers.call(call).await?.into_inner().results;
    let mut failed = 0;
    for (topic, result) in topics.iter().zip(&results) {
        match check(result.outcome.clone()) {
            Ok(()) => {
                let purged = count(result.purged.unsigned_abs().into(), "deleted topic");
                writeln!(out, "purged {topic}: {purged}")?;
            }
            Err(error) => {
                eprintln!("foz: {error}");
                failed += 1;
            }
        }
    }
    ensure!(
        failed == 0 && results.len() == topics.len(),
        "{failed} of {} could not be purged",
        topics.len()
    );
    Ok(())
}

/// An id is what `foz topics deleted` prints, or the same as hexadecimal digits, which is how the directories on the disks
/// are called; anything else is a name.
fn topic_ref(deleted: &[DeletedTopic], topic: &str) -> TopicRef {
    let is_meant = |it: &&DeletedTopic| {
        text_of(&it.id) == topic || Uuid::try_parse(topic).is_ok_and(|id| it.id == id.as_bytes())
    };
    match deleted.iter().find(is_meant) {
        Some(found) => TopicRef {
            id: found.id.clone(),
            ..TopicRef::default()
        },
        None => TopicRef {
            name: topic.to_owned(),
            ..TopicRef::default()
        },
    }
}

fn check(outcome: Option<Outcome>) -> anyhow::Result<()> {
    let outcome = outcome.unwrap_or_default();
    ensure!(outcome.kafka_code == 0, "{}", outcome.message);
    Ok(())
}

fn summary(topic: &DeletedTopic) -> Value {
    json!({
        "name": topic.name,
        "id": text_of(&topic.id),
        "partitions": topic.partitions,
        "deletedAtMs": topic.deleted_at_ms,
        "graceEndsAtMs": topic.grace_ends_at_ms,
        "byOperator": topic.by_operator,
        "lostPartition": (topic.lost_partition >= 0).then_some(topic.lost_partition),
    })
}

fn row(topic: &DeletedTopic, now_ms: i64) -> Vec<String> {
    let state = match topic.lost_partition {
        -1 => "can be restored".to_owned(),
        lost => format!("partition {lost} is lost"),
    };
    vec![
        topic.name.clone(),
        text_of(&topic.id),
        topic.partitions.to_string(),
        format!("{} ago", span(now_ms.saturating_sub(topic.deleted_at_ms))),
        span(topic.grace_ends_at_ms.saturating_sub(now_ms)),
        if topic.by_operator {
            "operator"
        } else {
            "client"
        }
        .to_owned(),
        state,
    ]
}

/// The two largest units.
fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days}d{hours}h")
    } else if hours > 0 {
        format!("{hours}h{minutes}m")
    } else if minutes > 0 {
        format!("{minutes}m{}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

fn text_of(id: &[u8]) -> String {
    Uuid::from_slice(id).map_or_else(|_| "?".to_owned(), kafka_uuid)
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_that_there_is() {
        let id = Uuid::from_u128(77);
        let deleted = [DeletedTopic {
            name: "t".to_owned(),
            id: id.as_bytes().to_vec(),
            ..DeletedTopic::default()
        }];
        for text in [kafka_uuid(id), id.simple().to_string(), id.to_string()] {
            assert_eq!(topic_ref(&deleted, &text).id, id.as_bytes(), "{text}");
            // Without such a topic it is a name, whatever it looks like.
            assert_eq!(topic_ref(&[], &text).name, text);
        }
        let by_name = topic_ref(&deleted, "t");
        assert_eq!((&*by_name.name, by_name.id.len()), ("t", 0));
    }

    #[test]
    fn times_are_told_in_two_units() {
        for (ms, text) in [
            (-1, "0s"),
            (59_999, "59s"),
            (61_000, "1m1s"),
            (7_260_000, "2h1m"),
            (90_000_000, "1d1h"),
        ] {
            assert_eq!(span(ms), text);
        }
        let topic = DeletedTopic {
            name: "t".to_owned(),
            id: vec![1],
            partitions: 2,
            deleted_at_ms: 1_000,
            grace_ends_at_ms: 5_000,
            by_operator: true,
            lost_partition: 1,
        };
        let row = row(&topic, 3_000);
        let expected = [
            "t",
            "?",
            "2",
            "2s ago",
            "2s",
            "operator",
            "partition 1 is lost",
        ];
        assert_eq!(row, expected);
    }
}
