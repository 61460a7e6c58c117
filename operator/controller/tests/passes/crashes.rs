//! The operator crashes before and after each of its writes, and another takes over: in the end everything is as if
//! nothing had happened, and no pod was restarted that need not be.

#[path = "crashes/life.rs"]
mod life;
#[path = "crashes/scaling.rs"]
mod scaling;
#[path = "crashes/volumes.rs"]
mod volumes;

pub(crate) use volumes::have_volume_1;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::faults::{Faults, When};
use super::kubernetes::{Kubernetes, pod_path};
use super::quorum::Quorum;
use super::{CLUSTER, SERVICES, TOPIC, act};

/// More would keep each other waiting, and the tests beside them.
const AT_ONCE: usize = 3;
/// On a machine that is busy with other things; else it takes a second or two.
const ENDS_WITHIN: Duration = Duration::from_secs(180);
/// Longer than anything is put off.
const REST: Duration = Duration::from_millis(400);

/// What a person does, and how one sees that it is done.
struct Scenario {
    /// Makes the addresses of its quorums its own.
    number: u8,
    begins: Begins,
    edit: fn(&ApiServer),
    /// What the active controller and others do all the time meanwhile.
    meanwhile: fn(&ApiServer, &Quorum),
    is_done: fn(&ApiServer, &Quorum) -> bool,
    /// Fewer would say nothing.
    writes_least: usize,
    /// Brokers that may be away at once.
    away_most: usize,
}

/// What there is before it is edited.
#[derive(Clone, Copy, PartialEq)]
enum Begins {
    /// Nothing.
    New,
    /// A Cluster of three brokers that is well, with a Topic.
    Well,
    /// The same with so many brokers, and more replicas to be moved about.
    Even(i32),
    /// No pod runs.
    Suspended,
    /// Brokers have two volumes.
    Volumes,
}

impl Scenario {
    /// A Cluster that is well, of which nobody moves anything but the active controller.
    const WELL: Self = Self {
        number: 0,
        begins: Begins::Well,
        edit: |_| {},
        meanwhile: |_, quorum| quorum.move_one(),
        is_done: |_, _| false,
        writes_least: 3,
        away_most: 0,
    };
}

/// One run of a scenario.
struct Run {
    writes: Vec<String>,
    end: Value,
    crashed: bool,
}

pub(crate) fn condition(server: &ApiServer, path: &str, type_: &str) -> Option<(String, String)> {
    let object = server.get(path)?;
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|it| it["type"] == type_)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason")))
}

pub(crate) fn is_settled(server: &ApiServer) -> bool {
    let is = |type_: &str, status: &str| {
        condition(server, CLUSTER, type_).is_some_and(|(found, _)| found == status)
    };
    let object = server.get(CLUSTER).unwrap_or_default();
    // An operator that has just begun says what was, until it follows the quorum.
    object["status"]["activeController"].is_string()
        && object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && is("Ready", "True")
        && is("Progressing", "False")
        && is("Degraded", "False")
}

pub(crate) fn edit_spec(server: &ApiServer, edit: impl FnOnce(&mut Value)) {
    let mut cluster = server.get(CLUSTER).expect("the Cluster");
    edit(&mut cluster["spec"]);
    let generation = cluster["metadata"]["generation"].as_i64().expect("one");
    cluster["metadata"]["generation"] = json!(generation + 1);
    server.put(CLUSTER, cluster);
}

pub(crate) fn make(server: &ApiServer) {
    server.put(
        CLUSTER,
        json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Cluster",
            "metadata": {"generation": 1},
            "spec": {"replicas": 3, "storage": {"size": "1Gi"}, "config": {"log.retention.ms": "5"}},
        }),
    );
    server.put(
        TOPIC,
        json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Topic", "metadata": {"generation": 1},
            "spec": {"clusterRef": {"name": "demo"}, "partitions": 2, "config": {"retention.ms": "7"},
                "deletionPolicy": "Delete"},
        }),
    );
}

pub(crate) fn is_made(server: &ApiServer) -> bool {
    let counts = server.get(CLUSTER).unwrap_or_default()["status"].clone();
    counts["topics"] == 1
        && is_settled(server)
        && condition(server, TOPIC, "Ready").is_some_and(|it| it.0 == "True")
}

