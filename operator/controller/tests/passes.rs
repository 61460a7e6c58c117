//! The operator as a whole, on an API server and a metadata quorum that keep everything in memory.

#[path = "passes/api_server.rs"]
mod api_server;
#[path = "passes/crashes.rs"]
mod crashes;
#[path = "passes/disturbed.rs"]
mod disturbed;
#[path = "passes/faults.rs"]
mod faults;
#[path = "passes/kubernetes.rs"]
mod kubernetes;
#[path = "passes/moves.rs"]
mod moves;
#[path = "passes/quorum.rs"]
mod quorum;
#[path = "passes/rebalances.rs"]
mod rebalances;
#[path = "passes/rolls.rs"]
mod rolls;
#[path = "passes/scaling.rs"]
mod scaling;
#[path = "passes/topics.rs"]
mod topics;
#[path = "passes/voters.rs"]
mod voters;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use api_server::ApiServer;
use foz_operator::leader::Leader;
use foz_operator::metrics::Metrics;
use foz_operator::names::{ClusterName, Role};
use foz_operator::term::{self, Settings};
use quorum::Quorum;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Shorter than where the operator runs: tests wait for it.
const STATUS_PAUSE: Duration = Duration::from_millis(150);
const CLUSTER: &str = "/apis/foz.dev/v1alpha1/namespaces/kafka/clusters/demo";
const TOPIC: &str = "/apis/foz.dev/v1alpha1/namespaces/kafka/topics/orders";
const SERVICES: &str = "/api/v1/namespaces/kafka/services";

/// A Cluster on an API server, with the operator at work.
struct Stage {
    server: ApiServer,
    quorum: Quorum,
    address: IpAddr,
    term: CancellationToken,
    acting: JoinHandle<()>,
}

impl Stage {
    /// `number` makes the address of the quorum this test's own.
    async fn set(number: u8) -> Self {
        Self::set_over(number, |_| {}).await
    }

    /// With what is there before the operator begins.
    async fn set_over(number: u8, prepare: impl FnOnce(&ApiServer)) -> Self {
        let server = ApiServer::start();
        // Tests of other crates may run at the same time.
        let process = u8::try_from(std::process::id() % 250).expect("small");
        let address = IpAddr::V4(Ipv4Addr::new(127, 93, process, number));
        let quorum = Quorum::start(address, 3).await;
        server.put(CLUSTER, json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Cluster",
            "metadata": {"generation": 1},
            "spec": {"replicas": 3, "storage": {"size": "1Gi"}, "config": {"log.retention.ms": "5"}},
        }));
        prepare(&server);
        let (term, acting) = act(&server);
        Self {
            server,
            quorum,
            address,
            term,
            acting,
        }
    }

    /// Plays the StatefulSet controller and the kubelet.
    async fn pods_become_ready(&self) {
        for role in Role::ALL {
            let set = format!(
                "/apis/apps/v1/namespaces/kafka/statefulsets/demo-{}",
                role.as_str()
            );
            let set = self
                .server
                .eventually("a StatefulSet", |server| server.get(&set))
                .await;
            for ordinal in 0..set["spec"]["replicas"].as_i64().expect("a number") {
                self.pod_becomes_ready(role, ordinal, "r1");
            }
        }
        self.ready(CLUSTER, "True", "Ready").await;
    }

    fn pod_becomes_ready(&self, role: Role, ordinal: i64, revision: &str) {
        let role = role.as_str();
        let set = format!("/apis/apps/v1/namespaces/kafka/statefulsets/demo-{role}");
        let set = self.server.get(&set).expect("a StatefulSet");
        let mut metadata = set["spec"]["template"]["metadata"].clone();
        metadata["labels"]["controller-revision-hash"] = json!(revision);
        let path = format!("/api/v1/namespaces/kafka/pods/demo-{role}-{ordinal}");
        self.server.put(
            &path,
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                "spec": {
                    "containers": [], "nodeName": "node-1",
                    "volumes": kubernetes::volumes(&set, &format!("demo-{role}-{ordinal}")),
                },
                "status": {
                    "podIP": self.address.to_string(),
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [{"name": "foz", "image": "", "imageID": "", "ready": true,
                        "restartCount": 0, "state": {"running": {}}}],
                },
            }),
        );
    }

    fn topic(&self, spec: Value) {
        let mut spec = spec;
        spec["clusterRef"] = json!({"name": "demo"});
        let object = json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Topic",
            "metadata": {"generation": 1}, "spec": spec,
        });
        self.server.put(TOPIC, object);
    }

    /// Waits for the condition Ready.
    async fn ready(&self, path: &str, status: &str, reason: &str) -> Value {
        let what = format!("{path} with Ready {status} {reason}");
        let look = |server: &ApiServer| {
            let object = server.get(path)?;
            let conditions = object["status"]["conditions"].as_array()?;
            let ready = conditions
                .iter()
                .find(|condition| condition["type"] == "Ready")?;
            (ready["status"] == status && ready["reason"] == reason).then_some(object.clone())
        };
        self.server.eventually(&what, look).await
    }

    /// The operator writes nothing for a while, although it passes over everything.
    async fn is_at_rest(&self) {
        // A busy machine may be in the middle of the passes before.
        let quiet = STATUS_PAUSE * 2;
        let mut before = self.server.writes();
        let mut looks = 0;
        loop {
            tokio::time::sleep(quiet).await;
            let now = self.server.writes();
            if now == before {
                break;
            }
            looks += 1;
            assert!(looks < 30, "it goes on: {now:?}");
            before = now;
        }
        for path in [CLUSTER, TOPIC] {
            if let Some(object) = self.server.get(path) {
                self.server.put(path, object);
            }
        }
        tokio::time::sleep(quiet).await;
        assert_eq!(self.server.writes(), before);
    }

    async fn ends(self) {
        self.term.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.acting)
            .await
            .expect("ends")
            .expect("well");
    }
}

