//! Plays the StatefulSet controller, the kubelet, the storage and the brokers: pods are made from the newest template,
//! with their claims, and come up; claims that are asked to grow do. Each step takes everything a little further.
//!
//! A pod that was made without a volume of the newest template holds up the StatefulSet controller: it makes and takes
//! away no pod of a greater number (Kubernetes makes some of them; which, goes by the sizes of its batches).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use foz_operator::names::Role;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::quorum::Quorum;

const NAMESPACE: &str = "/api/v1/namespaces/kafka";
const SETS: &str = "/apis/apps/v1/namespaces/kafka/statefulsets";
const BUDGET: &str = "/apis/policy/v1/namespaces/kafka/poddisruptionbudgets/demo-broker";
const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// Kubernetes, but for its API server.
pub(crate) struct Kubernetes {
    pub(crate) server: ApiServer,
    pub(crate) quorum: Quorum,
    pub(crate) address: IpAddr,
    /// How often each pod was made.
    pub(crate) births: BTreeMap<String, u32>,
    /// The greatest number of the first three brokers that were away at once while all of them were to run.
    pub(crate) away_most: usize,
    /// Pods of which the newest template does not come up.
    pub(crate) bad_image: Option<String>,
    /// Nothing makes volumes of this class, and nobody says so.
    pub(crate) idle_class: Option<String>,
    /// Somebody drains the node of this pod while a broker might not come back.
    pub(crate) drained: Option<String>,
    /// How often it was evicted.
    pub(crate) evictions: u32,
    /// There can be no more claims, and an Event says so.
    pub(crate) no_more_claims: bool,
    /// Pods that do not get ready, and end.
    pub(crate) unready: BTreeSet<String>,
}

pub(crate) fn pod_path(name: &str) -> String {
    format!("{NAMESPACE}/pods/{name}")
}

pub(crate) fn claim_path(pod: &str) -> String {
    format!("{NAMESPACE}/persistentvolumeclaims/data-{pod}")
}

pub(crate) fn further_claim_path(volume: u8, pod: &str) -> String {
    format!("{NAMESPACE}/persistentvolumeclaims/data-{volume}-{pod}")
}

pub(crate) fn set_path(role: Role) -> String {
    format!("{SETS}/demo-{}", role.as_str())
}

impl Kubernetes {
    pub(crate) fn new(server: ApiServer, quorum: Quorum, address: IpAddr) -> Self {
        make_class(&server, "standard", "Immediate");
        Self {
            server,
            quorum,
            address,
            births: BTreeMap::new(),
            away_most: 0,
            bad_image: None,
            idle_class: None,
            drained: None,
            evictions: 0,
            no_more_claims: false,
            unready: BTreeSet::new(),
        }
    }

    /// What runs in the pod ends, and does so again.
    pub(crate) fn breaks(&mut self, name: &str) {
        self.unready.insert(name.to_owned());
        let path = pod_path(name);
        let mut pod = self.server.get(&path).expect("the pod");
        let waiting = json!({"reason": "CrashLoopBackOff", "message": "out of memory"});
        pod["status"] = json!({"containerStatuses": [{"name": "foz", "image": "", "imageID": "",
            "ready": false, "restartCount": 5, "state": {"waiting": waiting}}]});
        self.server.put(&path, pod);
        let ordinal = name.rsplit('-').next().expect("a number");
        self.quorum.fence(ordinal.parse().expect("a number"));
    }

    /// The pod of a broker goes.
    pub(crate) fn loses(&self, name: &str) {
        let ordinal = name.rsplit('-').next().expect("a number");
        self.stop(Role::Broker, ordinal.parse().expect("a number"), name);
    }

    /// Nothing else runs meanwhile: what is read here is still so when it is written.
    pub(crate) fn step(&mut self) {
        for role in Role::ALL {
            if let Some(set) = self.server.get(&set_path(role)) {
                self.serve_set(role, set);
            }
        }
        for path in self.server.paths("/persistentvolumeclaims/") {
            self.serve_claim(&path);
        }
        self.evict();
        if self.is_to_be_collected() {
            self.collect();
        }
        let brokers = (0..3).filter(|ordinal| {
            let pod = self
                .server
                .get(&pod_path(&format!("demo-broker-{ordinal}")));
            !pod.is_some_and(|pod| is_ready(&pod))
        });
        let away = brokers.count();
        let all_are_to_run =
            self.births.len() >= 6 && self.wants(Role::Broker).is_some_and(|it| it >= 3);
        if all_are_to_run && self.has_run() {
            self.away_most = self.away_most.max(away);
        }
    }

