//! Controllers become fewer and more.

use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::kubernetes::claim_path;
use super::{CLUSTER, Stage};

const SET: &str = "/apis/apps/v1/namespaces/kafka/statefulsets/demo-controller";

impl Stage {
    fn wants_controllers(&self, count: i32) {
        let mut cluster = self.server.get(CLUSTER).expect("the Cluster");
        cluster["spec"]["controllers"]["replicas"] = json!(count);
        self.server.put(CLUSTER, cluster);
    }

    async fn has_controllers(&self, count: i32) {
        let look = |server: &ApiServer| {
            let set = server.get(SET)?;
            (set["spec"]["replicas"] == count).then_some(())
        };
        let what = format!("{count} controllers");
        self.server.eventually(&what, look).await;
    }

    fn voters_changed(&self) -> Vec<i32> {
        self.quorum
            .with(|state| std::mem::take(&mut state.voters_changed))
    }
}

#[tokio::test]
async fn controllers_leave_the_quorum_before_their_pods_go_and_are_let_in_again() {
    let stage = Stage::set(31).await;
    stage.pods_become_ready().await;
    stage.is_at_rest().await;
    let sentence = "of these [1000] do not answer";
    stage
        .quorum
        .with(|state| state.keeps_voter = Some(sentence.to_owned()));
    stage.wants_controllers(1);
    let told = |server: &ApiServer| {
        let cluster = server.get(CLUSTER)?;
        let conditions = cluster["status"]["conditions"].as_array()?;
        let says = |it: &Value| {
            it["type"] == "Degraded"
                && it["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(sentence))
        };
        conditions.iter().any(says).then_some(())
    };
    stage.server.eventually("why nobody leaves", told).await;
    assert_eq!(stage.voters_changed(), [0_i32; 0]);

    stage.has_controllers(1).await;
    assert_eq!(stage.voters_changed(), [-1002, -1001]);
    assert_eq!(stage.server.notes("VoterRemoved").len(), 2);
    let named = |server: &ApiServer| {
        let map = server.get("/api/v1/namespaces/kafka/configmaps/demo-controller")?;
        let properties = map["data"]["server.properties"].as_str()?.to_owned();
        (!properties.contains("1001@")).then_some(())
    };
    stage.server.eventually("one name", named).await;
    stage.is_at_rest().await;

    stage.wants_controllers(3);
    stage.has_controllers(3).await;
    let added = |_: &ApiServer| {
        let changed = stage.quorum.with(|state| state.voters_changed.clone());
        (changed == [1001, 1002]).then_some(())
    };
    stage.server.eventually("both let in", added).await;
    stage.pods_become_ready().await;
    stage.is_at_rest().await;
    assert_eq!(stage.voters_changed(), [1001, 1002]);
    stage.ends().await;
}

/// A quorum of three does not come about on one volume of it.
#[tokio::test]
async fn made_anew_with_one_controller_over_the_volumes_of_three_it_begins_with_three() {
    let stage = Stage::set_over(32, |server| {
        for ordinal in 0..3 {
            let labels = json!({
                "app.kubernetes.io/name": "foz", "app.kubernetes.io/instance": "demo",
                "app.kubernetes.io/component": "controller",
                "app.kubernetes.io/managed-by": "foz-operator",
            });
            server.put(
                &claim_path(&format!("demo-controller-{ordinal}")),
                json!({
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": {"labels": labels},
                    "spec": {"resources": {"requests": {"storage": "1Gi"}}},
                    "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
                }),
            );
        }
        let mut cluster = server.get(CLUSTER).expect("the Cluster");
        cluster["spec"]["controllers"] = json!({"replicas": 1});
        server.put(CLUSTER, cluster);
    })
    .await;
    stage.has_controllers(3).await;
    let waits = |server: &ApiServer| {
        let cluster = server.get(CLUSTER)?;
        let conditions = cluster["status"]["conditions"].as_array()?;
        let says = |it: &Value| {
            let message = it["message"].as_str();
            it["type"] == "Progressing"
                && message.is_some_and(|it| it.contains("when the 3 that there are have formed"))
        };
        conditions.iter().any(says).then_some(())
    };
    stage.server.eventually("why there are three", waits).await;
    stage.pods_become_ready().await;
    stage.has_controllers(1).await;
    assert_eq!(stage.voters_changed(), [-1002, -1001]);
    stage.is_at_rest().await;
    stage.ends().await;
}
