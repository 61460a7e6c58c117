//! Bringing a deleted topic back in the place of an empty one.

use foz_api::v1::RestoreTopicResponse;
use foz_api::v1::list_deleted_topics_response::DeletedTopic;
use foz_crd::TopicStatus;
use k8s_openapi::jiff::Timestamp;

use crate::conditions::Finding;
use crate::error::ReconcileError;
use crate::events::Notice;
use crate::names::RESTORE_DELETED_ANNOTATION;
use crate::quorum::view::{id_text, topic_view};
use crate::topic::execute::{
    Executed, TOPIC_ALREADY_EXISTS, UNKNOWN_TOPIC_ID, outcome_of, reason_of,
};
use crate::topic::reconcile::Pass;
use crate::topic::validate::RestoreDeleted;

/// A condition names so many of those that there are.
const NAMED_MAX: usize = 5;

/// Brings it back. Where it is not there nothing is made: whoever asks for records is not served with an empty topic.
pub(super) async fn restore(
    pass: &Pass<'_>,
    which: &RestoreDeleted,
    executed: &mut Executed,
) -> Result<bool, ReconcileError> {
    let quorum = pass.quorum()?;
    let deleted = quorum.deleted_topics(&pass.topic_name).await?;
    let Some(found) = find(&deleted, which) else {
        let message = not_found(&pass.topic_name, &deleted, which);
        let failed = Finding::new("DeletedTopicNotFound", message);
        executed.outcome.failed.push(failed);
        return Ok(false);
    };
    let id = id_text(&found.id);
    if pass.previous.topic_id.as_ref() != Some(&id) {
        // Should the answer be lost, it is known by this for the object's own.
        let status = TopicStatus {
            topic_id: Some(id.clone()),
            ..pass.previous.clone()
        };
        pass.write_status(&status).await?;
    }
    executed.outcome.topic_id = Some(id.clone());
    let RestoreTopicResponse { outcome, topic } = quorum.restore_topic(&found.id).await?;
    let (code, message) = outcome_of(outcome);
    if code != 0 {
        if code != UNKNOWN_TOPIC_ID {
            // Else an earlier attempt may have brought it back: then the stream will tell of it.
            executed.outcome.topic_id = None;
        }
        let reason = match code {
            TOPIC_ALREADY_EXISTS => reason_of(code),
            _ => "NotRestored",
        };
        executed.outcome.failed.push(Finding::new(reason, message));
        return Ok(false);
    }
    executed.outcome.topic = topic.map(topic_view);
    let note = format!(
        "topic {} with the id {id}, partitions: {}; it was deleted {}",
        pass.topic_name,
        found.partitions,
        time(found.deleted_at_ms)
    );
    executed.notices.push(Notice::done("TopicRestored", note));
    Ok(true)
}

/// Of an empty topic that takes the name of these.
pub(super) fn could_be_restored(deleted: &[DeletedTopic]) -> Option<Notice> {
    let newest = deleted.iter().find(|it| it.lost_partition < 0)?;
    let (name, id) = (&newest.name, id_text(&newest.id));
    let note = format!(
        "topic {name} is a new one, without records; the one with the id {id}, deleted {}, can be brought back until {}: annotate the Topic with {RESTORE_DELETED_ANNOTATION}={id} and delete the new one with a Kafka client, or have both with `foz topics restore {id} --as NAME`",
        time(newest.deleted_at_ms),
        time(newest.grace_ends_at_ms)
    );
    Some(Notice::done("DeletedTopicKept", note))
}

/// What was deleted last comes first.
fn find<'a>(deleted: &'a [DeletedTopic], which: &RestoreDeleted) -> Option<&'a DeletedTopic> {
    match which {
        RestoreDeleted::Latest => deleted.first(),
        RestoreDeleted::Id(id) => deleted.iter().find(|it| it.id == *id),
    }
}

fn not_found(name: &str, deleted: &[DeletedTopic], which: &RestoreDeleted) -> String {
    let wanted = match which {
        RestoreDeleted::Latest => String::new(),
        RestoreDeleted::Id(id) => format!(" with the id {}", id_text(id)),
    };
    let named = deleted.iter().take(NAMED_MAX);
    let named = named.map(|it| format!("{} (deleted {})", id_text(&it.id), time(it.deleted_at_ms)));
    let instead = match named.collect::<Vec<_>>() {
        none if none.is_empty() => String::new(),
        some => format!("set it to latest or one of {}, or ", some.join(", ")),
    };
    format!(
        "there is no deleted topic {name}{wanted} to bring back, as {RESTORE_DELETED_ANNOTATION} asks, and no empty one is made: {instead}take the annotation away to have an empty one"
    )
}

/// In whole seconds.
fn time(ms: i64) -> String {
    Timestamp::from_second(ms.div_euclid(1000)).map_or_else(|_| ms.to_string(), |it| it.to_string())
}

#[cfg(test)]
mod tests {
    use super::{could_be_restored, find, not_found};
    use crate::quorum::view::id_text;
    use crate::topic::validate::RestoreDeleted;
    use foz_api::v1::list_deleted_topics_response::DeletedTopic;

    fn deleted(id: u8, deleted_at_ms: i64, lost_partition: i32) -> DeletedTopic {
        DeletedTopic {
            name: "orders".into(),
            id: vec![id; 16],
            partitions: 1,
            deleted_at_ms,
            grace_ends_at_ms: deleted_at_ms + 86_400_000,
            by_operator: false,
            lost_partition,
        }
    }

    #[test]
    fn the_latest_is_the_first_and_another_has_an_id() {
        let all = [deleted(2, 2_000, -1), deleted(1, 1_000, -1)];
        assert_eq!(find(&all, &RestoreDeleted::Latest), Some(&all[0]));
        let first = RestoreDeleted::Id(vec![1; 16]);
        assert_eq!(find(&all, &first), Some(&all[1]));
        assert_eq!(find(&[], &RestoreDeleted::Latest), None);
        let third = RestoreDeleted::Id(vec![3; 16]);
        assert_eq!(find(&all, &third), None);
        let message = not_found("orders", &all, &third);
        for part in [
            &*id_text(&[3; 16]),
            &*id_text(&[1; 16]),
            "1970-01-01T00:00:02Z",
        ] {
            assert!(message.contains(part), "{message}");
        }
        let message = not_found("orders", &[], &RestoreDeleted::Latest);
        assert!(!message.contains("latest or one of"), "{message}");
    }

    #[test]
    fn only_what_can_be_brought_back_is_told_of() {
        assert_eq!(could_be_restored(&[]), None);
        let all = [deleted(2, 2_000, 0), deleted(1, 1_000, -1)];
        assert_eq!(could_be_restored(&all[..1]), None);
        let notice = could_be_restored(&all).expect("there is one");
        assert!(notice.note.contains(&id_text(&[1; 16])), "{}", notice.note);
        assert!(
            notice.note.contains("until 1970-01-02T00:00:01Z"),
            "{}",
            notice.note
        );
    }
}