    /// As the API server does it: where the disruption budget allows one.
    fn evict(&mut self) {
        let Some(name) = self.drained.clone() else {
            return;
        };
        let set = self.server.get(&set_path(Role::Broker));
        let lacks = |ordinal: i32| {
            let pod = self
                .server
                .get(&pod_path(&format!("demo-broker-{ordinal}")));
            pod.zip(set.as_ref())
                .is_some_and(|(pod, set)| lacks_a_volume(set, &pod))
        };
        let budget = self.server.get(BUDGET).expect("a budget");
        let may_not_come_back = set.is_none() || (0..3).any(lacks);
        if may_not_come_back && budget["spec"]["maxUnavailable"] != 0 {
            self.evictions += 1;
            self.loses(&name);
        }
    }

    fn has_run(&self) -> bool {
        let cluster = self.server.get(super::CLUSTER).unwrap_or_default();
        cluster["status"]["conditions"][0]["reason"] == "Ready"
    }

    fn wants(&self, role: Role) -> Option<i64> {
        self.server.get(&set_path(role))?["spec"]["replicas"].as_i64()
    }

    fn serve_set(&mut self, role: Role, mut set: Value) {
        let template = set["spec"]["template"].clone();
        let revision = format!("r{:016x}", hash(&template.to_string()));
        let status = json!({"replicas": set["spec"]["replicas"], "updateRevision": revision});
        if set["status"] != status {
            set["status"] = status;
            self.server.put(&set_path(role), set.clone());
        }
        let replicas = set["spec"]["replicas"].as_i64().expect("a number");
        let mut is_stuck = false;
        for ordinal in 0..6 {
            let name = format!("demo-{}-{ordinal}", role.as_str());
            let pod = self.server.get(&pod_path(&name));
            let lacks = pod.as_ref().is_some_and(|pod| lacks_a_volume(&set, pod));
            if lacks && ordinal < replicas && !is_stuck {
                self.make_claims(&set, &name);
                is_stuck = true;
            }
            match pod {
                Some(_) if ordinal >= replicas && is_stuck => {}
                None if is_stuck => {}
                Some(_) if ordinal >= replicas => {
                    let node_id = i32::try_from(ordinal).expect("small");
                    let on = self.quorum.replicas_on(node_id);
                    // With none at all it is suspended.
                    let may_go = role == Role::Controller || replicas == 0 || on == 0;
                    assert!(may_go, "{name} goes, and holds {on} replicas");
                    self.stop(role, node_id, &name);
                }
                Some(pod) if !is_ready(&pod) => self.start(role, ordinal, &name, pod),
                None if ordinal < replicas => self.make(&set, &name, &revision),
                _ => {}
            }
        }
    }

    fn stop(&self, role: Role, node_id: i32, name: &str) {
        self.server.delete(&pod_path(name));
        if role == Role::Broker {
            self.quorum.fence(node_id);
        }
    }

    /// The Cluster is gone, or goes when nothing is left that it owns.
    fn is_to_be_collected(&self) -> bool {
        let cluster = self.server.get(super::CLUSTER);
        cluster.is_none_or(|cluster| {
            let finalizers = cluster["metadata"]["finalizers"].as_array();
            finalizers.is_some_and(|all| all.iter().any(|it| it == "foregroundDeletion"))
        })
    }

    /// The garbage collector: one object after the other, then pods without their StatefulSet, then the owner.
    fn collect(&self) {
        let is_owned = |path: &&String| {
            let object = self.server.get(path).unwrap_or_default();
            object["metadata"]["ownerReferences"][0]["kind"] == "Cluster"
        };
        let all = self.server.paths("/namespaces/kafka/");
        if let Some(owned) = all.iter().find(is_owned) {
            return self.server.delete(owned);
        }
        for (role, node_id) in [Role::Broker, Role::Controller]
            .into_iter()
            .flat_map(|role| (0..6).map(move |node_id| (role, node_id)))
        {
            let name = format!("demo-{}-{node_id}", role.as_str());
            if self.server.get(&pod_path(&name)).is_some() {
                return self.stop(role, node_id, &name);
            }
        }
        if let Some(mut cluster) = self.server.get(super::CLUSTER) {
            cluster["metadata"]["finalizers"] = json!([]);
            self.server.put(super::CLUSTER, cluster);
        }
    }

