//! What goes wrong around a Cluster is told, and goes on when it is mended.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use foz_operator::names::Role;
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::crashes::{condition, edit_spec, have_volume_1, is_made, is_settled, make};
use super::faults::Faults;
use super::kubernetes::{Kubernetes, further_claim_path, make_class, pod_path, set_path};
use super::quorum::Quorum;
use super::{CLUSTER, Stage, act};

/// A Cluster with a Kubernetes that plays along.
struct Play {
    server: ApiServer,
    kubernetes: Rc<RefCell<Kubernetes>>,
}

impl Play {
    async fn with<Told>(number: u8, story: impl AsyncFnOnce(&Self) -> Told) -> Told {
        let process = u8::try_from(std::process::id() % 250).expect("small");
        let address = IpAddr::V4(Ipv4Addr::new(127, 100, process, number));
        let server = ApiServer::start();
        let quorum = Quorum::start_with(address, Faults::default()).await;
        let kubernetes = Kubernetes::new(server.clone(), quorum, address);
        let play = Self {
            server,
            kubernetes: Rc::new(RefCell::new(kubernetes)),
        };
        let plays = Rc::clone(&play.kubernetes);
        let goes_on = async move {
            loop {
                plays.borrow_mut().step();
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        };
        let told = async {
            let (term, acting) = act(&play.server);
            make(&play.server);
            play.eventually("a Cluster", is_made).await;
            let told = story(&play).await;
            term.cancel();
            acting.await.expect("ends well");
            told
        };
        tokio::select! {
            () = goes_on => unreachable!("it plays for ever"),
            told = told => told,
        }
    }

    async fn eventually(&self, what: &str, holds: impl Fn(&ApiServer) -> bool) {
        let look = |server: &ApiServer| holds(server).then_some(());
        self.server.eventually(what, look).await;
    }

    fn births(&self) -> Vec<u32> {
        self.kubernetes.borrow().births.values().copied().collect()
    }
}

fn has_image(server: &ApiServer, image: &str) -> bool {
    let is_of = |name: String| {
        let pod = server.get(&pod_path(&name)).unwrap_or_default();
        pod["spec"]["containers"][0]["image"] == image
    };
    (0..3).all(|it| is_of(format!("demo-broker-{it}")) && is_of(format!("demo-controller-{it}")))
}

fn is_degraded(server: &ApiServer, reason: &str) -> bool {
    condition(server, CLUSTER, "Degraded") == Some(("True".to_owned(), reason.to_owned()))
}

#[tokio::test]
async fn an_image_that_does_not_exist_takes_one_broker_until_the_spec_is_mended() {
    Play::with(1, async |play| {
        play.kubernetes.borrow_mut().bad_image = Some("foz-broker:none".into());
        edit_spec(&play.server, |spec| {
            spec["image"] = json!("foz-broker:none")
        });
        play.eventually("a roll that stopped", |server| {
            is_degraded(server, "RollStopped")
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(play.births().iter().sum::<u32>(), 7);
        let said = play.server.notes("RollStopped");
        assert!(said[0].contains("demo-broker-0"), "{said:?}");
        assert!(
            said[0].contains("ImagePullBackOff: no such image"),
            "{said:?}"
        );
        edit_spec(&play.server, |spec| spec["image"] = json!("foz-broker:2"));
        play.eventually("the end of the roll", |server| {
            is_settled(server) && has_image(server, "foz-broker:2")
        })
        .await;
        assert_eq!(play.births(), [3, 2, 2, 2, 2, 2]);
    })
    .await;
}

/// Another image, another size, a pause, and back again, all in the middle of a roll.
#[tokio::test]
async fn edits_that_contradict_each_other_in_the_middle_of_a_roll() {
    Play::with(2, async |play| {
        let image = |image: &str| edit_spec(&play.server, |spec| spec["image"] = json!(image));
        image("foz-broker:2");
        let births = |least: u32| {
            let kubernetes = Rc::clone(&play.kubernetes);
            move |_: &ApiServer| kubernetes.borrow().births.values().sum::<u32>() >= least
        };
        play.eventually("the first restart", births(7)).await;
        edit_spec(&play.server, |spec| {
            spec["image"] = json!("foz-broker:3");
            spec["storage"]["size"] = json!("2Gi");
        });
        play.eventually("two more", births(9)).await;
        edit_spec(&play.server, |spec| spec["paused"] = json!(true));
        play.eventually("a pause", |server| {
            condition(server, CLUSTER, "Progressing").is_some_and(|it| it.1 == "Paused")
        })
        .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let paused = play.births();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(play.births(), paused);
        edit_spec(&play.server, |spec| {
            spec["paused"] = json!(false);
            spec["image"] = json!("foz-broker:1");
        });
        play.eventually("everything as before", |server| {
            let set = server.get(&super::kubernetes::set_path(Role::Broker));
            let set = set.unwrap_or_default();
            let template = &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"];
            template["requests"]["storage"] == "2Gi"
                && is_settled(server)
                && has_image(server, "foz-broker:1")
        })
        .await;
        assert_eq!(play.kubernetes.borrow().away_most, 1);
    })
    .await;
}

#[tokio::test]
async fn suspended_and_resumed_it_is_as_it_was() {
    Play::with(3, async |play| {
        edit_spec(&play.server, |spec| spec["suspend"] = json!(true));
        play.eventually("no pods", |server| {
            server.paths("/pods/").is_empty()
                && condition(server, CLUSTER, "Ready").is_some_and(|it| it.1 == "Suspended")
        })
        .await;
        assert_eq!(play.server.paths("/persistentvolumeclaims/").len(), 6);
        assert_eq!(play.server.notes("Suspended").len(), 1);
        edit_spec(&play.server, |spec| spec["suspend"] = json!(false));
        play.eventually("everything", is_made).await;
        assert_eq!(play.births(), [2; 6]);
        assert_eq!(play.server.notes("Resumed").len(), 1);
        // Nobody is told of a trouble that there never was.
        assert_eq!(play.server.notes("QuorumUnavailable"), [] as [String; 0]);
        assert_eq!(play.server.notes("ScaledUp"), [] as [String; 0]);
    })
    .await;
}

/// The only other one that can tell is the StatefulSet's Event.
#[tokio::test]
async fn a_quota_that_is_used_up_is_told_in_the_words_of_kubernetes() {
    let stage = Stage::set(20).await;
    stage.pods_become_ready().await;
    let pod = pod_path("demo-broker-1");
    stage.server.delete(&pod);
    let words = "create Pod demo-broker-1 in StatefulSet demo-broker failed error: pods \"demo-broker-1\" is forbidden: exceeded quota";
    stage.server.put(
        "/api/v1/namespaces/kafka/events/demo-broker.1",
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {},
            "type": "Warning", "reason": "FailedCreate", "message": words,
            "involvedObject": {"kind": "StatefulSet", "name": "demo-broker", "namespace": "kafka"},
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }),
    );
    let told = |server: &ApiServer| {
        let object = server.get(CLUSTER)?;
        let conditions = object["status"]["conditions"].as_array()?;
        let degraded = conditions.iter().find(|it| it["type"] == "Degraded")?;
        let message = degraded["message"].as_str()?.to_owned();
        (degraded["reason"] == "PodNotCreated").then_some(message)
    };
    let message = stage.server.eventually("the words", told).await;
    assert!(message.contains(words), "{message}");
    stage.pod_becomes_ready(Role::Broker, 1, "r1");
    let over = |server: &ApiServer| {
        condition(server, CLUSTER, "Degraded")
            .is_some_and(|it| it.0 == "False")
            .then_some(())
    };
    stage.server.eventually("the end of it", over).await;
    // The Event is there for an hour still, and the pod goes for another reason.
    stage.server.delete(&pod);
    stage.ready(CLUSTER, "False", "PodsNotReady").await;
    assert!(told(&stage.server).is_none());
    stage.ends().await;
}

fn says(server: &ApiServer, type_: &str, words: &str) -> bool {
    let cluster = server.get(CLUSTER).unwrap_or_default();
    let conditions = cluster["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let is_it = |it: &&Value| it["type"] == type_;
    let found = conditions.find(is_it);
    found.is_some_and(|it| {
        it["message"]
            .as_str()
            .is_some_and(|said| said.contains(words))
    })
}

fn add_a_volume(server: &ApiServer, class: &str) {
    edit_spec(server, |spec| {
        spec["storage"]["volumes"] = json!([{"id": 1, "size": "2Gi", "className": class}]);
    });
}

fn templates(server: &ApiServer) -> usize {
    let set = server.get(&set_path(Role::Broker)).unwrap_or_default();
    let templates = set["spec"]["volumeClaimTemplates"].as_array();
    templates.map_or(0, Vec::len)
}

fn has_a_volume_more(server: &ApiServer) -> bool {
    have_volume_1(server, 3) && is_settled(server)
}

/// A name that is not right is put right before anything is made.
#[tokio::test]
async fn a_volume_of_a_class_that_does_not_exist_is_not_added() {
    Play::with(4, async |play| {
        make_class(&play.server, "fast", "Immediate");
        add_a_volume(&play.server, "fsat");
        play.eventually("the words", |server| {
            let words = "when StorageClass fsat is there (there are fast, standard): volume 1";
            says(server, "Progressing", words)
        })
        .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            (play.births().as_slice(), templates(&play.server)),
            ([1; 6].as_slice(), 1)
        );
        add_a_volume(&play.server, "fast");
        play.eventually("the volumes", has_a_volume_more).await;
        assert_eq!(play.births(), [2, 2, 2, 1, 1, 1]);
        assert_eq!(play.kubernetes.borrow().away_most, 1);
    })
    .await;
}

/// The driver of its class is not there, and no Event is a warning. Nobody is evicted meanwhile, and who takes the volume out
/// of the Cluster again gets back what was.
#[tokio::test]
async fn no_broker_is_stopped_for_a_volume_that_does_not_come() {
    Play::with(7, async |play| {
        make_class(&play.server, "fast", "Immediate");
        play.kubernetes.borrow_mut().idle_class = Some("fast".into());
        play.kubernetes.borrow_mut().drained = Some("demo-broker-2".into());
        add_a_volume(&play.server, "fast");
        play.eventually("the words", |server| {
            let words = "for its claim data-1-demo-broker-0 has no volume: StorageClass fast makes";
            let stay = "no broker may be evicted until demo-broker-2 has volume 1";
            says(server, "Progressing", words) && says(server, "Progressing", stay)
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(
            (play.births().as_slice(), templates(&play.server)),
            ([1; 6].as_slice(), 2)
        );
        edit_spec(&play.server, |spec| spec["storage"]["volumes"] = json!([]));
        play.eventually("what was", |server| {
            templates(server) == 1 && is_settled(server)
        })
        .await;
        assert_eq!(play.births(), [1; 6]);
        assert_eq!(play.kubernetes.borrow().evictions, 0);
    })
    .await;
}

/// The claim that was made cannot be of another class, and is deleted by hand.
#[tokio::test]
async fn a_class_that_has_no_volumes_is_changed() {
    Play::with(8, async |play| {
        make_class(&play.server, "slow", "Immediate");
        make_class(&play.server, "fast", "Immediate");
        play.kubernetes.borrow_mut().idle_class = Some("slow".into());
        add_a_volume(&play.server, "slow");
        play.eventually("a claim", |server| {
            says(server, "Progressing", "for its claim data-1-demo-broker-0 has no volume")
        })
        .await;
        add_a_volume(&play.server, "fast");
        play.eventually("what to do", |server| {
            let words = "data-1-demo-broker-0 has no volume, and is of StorageClass slow where fast is wanted: delete it";
            says(server, "Degraded", words) && templates(server) == 2
        })
        .await;
        assert_eq!(play.births(), [1; 6]);
        play.server.delete(&further_claim_path(1, "demo-broker-0"));
        play.eventually("the volumes", has_a_volume_more).await;
        assert_eq!(play.births(), [2, 2, 2, 1, 1, 1]);
    })
    .await;
}

/// As most classes of cloud disks and local ones are: a claim has no volume before its pod is there.
#[tokio::test]
async fn a_volume_that_comes_with_the_pod_is_added_while_a_node_is_drained() {
    Play::with(9, async |play| {
        make_class(&play.server, "local", "WaitForFirstConsumer");
        play.kubernetes.borrow_mut().drained = Some("demo-broker-1".into());
        add_a_volume(&play.server, "local");
        play.eventually("the volumes", has_a_volume_more).await;
        assert_eq!(play.births(), [2, 2, 2, 1, 1, 1]);
        assert_eq!(play.kubernetes.borrow().evictions, 0);
        assert_eq!(play.kubernetes.borrow().away_most, 1);
    })
    .await;
}

/// It would come back behind those that lack the volume.
#[tokio::test]
async fn a_set_that_a_hand_deletes_while_a_broker_is_away_comes_back_as_it_was() {
    Play::with(10, async |play| {
        make_class(&play.server, "fast", "Immediate");
        add_a_volume(&play.server, "fast");
        play.server.delete(&set_path(Role::Broker));
        play.kubernetes.borrow_mut().loses("demo-broker-1");
        play.eventually("the volumes", has_a_volume_more).await;
        assert_eq!(play.births(), [2, 3, 2, 1, 1, 1]);
        assert_eq!(play.kubernetes.borrow().away_most, 1);
    })
    .await;
}

#[tokio::test]
async fn no_broker_is_stopped_for_a_volume_that_a_quota_forbids() {
    Play::with(5, async |play| {
        play.kubernetes.borrow_mut().no_more_claims = true;
        add_a_volume(&play.server, "standard");
        play.eventually("the words", |server| {
            is_degraded(server, "RollWaitsForVolume") && says(server, "Degraded", "exceeded quota")
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(play.births(), [1; 6]);
        play.kubernetes.borrow_mut().no_more_claims = false;
        play.eventually("the volumes", has_a_volume_more).await;
        assert_eq!(play.births(), [2, 2, 2, 1, 1, 1]);
    })
    .await;
}

/// Nobody could mend it before those of smaller numbers have been restarted, which the quorum would deny.
#[tokio::test]
async fn a_volume_is_added_when_the_broker_that_does_not_run_is_mended() {
    Play::with(6, async |play| {
        play.kubernetes.borrow_mut().breaks("demo-broker-1");
        play.eventually("the trouble", |server| is_degraded(server, "PodFailing"))
            .await;
        add_a_volume(&play.server, "standard");
        play.eventually("that it waits", |server| {
            let words = "is made anew around its pods when demo-broker-1 is ready";
            says(server, "Progressing", words)
        })
        .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            (play.births().as_slice(), templates(&play.server)),
            ([1; 6].as_slice(), 1)
        );
        // A mended template reaches it, as ever.
        play.kubernetes.borrow_mut().unready.clear();
        edit_spec(&play.server, |spec| spec["image"] = json!("foz-broker:2"));
        play.eventually("all of it", |server| {
            has_a_volume_more(server) && has_image(server, "foz-broker:2")
        })
        .await;
        assert!(
            play.births()[..3]
                .iter()
                .all(|births| (2..=3).contains(births))
        );
    })
    .await;
}