async fn run(scenario: &Scenario, at: Option<(usize, When)>) -> Run {
    let process = u8::try_from(std::process::id() % 250).expect("small");
    let place = at.map_or(0, |(number, when)| {
        2 * number + usize::from(when == When::After)
    });
    let address = IpAddr::V4(Ipv4Addr::new(
        127,
        scenario.number,
        process,
        u8::try_from(place + 1).expect("few writes"),
    ));
    let faults = Faults::default();
    let server = ApiServer::start_with(faults.clone());
    let quorum = Quorum::start_with(address, faults.clone()).await;
    let kubernetes = Kubernetes::new(server.clone(), quorum.clone(), address);
    let kubernetes = Rc::new(RefCell::new(kubernetes));
    let plays = Rc::clone(&kubernetes);
    let meanwhile: Cell<fn(&ApiServer, &Quorum)> = Cell::new(Scenario::WELL.meanwhile);
    let play = async {
        loop {
            plays.borrow_mut().step();
            meanwhile.get()(&server, &quorum);
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    };
    let story = async {
        let (mut term, mut acting) = act(&server);
        make(&server);
        begin(scenario.begins, &server, &quorum).await;
        faults.crash_at(at);
        meanwhile.set(scenario.meanwhile);
        (scenario.edit)(&server);
        let mut crashed = false;
        let started = Instant::now();
        loop {
            if faults.has_crashed() {
                acting.abort();
                term.cancel();
                assert!(acting.await.is_err_and(|error| error.is_cancelled()));
                faults.revive();
                crashed = true;
                (term, acting) = act(&server);
            }
            let what = || format!("{at:?}: {:#?}; {:#?}", faults.writes(), server.get(CLUSTER));
            assert!(started.elapsed() < ENDS_WITHIN, "{}", what());
            if !(scenario.is_done)(&server, &quorum) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            // What is still to be written is, and what is not to be would be.
            let count = faults.writes().len();
            tokio::time::sleep(REST).await;
            let is_granted = quorum.with(|state| !state.grants.is_empty());
            let rests = faults.writes().len() == count && !is_granted && !faults.has_crashed();
            if rests && (scenario.is_done)(&server, &quorum) {
                break;
            }
        }
        let writes = faults.writes();
        term.cancel();
        acting.await.expect("ends well");
        let mut end = server.everything();
        let played = kubernetes.borrow();
        end["births"] = json!(played.births);
        end["config"] = quorum.with(|state| json!(state.broker_config));
        end["topics"] = quorum.with(|state| json!(state.topics.keys().collect::<Vec<_>>()));
        assert!(
            played.away_most <= scenario.away_most,
            "{at:?}: {} brokers were away at once",
            played.away_most
        );
        let end = end.to_string().replace(&address.to_string(), "ADDRESS");
        Run {
            writes,
            end: serde_json::from_str(&end).expect("JSON"),
            crashed,
        }
    };
    tokio::select! {
        () = play => unreachable!("it plays for ever"),
        run = story => run,
    }
}

/// Brings it there, with an operator that does not crash.
async fn begin(begins: Begins, server: &ApiServer, quorum: &Quorum) {
    if begins == Begins::New {
        return;
    }
    if begins == Begins::Volumes {
        // No operator has seen it without.
        edit_spec(server, |spec| {
            spec["storage"]["volumes"] = json!([{"id": 1, "size": "2Gi"}]);
        });
    }
    until("it is made", server, || is_made(server)).await;
    match begins {
        Begins::New | Begins::Well => {}
        Begins::Even(brokers) => {
            quorum.make_on("moved", 6, 2);
            edit_spec(server, |spec| spec["replicas"] = json!(brokers));
            until("it is even", server, || is_even(server, quorum, brokers)).await;
            // Nothing that is written later counts as one of the scenario's writes.
            tokio::time::sleep(REST).await;
            assert!(is_even(server, quorum, brokers));
        }
        Begins::Volumes => assert!(have_volume_1(server, 3)),
        Begins::Suspended => {
            edit_spec(server, |spec| spec["suspend"] = json!(true));
            until("it sleeps", server, || is_suspended(server)).await;
            tokio::time::sleep(REST).await;
        }
    }
}

/// So many brokers, with equally many replicas; nothing is left of others, and nothing is under way.
fn is_even(server: &ApiServer, quorum: &Quorum, brokers: i32) -> bool {
    let counts: Vec<usize> = (0..brokers).map(|id| quorum.replicas_on(id)).collect();
    let differ = counts.iter().max().zip(counts.iter().min());
    let has = |of: &dyn Fn(&str) -> String| {
        let is_there = |id: &i32| server.get(&of(&format!("demo-broker-{id}"))).is_some();
        (0..8).filter(is_there).eq(0..brokers)
    };
    let known = quorum.with(|state| {
        let serve = |broker: &foz_api::v1::Broker| !broker.fenced && !broker.cordoned;
        state.brokers.keys().copied().eq(0..brokers) && state.brokers.values().all(serve)
    });
    let cluster = server.get(CLUSTER).unwrap_or_default();
    known
        && differ.is_some_and(|(most, least)| most - least <= 2)
        && has(&pod_path)
        && has(&|name| format!("{SERVICES}/{name}"))
        && quorum.running().is_none()
        && cluster["status"]["scaling"].is_null()
        && cluster["status"]["replicas"] == brokers
        && is_settled(server)
}

fn is_suspended(server: &ApiServer) -> bool {
    let reason = condition(server, CLUSTER, "Ready").map(|it| it.1);
    let of_topic = condition(server, TOPIC, "Ready").map(|it| it.1);
    server.paths("/pods/").is_empty()
        && reason.as_deref() == Some("Suspended")
        && of_topic.as_deref() == Some("ClusterSuspended")
        && condition(server, CLUSTER, "Progressing").is_some_and(|it| it.0 == "False")
}

async fn until(what: &str, server: &ApiServer, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < ENDS_WITHIN,
            "{what}: {:#?}",
            server.get(CLUSTER)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs it without a crash, and then with one before and after each write.
async fn crash_everywhere(scenario: Scenario) {
    let quiet = run(&scenario, None).await;
    let count = quiet.writes.len();
    assert!(count >= scenario.writes_least, "{:#?}", quiet.writes);
    let all = (1..=count).flat_map(|number| [When::Before, When::After].map(|it| (number, it)));
    let runs = futures::stream::iter(all)
        .map(|at| {
            let scenario = &scenario;
            async move { (at, run(scenario, Some(at)).await) }
        })
        .buffer_unordered(AT_ONCE);
    let mut runs = std::pin::pin!(runs);
    let mut crashed = 0;
    while let Some((at, run)) = runs.next().await {
        crashed += usize::from(run.crashed);
        let context = || format!("crashed {at:?} of {:#?}", run.writes);
        assert_same(&run.end, &quiet.end, &context);
    }
    // How often a status is written depends on what happens first: a run may end before its crash.
    assert!(
        crashed * 4 >= count * 2 * 3,
        "{crashed} crashes in {count} writes"
    );
}

fn assert_same(found: &Value, wanted: &Value, context: &dyn Fn() -> String) {
    let (Some(found_parts), Some(wanted_parts)) = (found.as_object(), wanted.as_object()) else {
        assert_eq!(found, wanted, "{}", context());
        return;
    };
    for (name, wanted) in wanted_parts {
        let found = found_parts.get(name).unwrap_or(&Value::Null);
        assert_eq!(found, wanted, "{name}; {}", context());
    }
    let more: Vec<&String> = found_parts
        .keys()
        .filter(|it| !wanted_parts.contains_key(*it))
        .collect();
    assert_eq!(more, [] as [&String; 0], "{}", context());
}

#[tokio::test]
async fn while_a_cluster_is_made() {
    crash_everywhere(Scenario {
        number: 94,
        begins: Begins::New,
        is_done: |server, _| is_made(server),
        away_most: 3,
        ..Scenario::WELL
    })
    .await;
}

#[tokio::test]
async fn while_pods_are_rolled() {
    crash_everywhere(Scenario {
        number: 95,
        edit: |server| edit_spec(server, |spec| spec["image"] = json!("foz-broker:2")),
        is_done: |server, _| {
            let is_new = |name: &str| {
                let pod = server.get(&pod_path(name)).unwrap_or_default();
                pod["spec"]["containers"][0]["image"] == "foz-broker:2"
            };
            let all = (0..3).all(|it| is_new(&format!("demo-broker-{it}")))
                && (0..3).all(|it| is_new(&format!("demo-controller-{it}")));
            all && is_settled(server)
        },
        away_most: 1,
        ..Scenario::WELL
    })
    .await;
}

#[tokio::test]
async fn while_a_topic_is_deleted() {
    crash_everywhere(Scenario {
        number: 99,
        edit: |server| {
            let mut topic = server.get(TOPIC).expect("the Topic");
            topic["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
            server.put(TOPIC, topic);
            edit_spec(server, |spec| {
                spec["config"]["log.retention.ms"] = json!("6")
            });
        },
        is_done: |server, _| {
            let counts = server.get(CLUSTER).unwrap_or_default()["status"].clone();
            counts["topics"] == 0 && server.get(TOPIC).is_none() && is_settled(server)
        },
        ..Scenario::WELL
    })
    .await;
}