    /// An Event as Kubernetes makes them.
    fn warn(&self, kind: &str, name: &str, reason: &str, message: &str) {
        let path = format!("{NAMESPACE}/events/{name}.{reason}");
        if self.server.get(&path).is_none() {
            let at = Timestamp::now().to_string();
            self.server.put(
                &path,
                json!({
                    "apiVersion": "v1", "kind": "Event", "metadata": {},
                    "type": "Warning", "reason": reason, "message": message, "lastTimestamp": at,
                    "involvedObject": {"kind": kind, "name": name, "namespace": "kafka"},
                }),
            );
        }
    }

    /// Those that there are none of yet. Says whether each is there to stay: a pod waits for one that goes.
    fn make_claims(&self, set: &Value, name: &str) -> bool {
        let mut stay = true;
        for template in set["spec"]["volumeClaimTemplates"]
            .as_array()
            .expect("templates")
        {
            let path = format!(
                "{NAMESPACE}/persistentvolumeclaims/{}",
                claim_name(template, name)
            );
            if let Some(claim) = self.server.get(&path) {
                stay &= claim["metadata"]["deletionTimestamp"].is_null();
                continue;
            }
            let claim = claim_name(template, name);
            if self.no_more_claims {
                let set = set["metadata"]["name"].as_str().expect("a name");
                let message = format!(
                    "create Claim {claim} for Pod {name} in StatefulSet {set} failed error: persistentvolumeclaims \"{claim}\" is forbidden: exceeded quota"
                );
                self.warn("StatefulSet", set, "FailedCreate", &message);
                return false;
            }
            let size = &template["spec"]["resources"]["requests"]["storage"];
            let class = template["spec"]["storageClassName"].as_str();
            let class = class.unwrap_or("standard");
            self.server.put(&path, json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"labels": template["metadata"]["labels"], "finalizers": [PROTECTION]},
                "spec": {
                    "resources": {"requests": {"storage": size}},
                    "storageClassName": class,
                },
                "status": {"phase": "Pending"},
            }));
            self.serve_claim(&path);
        }
        stay
    }

    /// Says that the volume of a claim is there, or can be made now.
    fn provides(&self, class: &str, claim: &str, pod: &str) -> bool {
        let Some(found) = self.server.get(&class_path(class)) else {
            let message = format!("storageclass.storage.k8s.io {class:?} not found");
            self.warn(
                "PersistentVolumeClaim",
                claim,
                "ProvisioningFailed",
                &message,
            );
            return false;
        };
        let is_wanted = || {
            self.server
                .get(&pod_path(pod))
                .is_some_and(|pod| has_claim(&pod, claim))
        };
        self.idle_class.as_deref() != Some(class)
            && (found["volumeBindingMode"] == "Immediate" || is_wanted())
    }

    fn make(&mut self, set: &Value, name: &str, revision: &str) {
        if !self.make_claims(set, name) {
            return;
        }
        let volumes = volumes(set, name);
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        for mount in container["volumeMounts"].as_array().expect("mounts") {
            let is_there = |volume: &Value| volume["name"] == mount["name"];
            let is_known = mount["name"] == "config" || mount["name"] == "tmp";
            assert!(
                is_known || volumes.iter().any(is_there),
                "{name} cannot be made: {mount} is of no volume"
            );
        }
        *self.births.entry(name.to_owned()).or_default() += 1;
        let mut metadata = set["spec"]["template"]["metadata"].clone();
        metadata["labels"]["controller-revision-hash"] = json!(revision);
        let image = &container["image"];
        self.server.put(
            &pod_path(name),
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                "spec": {
                    "containers": [{"name": "foz", "image": image}], "nodeName": "node-1",
                    "volumes": volumes,
                },
                "status": {},
            }),
        );
    }

    fn start(&mut self, role: Role, ordinal: i64, name: &str, mut pod: Value) {
        if self.unready.contains(name) || self.waits_for_a_claim(&pod) {
            return;
        }
        let image = pod["spec"]["containers"][0]["image"].as_str();
        if image.is_some() && image == self.bad_image.as_deref() {
            let waiting = json!({"reason": "ImagePullBackOff", "message": "no such image"});
            let status = json!({"containerStatuses": [{"name": "foz", "image": "", "imageID": "",
                "ready": false, "restartCount": 0, "state": {"waiting": waiting}}]});
            if pod["status"] != status {
                pod["status"] = status;
                self.server.put(&pod_path(name), pod);
            }
            return;
        }
        pod["status"] = json!({
            "podIP": self.address.to_string(),
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "foz", "image": "", "imageID": "", "ready": true,
                "restartCount": 0, "state": {"running": {}}}],
        });
        self.server.put(&pod_path(name), pod);
        if role == Role::Broker {
            self.quorum
                .start_broker(i32::try_from(ordinal).expect("small"));
        }
    }

    /// No node is found for it.
    fn waits_for_a_claim(&self, pod: &Value) -> bool {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let mut claims = volumes.filter_map(|it| it["persistentVolumeClaim"]["claimName"].as_str());
        claims.any(|claim| {
            let path = format!("{NAMESPACE}/persistentvolumeclaims/{claim}");
            let claim = self.server.get(&path).unwrap_or_default();
            claim["status"]["phase"] == "Pending"
        })
    }

    fn serve_claim(&self, path: &str) {
        let Some(mut claim) = self.server.get(path) else {
            return;
        };
        let name = path.rsplit("/data-").next().expect("its name");
        let pod = name.trim_start_matches(|it: char| it.is_ascii_digit() || it == '-');
        if !claim["metadata"]["deletionTimestamp"].is_null() {
            if self.server.get(&pod_path(pod)).is_none() {
                claim["metadata"]["finalizers"] = json!([]);
                self.server.put(path, claim);
            }
            return;
        }
        let size = claim["spec"]["resources"]["requests"]["storage"].clone();
        if claim["status"]["phase"] == "Pending" {
            let class = claim["spec"]["storageClassName"].as_str().expect("a class");
            let name = path.rsplit('/').next().expect("its name");
            if !self.provides(class, name, pod) {
                return;
            }
            claim["status"]["phase"] = json!("Bound");
        }
        if claim["status"]["capacity"]["storage"] != size {
            claim["status"]["capacity"]["storage"] = size;
            self.server.put(path, claim);
        }
    }
}

