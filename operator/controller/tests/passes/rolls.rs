//! Restarts of pods, one after the other, by grants of the quorum.

use std::time::Duration;

use foz_operator::names::Role;
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::{CLUSTER, Stage};

const PODS: &str = "/api/v1/namespaces/kafka/pods";

/// A pod of a role, and its node id.
type Place = (Role, i64, i32);

const BROKERS: [Place; 3] = [
    (Role::Broker, 0, 0),
    (Role::Broker, 1, 1),
    (Role::Broker, 2, 2),
];
/// Controller 0 is active.
const CONTROLLERS: [Place; 3] = [
    (Role::Controller, 1, 1001),
    (Role::Controller, 2, 1002),
    (Role::Controller, 0, 1000),
];

fn path((role, ordinal, _): Place) -> String {
    format!("{PODS}/demo-{}-{ordinal}", role.as_str())
}

impl Stage {
    /// Kubernetes has seen templates with this revision.
    fn newest(&self, revision: &str) {
        for role in Role::ALL {
            let set = format!(
                "/apis/apps/v1/namespaces/kafka/statefulsets/demo-{}",
                role.as_str()
            );
            let mut object = self.server.get(&set).expect("a StatefulSet");
            object["status"] = json!({"replicas": 3, "updateRevision": revision});
            self.server.put(&set, object);
        }
    }

    /// The pod is deleted, by a grant and while all others are there, and comes back from this template.
    async fn restarts(&self, place: Place, revision: &str) {
        let (role, ordinal, node_id) = place;
        let gone = |server: &ApiServer| server.get(&path(place)).is_none().then_some(());
        let what = format!("the end of {}", path(place));
        self.server.eventually(&what, gone).await;
        let granted: Vec<i32> = self
            .quorum
            .with(|state| state.grants.keys().copied().collect());
        assert_eq!(granted, [node_id], "{what}");
        for other in [BROKERS, CONTROLLERS].concat() {
            let is_there = self.server.get(&path(other)).is_some();
            assert_eq!(is_there, other != place, "{other:?} at {what}");
        }
        if role == Role::Broker {
            self.quorum.restart_broker(node_id);
        }
        self.pod_becomes_ready(role, ordinal, revision);
    }

    async fn progressing(&self, reason: &str) -> String {
        let look = |server: &ApiServer| {
            let object = server.get(CLUSTER)?;
            let conditions = object["status"]["conditions"].as_array()?;
            let found = conditions
                .iter()
                .find(|condition| condition["type"] == "Progressing")?;
            let message = found["message"].as_str()?.to_owned();
            (found["reason"] == reason).then_some(message)
        };
        let what = format!("Progressing {reason}");
        self.server.eventually(&what, look).await
    }

    fn asked(&self) -> Vec<i32> {
        self.quorum
            .with(|state| state.asked.iter().map(|asked| asked.node_id).collect())
    }
}

#[tokio::test]
async fn a_roll_restarts_brokers_then_controllers_and_the_active_one_last() {
    let stage = Stage::set(11).await;
    stage.pods_become_ready().await;
    stage.newest("r2");
    for place in [BROKERS, CONTROLLERS].concat() {
        stage.restarts(place, "r2").await;
    }
    assert_eq!(stage.progressing("Settled").await, "nothing is under way");
    // Also that of the last controller, which only the operator can end at once.
    let none = |_: &ApiServer| {
        stage
            .quorum
            .with(|state| state.grants.is_empty().then_some(()))
    };
    stage.server.eventually("the end of all grants", none).await;
    let restarted = stage.server.notes("PodRestarted");
    assert_eq!(restarted.len(), 6, "{restarted:#?}");
    let unprotected = stage.server.notes("Unprotected");
    assert!(unprotected[0].contains("single-0"), "{unprotected:#?}");
    let asked = stage.quorum.with(|state| state.asked.clone());
    assert!(
        asked
            .iter()
            .all(|asked| asked.allow_unavailable && !asked.insist)
    );
    stage.is_at_rest().await;
    stage.ends().await;
}

