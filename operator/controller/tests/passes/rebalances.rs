//! Rebalances that people make.

use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::{CLUSTER, Stage};

const REBALANCES: &str = "/apis/foz.dev/v1alpha1/namespaces/kafka/rebalances";

impl Stage {
    /// Nothing moves that nobody asked for.
    async fn by_hand(number: u8) -> Self {
        let stage = Self::set(number).await;
        let mut cluster = stage.server.get(CLUSTER).expect("the Cluster");
        cluster["spec"]["rebalance"] = json!({"mode": "Manual"});
        stage.server.put(CLUSTER, cluster);
        stage.pods_become_ready().await;
        stage.quorum.make_on("orders", 9, 1);
        stage
    }

    fn rebalance(&self, name: &str, created: &str, spec: Value) {
        let mut spec = spec;
        spec["clusterRef"] = json!({"name": "demo"});
        let object = json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Rebalance",
            "metadata": {"generation": 1, "creationTimestamp": created}, "spec": spec,
        });
        self.server.put(&path(name), object);
    }

    fn approve(&self, name: &str) {
        let mut object = self.server.get(&path(name)).expect("a Rebalance");
        object["spec"]["approved"] = json!(true);
        object["metadata"]["generation"] = json!(2);
        self.server.put(&path(name), object);
    }

    fn delete_rebalance(&self, name: &str) {
        let mut object = self.server.get(&path(name)).expect("a Rebalance");
        object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        self.server.put(&path(name), object);
    }

    async fn phase(&self, name: &str, phase: &str) -> Value {
        let look = |server: &ApiServer| {
            let object = server.get(&path(name))?;
            (object["status"]["phase"] == phase).then_some(object)
        };
        let what = format!("{name} {phase}");
        self.server.eventually(&what, look).await
    }

    /// What waits says for what.
    async fn message(&self, name: &str, words: &str) {
        let look = |server: &ApiServer| {
            let object = server.get(&path(name))?;
            let message = object["status"]["message"].as_str()?;
            message.contains(words).then_some(())
        };
        let what = format!("{name} that says {words:?}");
        self.server.eventually(&what, look).await;
    }

    fn has_phase(&self, name: &str, phase: &str) -> bool {
        let object = self.server.get(&path(name));
        object.is_some_and(|object| object["status"]["phase"] == phase)
    }
}

fn path(name: &str) -> String {
    format!("{REBALANCES}/{name}")
}

#[tokio::test]
async fn a_rebalance_is_planned_approved_and_carried_out() {
    let stage = Stage::by_hand(46).await;
    stage.rebalance("evenly", "2026-01-01T00:00:00Z", json!({"mode": "Full"}));
    let object = stage.phase("evenly", "Planned").await;
    assert_eq!(object["status"]["plan"]["moves"], 1);
    let before = object["status"]["plan"]["before"]
        .as_array()
        .expect("loads");
    assert_eq!((before.len(), &before[0]["replicas"]), (3, &json!(9)));
    assert!(object["metadata"]["finalizers"].is_null());
    assert!(stage.quorum.with(|state| state.started.is_empty()));
    stage.is_at_rest().await;
    // Replicas are elsewhere: so is the plan.
    stage.quorum.make_on("bills", 3, 2);
    let planned = |server: &ApiServer| {
        let object = server.get(&path("evenly"))?;
        (object["status"]["plan"]["before"][0]["replicas"] == 12).then_some(())
    };
    stage.server.eventually("a newer plan", planned).await;

    stage.approve("evenly");
    let object = stage.phase("evenly", "Running").await;
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["foz.dev/rebalance"])
    );
    stage
        .until("the end", |stage| stage.has_phase("evenly", "Completed"))
        .await;
    let object = stage.phase("evenly", "Completed").await;
    assert_eq!(object["status"]["progress"]["moved"], 7);
    assert!(object["status"]["finishedAt"].is_string());
    let let_go = |server: &ApiServer| {
        let object = server.get(&path("evenly"))?;
        (object["metadata"]["finalizers"] == json!([])).then_some(())
    };
    stage.server.eventually("no finalizer", let_go).await;
    assert_eq!(stage.quorum.with(|state| state.started.len()), 1);
    for reason in ["Planned", "Started", "Completed"] {
        assert_eq!(stage.server.notes(reason).len(), 1, "{reason}");
    }
    stage.is_at_rest().await;
    stage.ends().await;
}

