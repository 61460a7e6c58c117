//! Topics: their replicas, their deletion, and Clusters of other namespaces.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::{CLUSTER, Stage, TOPIC};

const RESTORE: &str = "foz.dev/restore-deleted";
const FOREIGN: &str = "/apis/foz.dev/v1alpha1/namespaces/team-a/topics/orders";

fn condition(object: &Value, type_: &str) -> (String, String) {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == type_);
    let text = |field: &str| {
        let text = found.and_then(|found| found[field].as_str());
        text.unwrap_or_default().to_owned()
    };
    (text("reason"), text("message"))
}

/// Waits until a condition has this reason, and answers with its message.
async fn told(server: &ApiServer, path: &str, type_: &str, reason: &str) -> String {
    let look = |server: &ApiServer| {
        let (found, message) = condition(&server.get(path)?, type_);
        (found == reason).then_some(message)
    };
    let what = format!("{path} with {type_} {reason}");
    server.eventually(&what, look).await
}

impl Stage {
    fn edit(&self, path: &str, change: impl Fn(&mut Value)) {
        let mut object = self.server.get(path).expect("the object");
        change(&mut object);
        self.server.put(path, object);
    }

    fn annotate(&self, which: Option<&str>) {
        self.edit(TOPIC, |topic| {
            topic["metadata"]["annotations"] = which.map_or(json!({}), |it| json!({RESTORE: it}));
        });
    }

    /// A Topic that asks for a deleted topic.
    fn topic_to_restore(&self, which: &str, spec: Value) {
        let mut spec = spec;
        spec["clusterRef"] = json!({"name": "demo"});
        let metadata = json!({"generation": 1, "annotations": {RESTORE: which}});
        let object = json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Topic", "metadata": metadata, "spec": spec,
        });
        self.server.put(TOPIC, object);
    }

    /// The id of the topic that there is.
    fn topic_id(&self) -> Option<Vec<u8>> {
        let id = |state: &mut crate::quorum::State| Some(state.topics.get("orders")?.id.clone());
        self.quorum.with(id)
    }

    async fn deletes(&self) {
        self.delete_topic_object(TOPIC);
        let gone = |server: &ApiServer| server.get(TOPIC).is_none().then_some(());
        let what = "the object to be let go";
        self.server.eventually(what, gone).await;
    }

    fn delete_topic_object(&self, path: &str) {
        let since = "2999-01-02T00:00:00Z";
        self.edit(path, |object| {
            object["metadata"]["deletionTimestamp"] = json!(since);
        });
    }
}

#[tokio::test]
async fn a_topic_is_made_while_a_broker_is_away_and_waits_for_one_that_is_still_to_come() {
    let stage = Stage::set(60).await;
    stage.pods_become_ready().await;
    for node_id in 0..3 {
        stage.quorum.fence(node_id);
    }
    stage.topic(json!({"partitions": 2, "replicationFactor": 3}));
    let message = told(&stage.server, TOPIC, "Progressing", "WaitingForBrokers").await;
    assert!(message.contains("none is alive"), "{message}");
    stage.is_at_rest().await;
    stage.quorum.restart_broker(1);
    stage.ready(TOPIC, "True", "Ready").await;

    // The Cluster is to have four.
    stage.edit(CLUSTER, |cluster| {
        cluster["spec"]["replicas"] = json!(4);
    });
    stage.edit(TOPIC, |topic| {
        topic["spec"]["replicationFactor"] = json!(4);
    });
    let message = told(&stage.server, TOPIC, "Progressing", "WaitingForBrokers").await;
    assert!(message.contains("3 have registered"), "{message}");
    stage.quorum.add_broker(3);
    told(
        &stage.server,
        TOPIC,
        "Progressing",
        "ReplicationFactorChanging",
    )
    .await;
    stage.ends().await;
}