fn act(server: &ApiServer) -> (CancellationToken, JoinHandle<()>) {
    let term = CancellationToken::new();
    let settings = Settings {
        client: server.client(),
        namespaces: Vec::new(),
        broker_image: "foz-broker:1".into(),
        holder: "test".into(),
        metrics: Arc::new(Metrics::new().expect("metrics")),
        status_pause: STATUS_PAUSE,
    };
    (term.clone(), tokio::spawn(term::run(settings, term)))
}

#[tokio::test]
async fn a_cluster_comes_up_rests_and_is_put_right() {
    let stage = Stage::set(1).await;
    stage.pods_become_ready().await;
    let object = stage.server.get(CLUSTER).expect("the Cluster");
    assert_eq!(object["status"]["clusterId"], "cluster-1");
    assert_eq!(object["status"]["activeController"], "demo-controller-0");
    stage
        .server
        .eventually("the setting", |_| {
            stage
                .quorum
                .with(|state| (state.broker_config["log.retention.ms"] == "5").then_some(()))
        })
        .await;
    stage.is_at_rest().await;

    let bootstrap = format!("{SERVICES}/demo-bootstrap");
    stage.server.delete(&bootstrap);
    stage
        .server
        .eventually("the Service", |server| server.get(&bootstrap))
        .await;
    let mut changed = stage.server.get(&bootstrap).expect("the Service");
    changed["spec"]["ports"][0]["port"] = json!(9999);
    stage.server.put(&bootstrap, changed);
    stage.server.eventually("the port", |server| {
        (server.get(&bootstrap)?["spec"]["ports"] == json!([{"name": "kafka", "port": 9092, "protocol": "TCP", "targetPort": "kafka"}])).then_some(())
    }).await;
    stage.is_at_rest().await;
    stage.ends().await;
}

#[tokio::test]
async fn another_operator_that_takes_over_writes_nothing() {
    let mut stage = Stage::set(2).await;
    stage.topic(json!({"partitions": 2}));
    stage.pods_become_ready().await;
    stage.ready(TOPIC, "True", "Ready").await;
    stage.is_at_rest().await;
    let before = stage.server.writes();
    stage.term.cancel();
    (&mut stage.acting).await.expect("ends well");
    (stage.term, stage.acting) = act(&stage.server);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(stage.server.writes(), before);
    stage.ends().await;
}

#[tokio::test]
async fn an_object_of_somebody_else_is_not_taken() {
    let server = ApiServer::start();
    let path = format!("{SERVICES}/demo-bootstrap");
    let foreign =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"ports": []}});
    server.put(&path, foreign);
    server.put(
        CLUSTER,
        json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Cluster", "metadata": {"generation": 1},
            "spec": {"storage": {"size": "1Gi"}},
        }),
    );
    let (term, acting) = act(&server);
    let message = server
        .eventually("the refusal", |server| {
            let object = server.get(CLUSTER)?;
            let conditions = object["status"]["conditions"].as_array()?;
            let degraded = conditions
                .iter()
                .find(|condition| condition["reason"] == "NameTaken")?;
            degraded["message"].as_str().map(str::to_owned)
        })
        .await;
    assert!(message.contains("Service/demo-bootstrap"), "{message}");
    assert_eq!(
        server.get(&path).expect("the Service")["spec"],
        json!({"ports": []})
    );
    term.cancel();
    acting.await.expect("ends well");
}

