//! What Kubernetes says in Warning Events about StatefulSets and claims of Clusters: why a pod cannot be made, why a
//! volume does not come or does not grow. Nothing else tells that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{self, watcher};
use kube::{Resource as _, ResourceExt as _};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::warn;

use crate::names::{ClusterName, Role};
use crate::trigger::GuardedCluster;
use crate::world::follow::{Sources, api, spawn};
use crate::world::get;

/// The kinds of objects whose Warnings are read.
const KINDS: [Warned; 2] = [Warned::StatefulSet, Warned::PersistentVolumeClaim];
/// Each object has a few kinds of Events; Kubernetes forgets them after an hour.
const EVENTS_MAX: usize = 4096;
/// A broker may be stopped for a volume that Kubernetes has warned of: it is worth a moment to know.
const LISTED_WITHIN: Duration = Duration::from_secs(5);

/// The reason of the StatefulSet controller's Events when it tries in vain to add a volume to a pod that is there. It comes
/// with each try, beside what keeps other pods from being made, and is told otherwise: [`crate::cluster::further_volumes`].
const FAILED_UPDATE: &str = "FailedUpdate";

/// What a Warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warned {
    /// A StatefulSet.
    StatefulSet,
    /// A claim of a volume.
    PersistentVolumeClaim,
}

/// A Warning Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// In CamelCase.
    pub reason: String,
    /// A sentence of whoever warns.
    pub message: String,
    /// When it happened last.
    pub at: Timestamp,
}

/// The newest Warnings; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Warnings {
    all: Arc<Mutex<HashMap<Key, Told>>>,
    watches: Option<Arc<Watches>>,
}

/// How far the watches have got.
#[derive(Debug)]
struct Watches {
    /// The Clusters are known: warnings of others are passed over.
    may_begin: watch::Sender<bool>,
    /// Of so many kinds all has been told that there was.
    listed: watch::Sender<usize>,
}

/// Namespace and name of the Event.
type Key = (String, String);

#[derive(Debug)]
struct Told {
    kind: String,
    name: String,
    warning: Warning,
}

impl Warned {
    const fn kind(self) -> &'static str {
        match self {
            Self::StatefulSet => "StatefulSet",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
        }
    }
}

impl Warnings {
    /// The newest about an object.
    #[must_use]
    pub fn about(&self, kind: Warned, namespace: &str, name: &str) -> Option<Warning> {
        self.all_about(kind, namespace, name).into_iter().next()
    }

    /// All about an object, the newest first.
    #[must_use]
    pub fn all_about(&self, kind: Warned, namespace: &str, name: &str) -> Vec<Warning> {
        let all = self.all.lock();
        let about = all
            .iter()
            .filter(|((of, _), told)| {
                of == namespace
                    && told.name == name
                    && told.kind == kind.kind()
                    && told.warning.reason != FAILED_UPDATE
            })
            .map(|(_, told)| &told.warning);
        let mut about: Vec<Warning> = about.cloned().collect();
        // Of two in one second always the same one is the first.
        about.sort_by(|one, other| {
            let at = other.at.cmp(&one.at);
            at.then_with(|| one.message.cmp(&other.message))
        });
        about
    }

    fn insert(&self, event: &Event) {
        let mut all = self.all.lock();
        let key = key(event);
        if all.len() < EVENTS_MAX || all.contains_key(&key) {
            all.insert(key, told(event));
        }
    }

    fn remove(&self, event: &Event) {
        self.all.lock().remove(&key(event));
    }

    /// What was warned of an object is over.
    pub fn forget(&self, (kind, namespace, name): (Warned, &str, &str), over: &[Warning]) {
        if over.is_empty() {
            return;
        }
        self.all.lock().retain(|(of, _), told| {
            let is_it = of == namespace && told.name == name && told.kind == kind.kind();
            !is_it || !over.contains(&told.warning)
        });
    }

    /// Begins, as the Clusters are known, and waits until all that there was has been told; not for long: the operator may not
    /// be allowed to see Events, and tells less then.
    pub async fn wait_until_listed(&self) {
        let Some(watches) = &self.watches else {
            return;
        };
        watches.may_begin.send_replace(true);
        let mut listed = watches.listed.subscribe();
        let all = listed.wait_for(|kinds| *kinds >= KINDS.len());
        if tokio::time::timeout(LISTED_WITHIN, all).await.is_err() {
            warn!(
                kind = "Event",
                "what Kubernetes warned of before is not known yet"
            );
        }
    }

    /// All about this kind is told again: what went in between is not told.
    fn forget_all(&self, kind: Warned) {
        self.all.lock().retain(|_, told| told.kind != kind.kind());
    }
}