#[tokio::test]
async fn the_replication_factor_is_changed_while_the_topic_serves() {
    let stage = Stage::set(20).await;
    stage.pods_become_ready().await;
    stage.topic(json!({"partitions": 2, "replicationFactor": 1}));
    stage.ready(TOPIC, "True", "Ready").await;
    stage.edit(TOPIC, |topic| {
        topic["spec"]["replicationFactor"] = json!(3);
        topic["spec"]["partitions"] = json!(4);
    });
    let message = told(
        &stage.server,
        TOPIC,
        "Progressing",
        "ReplicationFactorChanging",
    )
    .await;
    assert!(message.starts_with("0 of "), "{message}");
    let partitions =
        |server: &ApiServer| (server.get(TOPIC)?["status"]["partitions"] == 4).then_some(());
    stage.server.eventually("four partitions", partitions).await;
    stage.is_at_rest().await;
    stage.quorum.move_to("orders", 3, true);
    let object = stage.ready(TOPIC, "True", "Ready").await;
    assert_eq!(object["status"]["replicationFactor"], 3);
    assert!(object["status"]["replicationFactorUnderWay"].is_null());
    stage.is_at_rest().await;

    // Too many: it says so with the numbers, serves on, and is brought there when brokers come.
    stage.edit(TOPIC, |topic| {
        topic["spec"]["replicationFactor"] = json!(4);
    });
    let message = told(&stage.server, TOPIC, "Degraded", "InvalidReplicationFactor").await;
    assert!(message.contains("4, and there are 3 brokers"), "{message}");
    stage.is_at_rest().await;
    stage.quorum.add_broker(3);
    told(
        &stage.server,
        TOPIC,
        "Progressing",
        "ReplicationFactorChanging",
    )
    .await;
    // Edited back half way.
    stage.edit(TOPIC, |topic| {
        topic["spec"]["replicationFactor"] = json!(3);
    });
    stage.ready(TOPIC, "True", "Ready").await;

    // Somebody else raises it: that is waited for, and then put back.
    stage.quorum.move_to("orders", 4, false);
    told(&stage.server, TOPIC, "Progressing", "ReassignmentUnderWay").await;
    stage.is_at_rest().await;
    stage.quorum.move_to("orders", 4, true);
    let right = |state: &mut crate::quorum::State| {
        let topic = state.topics.get("orders")?;
        let mut partitions = topic.partitions.iter();
        partitions.all(|it| it.replicas.len() == 3).then_some(())
    };
    stage
        .server
        .eventually("three replicas", |_| stage.quorum.with(right))
        .await;
    stage.is_at_rest().await;
    stage.ends().await;
}

