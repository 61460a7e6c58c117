//! More brokers and fewer, and replicas that move.

use std::time::Duration;

use foz_operator::names::Role;
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::{CLUSTER, SERVICES, Stage};

const SET: &str = "/apis/apps/v1/namespaces/kafka/statefulsets/demo-broker";
const PODS: &str = "/api/v1/namespaces/kafka/pods";

impl Stage {
    pub(super) fn scale(&self, replicas: i64) {
        let mut cluster = self.server.get(CLUSTER).expect("the Cluster");
        cluster["spec"]["replicas"] = json!(replicas);
        self.server.put(CLUSTER, cluster);
    }

    fn set_replicas(&self) -> i32 {
        let set = self.server.get(SET);
        let replicas = set.and_then(|set| set["spec"]["replicas"].as_i64());
        i32::try_from(replicas.expect("a number")).expect("few")
    }

    fn pod(ordinal: i32) -> String {
        format!("{PODS}/demo-broker-{ordinal}")
    }

    /// The StatefulSet controller, the kubelets and the processes do what there is to do. A broker that goes has to be
    /// empty.
    pub(super) fn play(&self) {
        let replicas = self.set_replicas();
        for ordinal in 0..8 {
            let has_pod = self.server.get(&Self::pod(ordinal)).is_some();
            if ordinal < replicas && !has_pod {
                self.pod_becomes_ready(Role::Broker, i64::from(ordinal), "r1");
                if self.quorum.is_registered(ordinal) {
                    self.quorum.restart_broker(ordinal);
                } else {
                    self.quorum.add_broker(ordinal);
                }
            } else if ordinal >= replicas && has_pod {
                let on = self.quorum.replicas_on(ordinal);
                assert_eq!(on, 0, "broker {ordinal} goes; {:#?}", self.server.writes());
                self.server.delete(&Self::pod(ordinal));
                self.quorum.fence(ordinal);
            }
        }
    }

    /// Plays until it is as described.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..600 {
            if is_so(self) {
                return;
            }
            self.play();
            self.quorum.move_one();
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        let cluster = self.server.get(CLUSTER);
        panic!(
            "{what} did not come to be; the Cluster: {cluster:#?}; writes: {:#?}",
            self.server.writes()
        );
    }

    /// So many brokers, and nothing left of others, nor anything under way.
    fn has_settled_at(&self, brokers: i32) -> bool {
        let registered: Vec<i32> = self.quorum.with(|state| {
            let all = state.brokers.values();
            let serving = all.filter(|broker| !broker.cordoned && !broker.fenced);
            serving.map(|broker| broker.node_id).collect()
        });
        let count = self.quorum.with(|state| state.brokers.len());
        let is = |what: fn(i32) -> String| {
            let is_there = |ordinal: i32| self.server.get(&what(ordinal)).is_some();
            (0..8).all(|ordinal| is_there(ordinal) == (ordinal < brokers))
        };
        let cluster = self.server.get(CLUSTER).expect("the Cluster");
        self.set_replicas() == brokers
            && registered == (0..brokers).collect::<Vec<_>>()
            && count == registered.len()
            && is(Self::pod)
            && is(|ordinal| format!("{SERVICES}/demo-broker-{ordinal}"))
            && self.quorum.running().is_none()
            && cluster["status"]["scaling"].is_null()
            && cluster["status"]["replicas"] == brokers
    }

    fn counts(&self, brokers: i32) -> Vec<usize> {
        (0..brokers).map(|id| self.quorum.replicas_on(id)).collect()
    }

    fn condition(&self, type_: &str) -> Value {
        let cluster = self.server.get(CLUSTER).expect("the Cluster");
        let conditions = cluster["status"]["conditions"].as_array().expect("some");
        let mut found = conditions.iter().filter(|it| it["type"] == type_);
        found.next().cloned().unwrap_or_default()
    }
}