#[tokio::test]
async fn a_level_is_finalised_when_the_roll_is_over_and_every_broker_knows_it() {
    let stage = Stage::set(18).await;
    stage.pods_become_ready().await;
    stage.quorum.tell_level(1);
    stage.newest("r2");
    for place in [BROKERS, CONTROLLERS].concat() {
        let levels = stage.quorum.with(|state| state.levels.clone());
        assert_eq!(levels, [1], "{place:?}");
        stage.restarts(place, "r2").await;
        if place.0 == Role::Broker {
            stage.quorum.upgrade_broker(place.2, 2);
        }
    }
    let finalised = |_: &ApiServer| {
        let levels = stage.quorum.with(|state| state.levels.clone());
        (levels == [1, 2]).then_some(())
    };
    stage.server.eventually("level 2", finalised).await;
    let told = |server: &ApiServer| {
        let notes = server.notes("FeatureLevelFinalised");
        (notes.len() == 1).then_some(())
    };
    stage.server.eventually("its Event", told).await;
    stage.ends().await;
}

#[tokio::test]
async fn a_denied_restart_is_explained_and_asked_for_again_when_something_changes() {
    let stage = Stage::set(12).await;
    stage.pods_become_ready().await;
    stage.is_at_rest().await;
    let sentence = "orders-3 would have 1 of 2 in-sync replicas that it needs";
    stage
        .quorum
        .with(|state| state.denies = Some(sentence.to_owned()));
    let mut cluster = stage.server.get(CLUSTER).expect("the Cluster");
    cluster["spec"]["rollout"] = json!({"unavailable": "Deny"});
    stage.server.put(CLUSTER, cluster);
    stage.newest("r2");
    let message = stage.progressing("RestartDenied").await;
    assert!(
        message.starts_with(&format!(
            "demo-broker-0: {sentence}; demo-broker-1: {sentence}"
        )),
        "{message}"
    );
    // All of them in one pass, no controller, and once.
    stage.is_at_rest().await;
    assert_eq!(stage.asked(), [0, 1, 2]);
    let asked = stage.quorum.with(|state| state.asked[0].clone());
    assert!(!asked.allow_unavailable);
    assert_eq!(stage.server.notes("RestartDenied").len(), 3);
    let deletions = |write: &&String| write.starts_with("DELETE");
    assert_eq!(stage.server.writes().iter().find(deletions), None);

    stage.quorum.with(|state| state.denies = None);
    stage.quorum.make("orders", 1);
    stage.restarts(BROKERS[0], "r2").await;
    stage.restarts(BROKERS[1], "r2").await;
    stage.ends().await;
}

/// The answer says yes, and by now the grant may be gone.
#[tokio::test]
async fn a_pod_is_not_deleted_by_a_grant_that_the_quorum_does_not_tell_of() {
    let stage = Stage::set(13).await;
    stage.pods_become_ready().await;
    stage
        .quorum
        .with(|state| state.keeps_grants_to_itself = true);
    stage.newest("r2");
    let asked = |_: &ApiServer| (!stage.asked().is_empty()).then_some(());
    stage.server.eventually("a question", asked).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(stage.server.get(&path(BROKERS[0])).is_some());
    stage
        .quorum
        .with(|state| state.keeps_grants_to_itself = false);
    stage.quorum.tell_grants();
    stage.restarts(BROKERS[0], "r2").await;
    stage.ends().await;
}

/// Another operator takes over between the grant and the deletion.
#[tokio::test]
async fn a_restart_that_was_begun_is_finished_by_the_next_operator() {
    let mut stage = Stage::set(14).await;
    stage.pods_become_ready().await;
    stage
        .quorum
        .with(|state| state.keeps_grants_to_itself = true);
    stage.newest("r2");
    let asked = |_: &ApiServer| (!stage.asked().is_empty()).then_some(());
    stage.server.eventually("a question", asked).await;
    stage.term.cancel();
    (&mut stage.acting).await.expect("ends well");
    assert!(stage.server.get(&path(BROKERS[0])).is_some());
    (stage.term, stage.acting) = super::act(&stage.server);
    stage.restarts(BROKERS[0], "r2").await;
    stage.ends().await;
}

