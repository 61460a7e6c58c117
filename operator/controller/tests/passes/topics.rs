//! Topics: their replicas, their deletion, and Clusters of other namespaces.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::{CLUSTER, Stage, TOPIC};

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