#[tokio::test]
async fn a_topic_lives_as_its_object_says() {
    let stage = Stage::set(3).await;
    stage.pods_become_ready().await;
    stage.topic(
        json!({"partitions": 2, "config": {"retention.ms": "7"}, "deletionPolicy": "Delete"}),
    );
    let object = stage.ready(TOPIC, "True", "Ready").await;
    assert_eq!(object["metadata"]["finalizers"], json!(["foz.dev/topic"]));
    assert_eq!(
        object["status"]["managedConfigKeys"],
        json!(["retention.ms"])
    );
    stage.is_at_rest().await;

    // Drift is put right.
    stage.quorum.set_config("orders", "retention.ms", "1");
    stage
        .quorum
        .set_config("orders", "cleanup.policy", "compact");
    let right = |state: &mut quorum::State| {
        let config = &state.topics.get("orders")?.config;
        (config["retention.ms"] == "7" && config["cleanup.policy"] == "compact").then_some(())
    };
    stage
        .server
        .eventually("the setting", |_| stage.quorum.with(right))
        .await;
    let id = object["status"]["topicId"].clone();
    stage.quorum.remove("orders");
    let made_again = |server: &ApiServer| {
        let found = server.get(TOPIC)?["status"]["topicId"].clone();
        (found != id && found.is_string()).then_some(())
    };
    stage.server.eventually("the topic again", made_again).await;

    // Deleting the object deletes the topic.
    let mut object = stage.server.get(TOPIC).expect("the Topic");
    object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    stage.server.put(TOPIC, object);
    let gone = |server: &ApiServer| server.get(TOPIC).is_none().then_some(());
    stage
        .server
        .eventually("the object to be let go", gone)
        .await;
    assert!(stage.quorum.with(|state| state.topics.is_empty()));
    stage.ends().await;
}

/// The quorum made the topic, and the answer did not arrive.
#[tokio::test]
async fn a_topic_whose_creation_was_not_answered_is_this_objects() {
    let stage = Stage::set(4).await;
    stage.pods_become_ready().await;
    stage.quorum.with(|state| state.lose_next_answer = true);
    stage.topic(json!({"partitions": 2}));
    let object = stage.ready(TOPIC, "True", "Ready").await;
    assert!(object["status"]["topicId"].is_string());
    assert_eq!(stage.quorum.with(|state| state.topics.len()), 1);
    stage.ends().await;
}

#[tokio::test]
async fn a_topic_that_is_refused_is_asked_for_without_writing() {
    let stage = Stage::set(5).await;
    stage.pods_become_ready().await;
    stage.topic(json!({"replicationFactor": 4}));
    let refused = stage
        .ready(TOPIC, "False", "InvalidReplicationFactor")
        .await;
    let message = refused["status"]["conditions"][0]["message"].to_string();
    assert!(message.contains("factor 4, and 3 brokers"), "{message}");
    stage.is_at_rest().await;
    stage.quorum.make("bills", 1);
    let mut other = stage.server.get(TOPIC).expect("the Topic");
    other["spec"] = json!({"clusterRef": {"name": "demo"}, "topicName": "bills"});
    stage.server.put(TOPIC, other);
    stage.ready(TOPIC, "False", "TopicExists").await;
    stage.is_at_rest().await;
    stage.ends().await;
}

#[tokio::test]
async fn a_topic_that_was_refused_is_made_when_there_are_brokers_for_it() {
    let stage = Stage::set(9).await;
    stage.pods_become_ready().await;
    stage.topic(json!({"replicationFactor": 4}));
    stage
        .ready(TOPIC, "False", "InvalidReplicationFactor")
        .await;
    stage.quorum.add_broker(3);
    let object = stage.ready(TOPIC, "True", "Ready").await;
    assert_eq!(object["status"]["replicationFactor"], 4);
    stage.is_at_rest().await;
    stage.ends().await;
}