/// The quorum's events wake the operator before the watch of pods tells of the deletion.
#[tokio::test]
async fn a_pod_is_deleted_once() {
    let stage = Stage::set(17).await;
    stage.pods_become_ready().await;
    stage.server.keep_deleted_pods();
    stage.newest("r2");
    let deletions = |server: &ApiServer| {
        let writes = server.writes().into_iter();
        writes
            .filter(|it| it.starts_with("DELETE"))
            .collect::<Vec<_>>()
    };
    let some = |server: &ApiServer| (!deletions(server).is_empty()).then_some(());
    stage.server.eventually("a deletion", some).await;
    stage.quorum.make("orders", 1);
    stage.is_at_rest().await;
    let deleted = format!("DELETE {}", path(BROKERS[0]));
    assert_eq!(deletions(&stage.server), [deleted]);
    assert_eq!(stage.server.notes("PodRestarted").len(), 1);
    stage.ends().await;
}

#[tokio::test]
async fn people_may_ask_for_the_restart_of_a_pod_and_force_it() {
    let stage = Stage::set(15).await;
    stage.pods_become_ready().await;
    stage.newest("r1");
    let annotate = |place: Place, key: &str| {
        let mut pod = stage.server.get(&path(place)).expect("a pod");
        pod["metadata"]["annotations"][key] = json!("");
        stage.server.put(&path(place), pod);
    };
    annotate(CONTROLLERS[0], "foz.dev/restart");
    stage.restarts(CONTROLLERS[0], "r1").await;
    stage.quorum.with(|state| state.denies = Some("no".into()));
    annotate(BROKERS[2], "foz.dev/restart");
    stage.progressing("RestartDenied").await;
    // What no quorum does: it must not be asked without end.
    annotate(BROKERS[2], "foz.dev/force-restart");
    stage.is_at_rest().await;
    let asked = stage.asked();
    assert!(asked.len() < 12, "{asked:?}");
    stage.quorum.with(|state| state.denies = None);
    stage.quorum.make("orders", 1);
    stage.restarts(BROKERS[2], "r1").await;
    let last = stage.quorum.with(|state| state.asked.last().cloned());
    assert!(last.expect("a question").insist);
    assert_eq!(stage.server.grace_of(&path(BROKERS[2])), None, "the pod's");

    // Nobody waits for one that serves nobody.
    let mut pod = stage.server.get(&path(BROKERS[0])).expect("a pod");
    pod["status"]["containerStatuses"] = json!([]);
    pod["metadata"]["annotations"]["foz.dev/restart"] = json!("");
    stage.server.put(&path(BROKERS[0]), pod);
    let gone = |server: &ApiServer| server.get(&path(BROKERS[0])).is_none().then_some(());
    stage.server.eventually("its end", gone).await;
    assert_eq!(stage.server.grace_of(&path(BROKERS[0])), Some(30));
    stage.ends().await;
}

/// It goes into the templates, and stays there.
#[tokio::test]
async fn an_annotation_on_the_cluster_changes_the_templates() {
    let stage = Stage::set(16).await;
    stage.pods_become_ready().await;
    let annotate = |annotations: Value| {
        let mut cluster = stage.server.get(CLUSTER).expect("the Cluster");
        cluster["metadata"]["annotations"] = annotations;
        stage.server.put(CLUSTER, cluster);
    };
    let template = |server: &ApiServer| {
        let set = server.get("/apis/apps/v1/namespaces/kafka/statefulsets/demo-broker")?;
        let annotations = &set["spec"]["template"]["metadata"]["annotations"];
        (annotations["foz.dev/restarted-for"] == "monday").then_some(())
    };
    annotate(json!({"foz.dev/restart": "monday"}));
    stage.server.eventually("the annotation", template).await;
    annotate(json!({}));
    stage.is_at_rest().await;
    assert!(template(&stage.server).is_some());
    stage.ends().await;
}