#[tokio::test]
async fn brokers_that_are_added_get_replicas_and_lose_them_before_they_go() {
    let stage = Stage::set(40).await;
    stage.pods_become_ready().await;
    stage.quorum.make_on("orders", 20, 2);
    stage
        .until("replicas that are even", |stage| {
            stage.has_settled_at(3)
                && stage
                    .counts(3)
                    .iter()
                    .all(|count| (13..=14).contains(count))
        })
        .await;
    stage.scale(5);
    stage
        .until("5 brokers", |stage| {
            stage.has_settled_at(5) && stage.counts(5).iter().all(|count| *count == 8)
        })
        .await;
    assert_eq!(stage.server.notes("ScaledUp"), ["from 3 to 5 brokers"]);
    let begun = stage.server.notes("RebalanceStarted");
    assert!(
        begun
            .iter()
            .any(|note| note.contains("onto brokers 3 and 4")),
        "{begun:#?}"
    );
    stage.is_at_rest().await;

    stage.scale(3);
    let told = |server: &ApiServer| {
        let cluster = server.get(CLUSTER)?;
        let scaling = &cluster["status"]["scaling"];
        (scaling["left"] == 9).then(|| cluster.clone())
    };
    let cluster = stage.server.eventually("progress", told).await;
    let scaling = &cluster["status"]["scaling"];
    assert_eq!((&scaling["from"], &scaling["to"]), (&json!(5), &json!(3)));
    assert_eq!(scaling["draining"], json!([3, 4]));
    assert_eq!(scaling["secondsLeft"], 40);
    // What autoscalers read.
    assert_eq!(cluster["status"]["replicas"], 5);
    assert_eq!(
        cluster["status"]["selector"],
        "app.kubernetes.io/component=broker,app.kubernetes.io/instance=demo,app.kubernetes.io/name=foz"
    );
    assert_eq!(stage.condition("Ready")["status"], "True");
    let progressing = stage.condition("Progressing");
    assert_eq!(progressing["reason"], "ScalingDown");
    let message =
        "from 5 to 3 brokers: moves partitions off brokers 3 and 4: 0 of 9 moved, about 40 s left";
    assert_eq!(progressing["message"], message);
    stage
        .until("3 brokers", |stage| stage.has_settled_at(3))
        .await;
    assert_eq!(stage.counts(5).iter().sum::<usize>(), 40);
    assert!(!stage.server.notes("ScaledDown").is_empty());
    assert_eq!(stage.server.notes("BrokerUnregistered").len(), 2);
    let completed = stage.server.notes("RebalanceCompleted");
    assert!(
        completed
            .iter()
            .any(|note| note.contains("off brokers 3 and 4")),
        "{completed:#?}"
    );
    stage.is_at_rest().await;
    stage.ends().await;
}

/// Bytes and traffic no event tells of: the quorum is asked whether a broker has far more than its share, by the
/// threshold of the spec, and once only for a while.
#[tokio::test]
async fn the_quorum_is_asked_whether_brokers_are_uneven() {
    use foz_api::v1::{RebalanceGoal, StartRebalanceRequest};
    let mut stage = Stage::set(46).await;
    let edit = |stage: &Stage, rebalance: Value| {
        let mut cluster = stage.server.get(CLUSTER).expect("the Cluster");
        cluster["spec"]["rebalance"] = rebalance;
        stage.server.put(CLUSTER, cluster);
    };
    edit(&stage, json!({"threshold": 25}));
    stage.pods_become_ready().await;
    stage.quorum.make_on("orders", 8, 3);
    let looks = |stage: &Stage| -> Vec<StartRebalanceRequest> {
        let asked = stage.quorum.with(|state| state.started.clone());
        asked.into_iter().filter(|it| it.only_if_uneven).collect()
    };
    let asked = |_: &ApiServer| looks(&stage).first().cloned();
    let first = stage.server.eventually("a look", asked).await;
    assert_eq!(
        (first.goal(), first.threshold_percent),
        (RebalanceGoal::Full, 25)
    );
    stage.is_at_rest().await;
    assert_eq!(looks(&stage).len(), 1);
    assert!(stage.server.notes("RebalanceStarted").is_empty());
    // Who takes over does not know when that was; by hand nobody is asked.
    edit(&stage, json!({"threshold": 25, "mode": "Manual"}));
    stage.is_at_rest().await;
    stage.term.cancel();
    (&mut stage.acting).await.expect("ends well");
    (stage.term, stage.acting) = super::act(&stage.server);
    stage.is_at_rest().await;
    assert_eq!(looks(&stage).len(), 1);
    edit(&stage, json!({"threshold": 30}));
    let asked = |_: &ApiServer| looks(&stage).get(1).cloned();
    let second = stage.server.eventually("another look", asked).await;
    assert_eq!(second.threshold_percent, 30);
    stage.is_at_rest().await;
    stage.ends().await;
}