/// A class of volumes; claims that name none are of the class `standard`.
pub(crate) fn make_class(server: &ApiServer, name: &str, mode: &str) {
    let is_default = (name == "standard").to_string();
    server.put(
        &class_path(name),
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": is_default}},
            "provisioner": "example.com/disks", "volumeBindingMode": mode,
        }),
    );
}

fn class_path(name: &str) -> String {
    format!("/apis/storage.k8s.io/v1/storageclasses/{name}")
}

fn has_claim(pod: &Value, claim: &str) -> bool {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut claims = volumes.map(|it| &it["persistentVolumeClaim"]["claimName"]);
    claims.any(|it| it == claim)
}

fn claim_name(template: &Value, pod: &str) -> String {
    let template = template["metadata"]["name"].as_str().expect("a name");
    format!("{template}-{pod}")
}

/// Those of a pod that its StatefulSet makes claims for.
pub(crate) fn volumes(set: &Value, pod: &str) -> Vec<Value> {
    let templates = set["spec"]["volumeClaimTemplates"].as_array();
    let volume = |template: &Value| {
        let claim = claim_name(template, pod);
        json!({"name": template["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim}})
    };
    templates.expect("templates").iter().map(volume).collect()
}

fn lacks_a_volume(set: &Value, pod: &Value) -> bool {
    let has = pod["spec"]["volumes"].as_array().expect("volumes");
    let name = pod["metadata"]["name"].as_str().expect("a name");
    volumes(set, name)
        .iter()
        .any(|volume| !has.contains(volume))
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