#[tokio::test]
async fn a_deletion_waits_until_every_broker_has_heard_of_it_and_says_so() {
    let stage = Stage::set(21).await;
    stage.pods_become_ready().await;
    stage.topic(json!({"deletionPolicy": "Delete"}));
    stage.ready(TOPIC, "True", "Ready").await;
    stage.quorum.with(|state| state.behind = vec![1, 2]);
    stage.delete_topic_object(TOPIC);
    let message = told(&stage.server, TOPIC, "Progressing", "Deleting").await;
    assert_eq!(
        message,
        "deletes topic orders: brokers [1, 2] have not heard of it yet"
    );
    assert!(stage.quorum.with(|state| state.topics.is_empty()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(stage.server.get(TOPIC).is_some());
    stage.quorum.with(|state| state.behind.clear());
    let gone = |server: &ApiServer| server.get(TOPIC).is_none().then_some(());
    stage
        .server
        .eventually("the object to be let go", gone)
        .await;
    assert_eq!(stage.server.notes("TopicDeleted").len(), 1);

    // Its finalizer is taken away by hand, in the middle of it.
    stage.topic(json!({"deletionPolicy": "Delete"}));
    stage.ready(TOPIC, "True", "Ready").await;
    stage.quorum.with(|state| state.behind = vec![1]);
    stage.delete_topic_object(TOPIC);
    told(&stage.server, TOPIC, "Progressing", "Deleting").await;
    stage.edit(TOPIC, |topic| {
        topic["metadata"]["finalizers"] = json!([]);
    });
    assert!(stage.server.get(TOPIC).is_none());
    // The one that takes its place is another.
    stage.quorum.with(|state| state.behind.clear());
    stage.topic(json!({"deletionPolicy": "Retain"}));
    let object = stage.ready(TOPIC, "True", "Ready").await;
    assert!(object["metadata"]["finalizers"].is_null());
    stage.is_at_rest().await;
    stage.ends().await;
}

/// The quorum's events wake the operator before the watch of Topics tells that the object is gone.
#[tokio::test]
async fn a_topic_that_was_let_go_is_not_written_again() {
    let stage = Stage::set(61).await;
    stage.pods_become_ready().await;
    stage.topic(json!({"deletionPolicy": "Delete"}));
    stage.ready(TOPIC, "True", "Ready").await;
    stage.server.tell_no_deletions_of("/topics/");
    stage.delete_topic_object(TOPIC);
    let gone = |server: &ApiServer| server.get(TOPIC).is_none().then_some(());
    stage
        .server
        .eventually("the object to be let go", gone)
        .await;
    stage.quorum.make("orders", 1);
    stage.is_at_rest().await;
    let finalizer = format!("PATCH {TOPIC}");
    let writes = stage.server.writes().into_iter();
    let of_the_finalizer = writes.filter(|write| *write == finalizer).count();
    assert_eq!(of_the_finalizer, 2, "put there, and taken away");
    stage.ends().await;
}

#[tokio::test]
async fn brokers_that_never_hear_of_a_deletion_do_not_keep_a_namespace() {
    let stage = Stage::set(22).await;
    stage.pods_become_ready().await;
    stage.topic(json!({"deletionPolicy": "Delete"}));
    stage.ready(TOPIC, "True", "Ready").await;
    stage.quorum.with(|state| state.behind = vec![2]);
    stage.edit(TOPIC, |topic| {
        topic["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    });
    let gone = |server: &ApiServer| server.get(TOPIC).is_none().then_some(());
    stage
        .server
        .eventually("the object to be let go", gone)
        .await;
    let notes = stage.server.notes("BrokersBehind");
    assert!(notes[0].contains("brokers [2]"), "{notes:?}");
    stage.ends().await;
}

#[tokio::test]
async fn a_topic_of_another_namespace_needs_leave() {
    let stage = Stage::set(23).await;
    stage.pods_become_ready().await;
    let object = json!({
        "apiVersion": "foz.dev/v1alpha1", "kind": "Topic", "metadata": {"generation": 1},
        "spec": {"clusterRef": {"name": "demo", "namespace": "kafka"}, "deletionPolicy": "Delete"},
    });
    stage.server.put(FOREIGN, object);
    let message = told(&stage.server, FOREIGN, "Ready", "NamespaceNotAllowed").await;
    assert!(
        message.contains("kafka/demo") && message.contains("team-a"),
        "{message}"
    );
    assert!(stage.quorum.with(|state| state.topics.is_empty()));

    // It is older, and keeps nobody from the name.
    stage.topic(json!({}));
    stage.edit(TOPIC, |topic| {
        topic["metadata"]["creationTimestamp"] = json!("2026-06-01T00:00:00Z");
    });
    stage.ready(TOPIC, "True", "Ready").await;
    stage.delete_topic_object(TOPIC);
    assert!(
        stage.server.get(TOPIC).is_none(),
        "what is retained holds nobody up"
    );
    stage.quorum.remove("orders");

    stage.edit(CLUSTER, |cluster| {
        cluster["spec"]["allowedNamespaces"] = json!(["team-a"]);
    });
    let object = stage.ready(FOREIGN, "True", "Ready").await;
    assert_eq!(object["metadata"]["finalizers"], json!(["foz.dev/topic"]));
    stage.quorum.set_config("orders", "retention.ms", "1");

    // Leave is taken back: it is not touched any more, and nothing is deleted.
    stage.edit(CLUSTER, |cluster| {
        cluster["spec"]["allowedNamespaces"] = json!(["team-b"]);
    });
    told(&stage.server, FOREIGN, "Ready", "NamespaceNotAllowed").await;
    stage.edit(FOREIGN, |topic| {
        topic["spec"]["config"] = json!({"retention.ms": "7"});
    });
    stage.delete_topic_object(FOREIGN);
    let gone = |server: &ApiServer| server.get(FOREIGN).is_none().then_some(());
    stage
        .server
        .eventually("the object to be let go", gone)
        .await;
    let kept = stage
        .quorum
        .with(|state| state.topics["orders"].config.clone());
    assert_eq!(kept["retention.ms"], "1");
    assert_eq!(stage.server.notes("TopicLeft").len(), 1);
    stage.ends().await;
}

#[tokio::test]
async fn a_deleted_topic_comes_back_where_its_object_asks_for_it() {
    let stage = Stage::set(24).await;
    stage.pods_become_ready().await;
    let spec =
        json!({"deletionPolicy": "Delete", "partitions": 2, "config": {"retention.ms": "7"}});
    stage.topic(spec.clone());
    let made = stage.ready(TOPIC, "True", "Ready").await;
    let id = stage.topic_id();
    stage.deletes().await;
    assert_eq!(stage.topic_id(), None);

    // Another object, which wants more of it than it had.
    let mut more = spec;
    more["partitions"] = json!(3);
    more["config"] = json!({"retention.ms": "8"});
    stage.topic_to_restore("latest", more);
    let grown = |server: &ApiServer| {
        let object = server.get(TOPIC)?;
        (object["status"]["partitions"] == 3).then_some(object)
    };
    stage.server.eventually("three partitions", grown).await;
    let object = stage.ready(TOPIC, "True", "Ready").await;
    assert_eq!(object["status"]["topicId"], made["status"]["topicId"]);
    assert_eq!(stage.topic_id(), id);
    stage.is_at_rest().await;
    let config = stage
        .quorum
        .with(|state| state.topics["orders"].config.clone());
    assert_eq!(config["retention.ms"], "8");
    assert_eq!(stage.quorum.with(|state| state.deleted.len()), 0);
    let notes = stage.server.notes("TopicRestored");
    assert!(notes[0].contains("2023-11-14T22:13:20Z"), "{notes:?}");
    assert_eq!(
        (notes.len(), stage.server.notes("TopicCreated").len()),
        (1, 1)
    );

    // Harmless where there is a topic, whatever it asks for.
    stage.annotate(Some("MDEyMzQ1Njc4OWFiY2RlZg"));
    stage.is_at_rest().await;
    stage.ready(TOPIC, "True", "Ready").await;

    // It goes as any other does, and comes back although the answer is lost.
    stage.deletes().await;
    stage.quorum.with(|state| state.lose_next_answer = true);
    stage.topic_to_restore("latest", json!({"deletionPolicy": "Delete"}));
    stage.ready(TOPIC, "True", "Ready").await;
    assert_eq!(stage.topic_id(), id);
    assert!(!stage.quorum.with(|state| state.lose_next_answer));
    stage.is_at_rest().await;
    stage.ends().await;
}

#[tokio::test]
async fn where_nothing_can_be_brought_back_no_empty_topic_is_made() {
    let stage = Stage::set(25).await;
    stage.pods_become_ready().await;
    stage.topic_to_restore("latest", json!({}));
    let message = told(&stage.server, TOPIC, "Ready", "DeletedTopicNotFound").await;
    assert!(
        message.contains("no deleted topic orders to bring back"),
        "{message}"
    );
    told(&stage.server, TOPIC, "Degraded", "DeletedTopicNotFound").await;
    stage.is_at_rest().await;

    // One of that name was deleted, and another one is asked for.
    stage.quorum.make("orders", 1);
    told(&stage.server, TOPIC, "Ready", "TopicExists").await;
    let id = stage.topic_id();
    stage.annotate(Some("MDEyMzQ1Njc4OWFiY2RlZg"));
    stage.quorum.remove("orders");
    let names_both = |server: &ApiServer| {
        let (reason, message) = condition(&server.get(TOPIC)?, "Ready");
        let both = [
            "with the id MDEyMzQ1Njc4OWFiY2RlZg",
            "AQEBAQEBAQEBAQEBAQEBAQ (deleted",
        ];
        let is_told = both.iter().all(|part| message.contains(part));
        (reason == "DeletedTopicNotFound" && is_told).then_some(())
    };
    stage
        .server
        .eventually("both ids to be named", names_both)
        .await;
    stage.annotate(Some("the old one"));
    let message = told(&stage.server, TOPIC, "Ready", "InvalidSpec").await;
    assert!(message.contains("foz.dev/restore-deleted"), "{message}");
    assert_eq!(stage.topic_id(), None);

    // It is refused: its data is lost.
    let partitions = stage.quorum.with(|state| {
        let lost = state.deleted.last_mut().expect("one");
        std::mem::take(&mut lost.partitions)
    });
    stage.annotate(Some("latest"));
    let message = told(&stage.server, TOPIC, "Ready", "NotRestored").await;
    assert!(message.contains("partition 0"), "{message}");
    let object = stage.server.get(TOPIC).expect("the object");
    assert!(
        object["status"]["topicId"].is_null(),
        "it is nobody's: {object}"
    );
    assert_eq!(stage.topic_id(), None);
    stage
        .quorum
        .with(|state| state.deleted[0].partitions = partitions);
    stage.annotate(Some("AQEBAQEBAQEBAQEBAQEBAQ"));
    stage.ready(TOPIC, "True", "Ready").await;
    assert_eq!(stage.topic_id(), id);
    assert_eq!(stage.server.notes("TopicCreated").len(), 0);
    stage.ends().await;
}

#[tokio::test]
async fn an_empty_topic_in_the_place_of_a_deleted_one_says_what_can_be_brought_back() {
    let stage = Stage::set(26).await;
    stage.pods_become_ready().await;
    stage.topic(json!({}));
    let first = stage.ready(TOPIC, "True", "Ready").await;
    let first = first["status"]["topicId"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(stage.server.notes("DeletedTopicKept").len(), 0);
    let id_of_first = stage.topic_id();
    let other_than = |id: &str| {
        let id = id.to_owned();
        move |server: &ApiServer| {
            let now = server.get(TOPIC)?["status"]["topicId"].as_str()?.to_owned();
            (now != id).then_some(now)
        }
    };
    stage.quorum.remove("orders");
    let second = stage
        .server
        .eventually("another topic", other_than(&first))
        .await;
    let notes = stage.server.eventually("an Event", |server| {
        let notes = server.notes("DeletedTopicKept");
        (!notes.is_empty()).then_some(notes)
    });
    let notes = notes.await;
    assert!(
        notes[0].contains(&format!("foz.dev/restore-deleted={first}")),
        "{notes:?}"
    );

    // As it says: the first one comes back, and the empty one is kept.
    stage.annotate(Some(&first));
    stage.is_at_rest().await;
    stage.quorum.remove("orders");
    // The status names it before it is back, should the answer be lost.
    let is_back = |_: &ApiServer| (stage.topic_id() == id_of_first).then_some(());
    stage.server.eventually("the first topic", is_back).await;
    stage.ready(TOPIC, "True", "Ready").await;

    // Deleted once more, with the id that would come next taken by the empty one.
    stage.annotate(None);
    stage.is_at_rest().await;
    stage.quorum.remove("orders");
    let third = stage
        .server
        .eventually("a third topic", other_than(&first))
        .await;
    assert_ne!(third, second);
    stage.ready(TOPIC, "True", "Ready").await;
    stage.is_at_rest().await;
    stage.ends().await;
}

#[tokio::test]
async fn many_new_topics_ask_together_what_was_deleted() {
    let stage = Stage::set(27).await;
    stage.pods_become_ready().await;
    let path = |n: usize| format!("{TOPIC}-{n}");
    let count = 40;
    for n in 0..count {
        let object = json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Topic", "metadata": {"generation": 1},
            "spec": {"clusterRef": {"name": "demo"}},
        });
        stage.server.put(&path(n), object);
    }
    for n in 0..count {
        stage.ready(&path(n), "True", "Ready").await;
    }
    let listings = stage.quorum.with(|state| state.listings_of_deleted);
    assert!((1..=count / 4).contains(&listings), "{listings}");
    stage.ends().await;
}
