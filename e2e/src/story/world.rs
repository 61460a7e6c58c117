//! What stories act on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cluster::kubectl::Kubectl;
use crate::external::{External, Output};
use crate::folders::Folders;
use crate::foz::Foz;
use crate::images::Images;
use crate::java::Java;
use crate::kubernetes::Kubernetes;
use crate::objects::{await_object, await_ready, condition, items, name};
use crate::progress::Progress;

/// Long enough for pods to start on a machine that is busy with a whole cluster.
pub const READY_LIMIT: Duration = Duration::from_secs(120);

/// The namespace of the stories' objects.
pub const NAMESPACE: &str = "stories";
/// The Cluster that most stories are about.
pub const CLUSTER: &str = "cluster.foz.dev/demo";
/// Its pods, by their labels.
pub const OF_CLUSTER: &str = "app.kubernetes.io/instance=demo,app.kubernetes.io/part-of=foz";
/// Where clients find it.
pub const BOOTSTRAP: &str = "demo-bootstrap.stories.svc:9092";

/// A Kubernetes, and all that is needed to put Foz on it and to try it.
#[derive(Debug)]
pub struct World {
    pub folders: Folders,
    pub kubernetes: Kubernetes,
    pub images: Images,
    pub java: Java,
    /// Where a story tells a figure.
    pub progress: Progress,
}

impl World {
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubernetes.kubectl
    }

    /// The cluster behind the API server.
    pub fn cluster(&self) -> Result<&Cluster> {
        self.kubernetes.own()
    }

    /// Runs kubectl in the stories' namespace.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        self.kubectl()
            .command(["--namespace", NAMESPACE])
            .args(args)
            .run()
    }

    /// Applies YAML in the stories' namespace.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        self.kubectl().apply(NAMESPACE, manifest).map(drop)
    }

    /// Reads one object of the stories' namespace.
    pub fn get(&self, object: &str) -> Result<Value> {
        self.kubectl().get_json([object, "--namespace", NAMESPACE])
    }

    /// Reads the objects of a kind in the stories' namespace.
    pub fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let selector = format!("--selector={selector}");
        let list = self
            .kubectl()
            .get_json([kind, "--namespace", NAMESPACE, &selector])?;
        Ok(items(&list).cloned().collect())
    }

    /// Those of the Cluster that are not Ready, by name.
    pub fn unready_pods(&self) -> Result<Vec<String>> {
        let pods = self.list("pods", OF_CLUSTER)?;
        let unready = pods.iter().filter(|pod| !pod_is_ready(pod));
        Ok(unready.map(|pod| name(pod).to_owned()).collect())
    }

    /// Waits until an object of the stories' namespace is Ready.
    pub fn await_ready(&self, object: &str) -> Result<Value> {
        await_ready(self.kubectl(), NAMESPACE, object, READY_LIMIT)
    }

    /// Waits until an object of the stories' namespace is as described.
    pub fn await_object(
        &self,
        object: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        await_object(self.kubectl(), NAMESPACE, object, what, limit, wanted)
    }

    /// Waits until a pod that is not the one with this UID is Ready.
    pub fn await_new_pod(&self, pod: &str, old_uid: &Value) -> Result<Value> {
        self.await_object(
            &format!("pod/{pod}"),
            "a new one and Ready",
            READY_LIMIT,
            |object| object["metadata"]["uid"] != *old_uid && pod_is_ready(object),
        )
    }

    /// `foz` in the first broker's pod.
    #[must_use]
    pub fn foz(&self) -> Foz<'_> {
        self.foz_in("demo-broker-0")
    }

    /// `foz` in this pod.
    #[must_use]
    pub fn foz_in(&self, pod: &str) -> Foz<'_> {
        Foz {
            kubectl: self.kubectl(),
            namespace: NAMESPACE,
            pod: pod.to_owned(),
        }
    }

    /// kcat inside the cluster's network, on the Cluster `demo`.
    pub fn kcat(&self) -> Result<External> {
        self.kcat_at(BOOTSTRAP)
    }

    /// The same on another Cluster.
    pub fn kcat_at(&self, bootstrap: &str) -> Result<External> {
        Ok(self.cluster()?.client("kcat").args(["-b", bootstrap]))
    }

    /// A Java tool or source file inside the cluster's network.
    pub fn java(&self, class_or_source: &str) -> Result<External> {
        Ok(self
            .java
            .on(self.cluster()?.client("java"), class_or_source))
    }

    /// Makes a Topic on the Cluster `demo` and waits until it is Ready.
    pub fn make_topic(&self, topic: &str, partitions: u32) -> Result<()> {
        self.apply(&topic_manifest(topic, partitions, ""))?;
        self.await_ready(&format!("topic.foz.dev/{topic}"))
            .map(drop)
    }

    /// Makes a Topic with a name that no telling of the story before has used, and hands it back.
    pub fn fresh_topic(&self, prefix: &str, partitions: u32) -> Result<String> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let topic = format!("{prefix}-{}", since_1970.as_millis());
        self.make_topic(&topic, partitions)?;
        Ok(topic)
    }

    /// The names of the Cluster's pods with this role: `broker` or `controller`.
    pub fn pods(&self, role: &str) -> Result<Vec<String>> {
        let selector =
            format!("app.kubernetes.io/instance=demo,app.kubernetes.io/component={role}");
        let pods = self.list("pods", &selector)?;
        let mut names: Vec<String> = pods.iter().map(|pod| name(pod).to_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// Evicts a pod as `kubectl drain` does: through the API that asks the disruption budgets.
    pub fn evict(&self, pod: &str) -> Result<()> {
        let eviction = serde_json::json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": NAMESPACE},
        });
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction");
        let create = self
            .kubectl()
            .command(["create", "--raw", &path, "-f", "-"]);
        create
            .stdin(eviction.to_string())
            .run()
            .map(drop)
            .context("evicting")
    }
}

/// A Topic on the Cluster `demo` that is on one broker. `more` is the rest of the spec: nothing, or fields
/// of flow YAML.
#[must_use]
pub fn topic_manifest(topic: &str, partitions: u32, more: &str) -> String {
    manifest(topic, partitions, 1, more)
}

/// One that is on three brokers.
#[must_use]
pub fn replicated_topic_manifest(topic: &str, partitions: u32, more: &str) -> String {
    manifest(topic, partitions, 3, more)
}

fn manifest(topic: &str, partitions: u32, replication_factor: u32, more: &str) -> String {
    format!(
        "apiVersion: foz.dev/v1alpha1\n\
         kind: Topic\n\
         metadata: {{name: {topic}}}\n\
         spec: {{clusterRef: {{name: demo}}, partitions: {partitions}, replicationFactor: {replication_factor}, {more}}}\n"
    )
}

/// Whether a pod is Ready and not on its way out.
#[must_use]
pub fn pod_is_ready(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
        && condition(pod, "Ready").is_some_and(|it| it["status"] == "True")
}

/// `count` lines that say which one they are.
#[must_use]
pub fn lines(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}-{number}"))
        .collect()
}