#[tokio::test]
async fn a_drain_that_is_cancelled_half_way_leaves_everything_in_use() {
    let stage = Stage::set(41).await;
    stage.pods_become_ready().await;
    stage.quorum.make_on("orders", 20, 2);
    stage.scale(5);
    stage
        .until("5 brokers", |stage| {
            stage.has_settled_at(5) && stage.counts(5).iter().all(|count| *count == 8)
        })
        .await;
    stage.scale(3);
    stage
        .until("half a drain", |stage| stage.counts(5)[4] < 6)
        .await;
    stage.scale(5);
    stage
        .until("5 brokers again", |stage| {
            stage.has_settled_at(5) && stage.counts(5).iter().all(|count| *count == 8)
        })
        .await;
    assert_eq!(
        stage.server.notes("DrainCancelled"),
        ["brokers 3 and 4 stay"]
    );
    assert!(stage.server.notes("ScaledDown").is_empty());
    stage.is_at_rest().await;
    stage.ends().await;
}

#[tokio::test]
async fn fewer_brokers_than_a_topic_needs_are_refused_and_nothing_is_touched() {
    let stage = Stage::set(42).await;
    stage.pods_become_ready().await;
    stage.quorum.make_on("wide", 1, 3);
    let counted = |server: &ApiServer| {
        let cluster = server.get(CLUSTER)?;
        (cluster["status"]["topics"] == 1).then_some(())
    };
    stage.server.eventually("the topic's count", counted).await;
    stage.is_at_rest().await;
    let before = stage.server.get(SET).expect("the StatefulSet");
    stage.scale(2);
    let refused = |server: &ApiServer| {
        let cluster = server.get(CLUSTER)?;
        let conditions = cluster["status"]["conditions"].as_array()?;
        let mut found = conditions
            .iter()
            .filter(|it| it["reason"] == "ScaleDownRefused");
        found.next()?["message"].as_str().map(str::to_owned)
    };
    let message = stage.server.eventually("the refusal", refused).await;
    assert!(message.contains("topic wide has 3 replicas"), "{message}");
    let refused = |server: &ApiServer| {
        let notes = server.notes("ScaleDownRefused");
        (notes.len() == 1).then_some(())
    };
    stage.server.eventually("an Event", refused).await;
    assert_eq!(stage.server.get(SET), Some(before));
    assert!(
        stage
            .quorum
            .with(|state| state.brokers.values().all(|it| !it.cordoned))
    );
    stage.is_at_rest().await;
    stage.quorum.remove("wide");
    stage
        .until("2 brokers", |stage| stage.has_settled_at(2))
        .await;
    stage.ends().await;
}

/// Numbers that are the same for the same seed (splitmix64).
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % below
}

/// Edits, deaths of brokers and operators that take over, in the order of a seed. That a broker goes empty is checked
/// when its pod goes.
#[tokio::test]
async fn whatever_comes_first_the_end_is_what_the_spec_says() {
    for (number, seed) in [(43, 7), (44, 11), (45, 2026)] {
        walk(number, seed).await;
    }
}

async fn walk(number: u8, mut seed: u64) {
    let mut stage = Stage::set(number).await;
    stage.pods_become_ready().await;
    stage.quorum.make_on("orders", 12, 2);
    let mut wanted = 3;
    for _ in 0..40 {
        match random(&mut seed, 8) {
            0 | 1 => {
                wanted = i64::try_from(2 + random(&mut seed, 5)).expect("small");
                stage.scale(wanted);
            }
            2 => {
                // A pod is killed, and comes again.
                let broker = i32::try_from(random(&mut seed, 6)).expect("small");
                if stage.server.get(&Stage::pod(broker)).is_some() {
                    stage.server.delete(&Stage::pod(broker));
                    stage.quorum.fence(broker);
                }
            }
            3 => {
                stage.term.cancel();
                (&mut stage.acting).await.expect("ends well");
                (stage.term, stage.acting) = super::act(&stage.server);
            }
            4 | 5 => stage.quorum.move_one(),
            _ => stage.play(),
        }
        let pause = random(&mut seed, 60);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let wanted = i32::try_from(wanted).expect("small");
    let what = format!("{wanted} brokers in walk {number}");
    stage
        .until(&what, |stage| {
            let counts = stage.counts(wanted);
            let (least, most) = (counts.iter().min(), counts.iter().max());
            let differ = most.expect("some") - least.expect("some");
            stage.has_settled_at(wanted) && differ <= 2
        })
        .await;
    stage.is_at_rest().await;
    stage.ends().await;
}