/// Starts the watches, which begin when they are waited for.
pub(super) fn follow(sources: &Sources, clusters: &Store<GuardedCluster>) -> Warnings {
    let watches = Arc::new(Watches {
        may_begin: watch::Sender::new(false),
        listed: watch::Sender::new(0),
    });
    let warnings = Warnings {
        watches: Some(Arc::clone(&watches)),
        ..Warnings::default()
    };
    for kind in KINDS {
        let fields = format!("type=Warning,involvedObject.kind={}", kind.kind());
        let config = watcher::Config::default().fields(&fields);
        let stream = watcher(api::<Event>(sources), config).default_backoff();
        let (warnings, triggers) = (warnings.clone(), sources.triggers.clone());
        let (clusters, watches) = (clusters.clone(), Arc::clone(&watches));
        let task = async move {
            let mut may_begin = watches.may_begin.subscribe();
            if may_begin.wait_for(|may| *may).await.is_err() {
                return;
            }
            drop(may_begin);
            let mut is_first = true;
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                let event = match event {
                    Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => event,
                    Ok(watcher::Event::Delete(event)) => {
                        warnings.remove(&event);
                        continue;
                    }
                    Ok(watcher::Event::Init) => {
                        warnings.forget_all(kind);
                        continue;
                    }
                    Ok(watcher::Event::InitDone) => {
                        if std::mem::take(&mut is_first) {
                            watches.listed.send_modify(|kinds| *kinds += 1);
                        }
                        continue;
                    }
                    Err(error) => {
                        warn!(kind = "Event", %error, "a watch was interrupted");
                        continue;
                    }
                };
                let object = &event.involved_object;
                let namespace = event.namespace().unwrap_or_default();
                let of = cluster_of(object.name.as_deref().unwrap_or_default());
                let found = of.filter(|name| get(&clusters, &namespace, name).is_some());
                if let Some(name) = found {
                    warnings.insert(&event);
                    triggers.cluster(&ClusterName { namespace, name });
                }
            }
        };
        spawn(sources, task);
    }
    warnings
}

/// The Cluster that a StatefulSet or a claim of this name would be of.
fn cluster_of(name: &str) -> Option<String> {
    let of_set = |set: &str| {
        Role::ALL.iter().find_map(|role| {
            let cluster = set.strip_suffix(role.as_str())?.strip_suffix('-')?;
            Some(cluster.to_owned())
        })
    };
    let of_claim = || {
        let (set, ordinal) = name.strip_prefix("data-")?.rsplit_once('-')?;
        ordinal.parse::<u16>().ok()?;
        // No Cluster's name begins with a digit: that is a further volume's number.
        let further = set
            .split_once('-')
            .filter(|(id, _)| id.parse::<u8>().is_ok());
        of_set(further.map_or(set, |(_, set)| set))
    };
    of_claim().or_else(|| of_set(name))
}

fn key(event: &Event) -> Key {
    (event.namespace().unwrap_or_default(), event.name_any())
}

fn told(event: &Event) -> Told {
    let object = &event.involved_object;
    let series = event.series.as_ref();
    let repeated = series.and_then(|series| series.last_observed_time.as_ref());
    let times = [
        repeated.map(|time| time.0),
        event.last_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
        event.meta().creation_timestamp.as_ref().map(|time| time.0),
    ];
    Told {
        kind: object.kind.clone().unwrap_or_default(),
        name: object.name.clone().unwrap_or_default(),
        warning: Warning {
            reason: event.reason.clone().unwrap_or_default(),
            message: event.message.clone().unwrap_or_default(),
            at: times.into_iter().flatten().max().unwrap_or_default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Warned, Warnings, cluster_of};
    use serde_json::{Value, json};

    fn event(name: &str, kind: &str, object: &str, times: &Value) -> super::Event {
        let mut event = json!({
            "metadata": {"namespace": "kafka", "name": name},
            "involvedObject": {"kind": kind, "name": object},
            "reason": "FailedCreate", "message": name, "type": "Warning",
        });
        for (field, time) in times.as_object().expect("times") {
            event[field] = time.clone();
        }
        serde_json::from_value(event).expect("an Event")
    }

    #[test]
    fn the_newest_counts_by_whichever_time_it_has() {
        let warnings = Warnings::default();
        let about = |name: &str| warnings.about(Warned::StatefulSet, "kafka", name);
        let set = |name: &str, times: &Value| {
            warnings.insert(&event(name, "StatefulSet", "demo-broker", times));
        };
        set("a", &json!({"lastTimestamp": "2026-01-01T00:00:05Z"}));
        set("b", &json!({"eventTime": "2026-01-01T00:00:01.000000Z"}));
        assert_eq!(about("demo-broker").expect("one").message, "a");
        set(
            "b",
            &json!({"eventTime": "2026-01-01T00:00:01.000000Z",
                "series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:07.000000Z"}}),
        );
        assert_eq!(about("demo-broker").expect("one").message, "b");
        assert_eq!(about("demo-controller"), None);
        let later = json!({"lastTimestamp": "2026-01-01T00:00:08Z"});
        let mut update = event("c", "StatefulSet", "demo-broker", &later);
        update.reason = Some("FailedUpdate".into());
        warnings.insert(&update);
        assert_eq!(about("demo-broker").expect("one").message, "b");
        assert_eq!(
            warnings.about(Warned::PersistentVolumeClaim, "kafka", "demo-broker"),
            None
        );
        assert_eq!(
            warnings.about(Warned::StatefulSet, "other", "demo-broker"),
            None
        );
        warnings.remove(&event("b", "StatefulSet", "demo-broker", &json!({})));
        assert_eq!(about("demo-broker").expect("one").message, "a");
    }

    #[test]
    fn names_say_which_cluster_it_is_about() {
        for (name, cluster) in [
            ("demo-broker", Some("demo")),
            ("my-broker-controller", Some("my-broker")),
            ("data-demo-broker-12", Some("demo")),
            ("data-15-demo-broker-12", Some("demo")),
            ("data-1-my-broker-broker-0", Some("my-broker")),
            ("data-demo-controller-0", Some("demo")),
            ("demo", None),
            ("broker", None),
            ("data-demo-broker-x", None),
        ] {
            assert_eq!(cluster_of(name).as_deref(), cluster, "{name}");
        }
    }
}