#[tokio::test]
async fn the_second_waits_for_the_first_and_deleting_the_first_cancels_it() {
    let stage = Stage::by_hand(47).await;
    let full = json!({"mode": "Full", "approved": true});
    stage.rebalance("first", "2026-01-01T00:00:00Z", full.clone());
    stage.phase("first", "Running").await;
    stage.rebalance("second", "2026-01-01T00:00:00Z", full);
    stage
        .message("second", "begins when Rebalance first has ended")
        .await;
    let running = stage.quorum.running().expect("one runs").rebalance_id;
    stage.delete_rebalance("first");
    let gone = |server: &ApiServer| server.get(&path("first")).is_none().then_some(());
    stage.server.eventually("the end of the first", gone).await;
    stage.phase("second", "Running").await;
    let next = |_: &ApiServer| {
        let newest = stage.quorum.running()?.rebalance_id;
        (newest != running).then_some(())
    };
    stage.server.eventually("the next", next).await;
    stage
        .until("the end", |stage| stage.has_phase("second", "Completed"))
        .await;
    stage.ends().await;
}

#[tokio::test]
async fn a_broker_that_is_drained_by_hand_stays_empty_until_the_object_is_gone() {
    let stage = Stage::by_hand(48).await;
    let drain =
        |broker: i32| json!({"mode": "DrainBrokers", "brokers": [broker], "approved": true});
    stage.rebalance("nobody", "2026-01-01T00:00:00Z", drain(9));
    stage.phase("nobody", "Refused").await;
    stage
        .message("nobody", "broker_ids names 9, which is not registered")
        .await;
    stage.delete_rebalance("nobody");
    stage.rebalance("empty", "2026-01-01T00:00:00Z", drain(0));
    stage
        .until("an empty broker", |stage| {
            stage.has_phase("empty", "Completed")
        })
        .await;
    assert_eq!(stage.quorum.replicas_on(0), 0);
    let is_cordoned = |stage: &Stage| stage.quorum.with(|state| state.brokers[&0].cordoned);
    assert!(is_cordoned(&stage));
    stage.is_at_rest().await;
    stage.delete_rebalance("empty");
    stage.until("no cordon", |stage| !is_cordoned(stage)).await;
    stage.is_at_rest().await;
    stage.ends().await;
}

#[tokio::test]
async fn a_drain_by_hand_and_a_scale_down_are_one_drain() {
    let stage = Stage::by_hand(49).await;
    stage.quorum.make_on("bills", 3, 3);
    stage.quorum.remove("bills");
    stage.scale(4);
    stage
        .until("4 brokers", |stage| stage.quorum.is_registered(3))
        .await;
    stage.rebalance(
        "empty",
        "2026-01-01T00:00:00Z",
        json!({"mode": "DrainBrokers", "brokers": [0], "approved": true}),
    );
    stage.phase("empty", "Running").await;
    stage.scale(3);
    stage
        .until("both are empty", |stage| {
            stage.has_phase("empty", "Completed") && !stage.quorum.is_registered(3)
        })
        .await;
    assert_eq!(stage.quorum.replicas_on(0), 0);
    stage.ends().await;
}

#[tokio::test]
async fn a_rebalance_is_let_go_when_its_cluster_is_gone() {
    let stage = Stage::by_hand(50).await;
    let full = json!({"mode": "Full", "approved": true});
    stage.rebalance("evenly", "2026-01-01T00:00:00Z", full);
    stage.phase("evenly", "Running").await;
    stage.server.delete(CLUSTER);
    stage.message("evenly", "there is no such Cluster").await;
    stage.delete_rebalance("evenly");
    let gone = |server: &ApiServer| server.get(&path("evenly")).is_none().then_some(());
    stage.server.eventually("the end", gone).await;
    stage.ends().await;
}

/// The next operator finds what the one before has begun.
#[tokio::test]
async fn another_operator_follows_what_was_begun() {
    let mut stage = Stage::by_hand(51).await;
    let full = json!({"mode": "Full", "approved": true});
    stage.rebalance("evenly", "2026-01-01T00:00:00Z", full);
    stage.phase("evenly", "Running").await;
    stage.quorum.move_one();
    stage.term.cancel();
    (&mut stage.acting).await.expect("ends well");
    stage.quorum.move_one();
    (stage.term, stage.acting) = super::act(&stage.server);
    stage
        .until("the end", |stage| stage.has_phase("evenly", "Completed"))
        .await;
    stage.is_at_rest().await;
    stage.ends().await;
}