/// Nobody says how many: three brokers make three copies, two of which must have what is acknowledged.
#[tokio::test]
async fn a_topic_that_does_not_say_it_is_on_three_brokers() {
    let stage = Stage::set(10).await;
    stage.topic(json!({}));
    stage.pods_become_ready().await;
    let object = stage.ready(TOPIC, "True", "Ready").await;
    assert_eq!(object["status"]["replicationFactor"], 3);
    let settings = |state: &mut quorum::State| {
        let config = &state.broker_config;
        let is = |key: &str, value: &str| config.get(key).is_some_and(|found| found == value);
        (is("default.replication.factor", "3") && is("min.insync.replicas", "2")).then_some(())
    };
    stage
        .server
        .eventually("the defaults", |_| stage.quorum.with(settings))
        .await;
    stage.is_at_rest().await;
    let cluster = stage.server.get(CLUSTER).expect("the Cluster");
    assert_eq!(
        cluster["status"]["managedConfigKeys"],
        json!([
            "default.replication.factor",
            "log.retention.ms",
            "min.insync.replicas"
        ])
    );
    stage.ends().await;
}

/// A second operator had the epoch in between; this one still holds the Lease.
#[tokio::test]
async fn an_overtaken_epoch_is_acquired_again_while_the_lease_is_held() {
    let stage = Stage::set(6).await;
    stage.pods_become_ready().await;
    stage
        .server
        .eventually("an epoch", |_| {
            stage
                .quorum
                .with(|state| (state.epochs_acquired == 1).then_some(()))
        })
        .await;
    stage.quorum.with(|state| state.epoch += 10);
    stage.topic(json!({}));
    stage.ready(TOPIC, "True", "Ready").await;
    assert_eq!(stage.quorum.with(|state| state.epochs_acquired), 2);
    stage.ends().await;
}

#[tokio::test]
async fn the_finalizer_lets_go_when_the_cluster_is_gone() {
    let stage = Stage::set(7).await;
    stage.topic(json!({"deletionPolicy": "Delete"}));
    stage.pods_become_ready().await;
    stage.ready(TOPIC, "True", "Ready").await;
    stage.server.delete(CLUSTER);
    stage.ready(TOPIC, "False", "ClusterNotFound").await;
    let mut object = stage.server.get(TOPIC).expect("the Topic");
    object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    stage.server.put(TOPIC, object);
    let gone = |server: &ApiServer| server.get(TOPIC).is_none().then_some(());
    stage
        .server
        .eventually("the object to be let go", gone)
        .await;
    assert_eq!(stage.quorum.with(|state| state.topics.len()), 1);
    stage.ends().await;
}

#[tokio::test]
async fn a_cluster_that_cannot_be_read_does_not_keep_others_from_being_served() {
    let stage = Stage::set(8).await;
    let broken = CLUSTER.replace("demo", "broken");
    stage.server.put(&broken, json!({
        "apiVersion": "foz.dev/v1alpha1", "kind": "Cluster", "metadata": {}, "spec": {"storage": 7},
    }));
    stage.pods_become_ready().await;
    let name = ClusterName {
        namespace: "kafka".into(),
        name: "broken".into(),
    };
    assert!(
        stage
            .server
            .get(&format!("{SERVICES}/{}", name.bootstrap()))
            .is_none()
    );
    stage.ends().await;
}

#[tokio::test]
async fn a_released_lease_is_taken_at_once_and_never_by_two() {
    let server = ApiServer::start();
    let leader = |name: &str| Leader::new(server.client(), "foz", "operator".into(), name.into());
    let (first, second) = (leader("a"), leader("b"));
    tokio::time::timeout(Duration::from_secs(2), first.acquire())
        .await
        .expect("acquired");
    let mut waits = Box::pin(second.acquire());
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waits).await;
    assert!(early.is_err(), "two hold the Lease");
    first.release().await;
    tokio::time::timeout(Duration::from_secs(1), waits)
        .await
        .expect("taken over within a second");
    let path = "/apis/coordination.k8s.io/v1/namespaces/foz/leases/operator";
    assert_eq!(
        server.get(path).expect("the Lease")["spec"]["holderIdentity"],
        "b"
    );
}

/// Somebody takes the Lease away: the holder notices with its next renewal.
#[tokio::test]
async fn a_holder_that_lost_the_lease_stops() {
    let server = ApiServer::start();
    let leader = Leader::new(server.client(), "foz", "operator".into(), "a".into());
    leader.acquire().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/foz/leases/operator";
    let mut lease = server.get(path).expect("the Lease");
    lease["spec"]["holderIdentity"] = json!("b");
    server.put(path, lease);
    tokio::time::timeout(Duration::from_secs(4), leader.keep())
        .await
        .expect("noticed");
    leader.release().await;
    assert_eq!(
        server.get(path).expect("the Lease")["spec"]["holderIdentity"],
        "b"
    );
}
