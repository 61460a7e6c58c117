//! Plays the StatefulSet controller, the kubelet, the storage and the brokers: pods are made from the newest template,
//! with their claims, and come up; claims that are asked to grow do. Each step takes everything a little further.

use std::collections::BTreeMap;
use std::net::IpAddr;

use foz_operator::names::Role;
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::quorum::Quorum;

const NAMESPACE: &str = "/api/v1/namespaces/kafka";
const SETS: &str = "/apis/apps/v1/namespaces/kafka/statefulsets";
const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// Kubernetes, but for its API server.
pub(crate) struct Kubernetes {
    pub(crate) server: ApiServer,
    pub(crate) quorum: Quorum,
    pub(crate) address: IpAddr,
    /// How often each pod was made.
    pub(crate) births: BTreeMap<String, u32>,
    /// The greatest number of brokers that were away at once while there was a StatefulSet of three.
    pub(crate) away_most: usize,
    /// Pods of which the newest template does not come up.
    pub(crate) bad_image: Option<String>,
}

pub(crate) fn pod_path(name: &str) -> String {
    format!("{NAMESPACE}/pods/{name}")
}

pub(crate) fn claim_path(pod: &str) -> String {
    format!("{NAMESPACE}/persistentvolumeclaims/data-{pod}")
}

pub(crate) fn set_path(role: Role) -> String {
    format!("{SETS}/demo-{}", role.as_str())
}

impl Kubernetes {
    pub(crate) fn new(server: ApiServer, quorum: Quorum, address: IpAddr) -> Self {
        Self {
            server,
            quorum,
            address,
            births: BTreeMap::new(),
            away_most: 0,
            bad_image: None,
        }
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
        let brokers = (0..3).filter(|ordinal| {
            let pod = self
                .server
                .get(&pod_path(&format!("demo-broker-{ordinal}")));
            !pod.is_some_and(|pod| is_ready(&pod))
        });
        let away = brokers.count();
        let all_are_to_run = self.births.len() == 6 && self.wants(Role::Broker) == Some(3);
        if all_are_to_run && self.has_run() {
            self.away_most = self.away_most.max(away);
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
        for ordinal in 0..6 {
            let name = format!("demo-{}-{ordinal}", role.as_str());
            let pod = self.server.get(&pod_path(&name));
            match pod {
                Some(_) if ordinal >= replicas => {
                    self.server.delete(&pod_path(&name));
                    if role == Role::Broker {
                        self.quorum.fence(i32::try_from(ordinal).expect("small"));
                    }
                }
                Some(pod) if !is_ready(&pod) => self.start(role, ordinal, &name, pod),
                None if ordinal < replicas => self.make(&set, &name, &revision),
                _ => {}
            }
        }
    }

    fn make(&mut self, set: &Value, name: &str, revision: &str) {
        let claim = self.server.get(&claim_path(name));
        match claim {
            // Its pod waits until it is gone.
            Some(claim) if !claim["metadata"]["deletionTimestamp"].is_null() => return,
            Some(_) => {}
            None => {
                let template = &set["spec"]["volumeClaimTemplates"][0];
                let size = &template["spec"]["resources"]["requests"]["storage"];
                self.server.put(
                    &claim_path(name),
                    json!({
                        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                        "metadata": {"labels": template["metadata"]["labels"], "finalizers": [PROTECTION]},
                        "spec": {"resources": {"requests": {"storage": size}}},
                        "status": {"phase": "Bound", "capacity": {"storage": size}},
                    }),
                );
            }
        }
        *self.births.entry(name.to_owned()).or_default() += 1;
        let mut metadata = set["spec"]["template"]["metadata"].clone();
        metadata["labels"]["controller-revision-hash"] = json!(revision);
        let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
        self.server.put(
            &pod_path(name),
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                "spec": {"containers": [{"name": "foz", "image": image}], "nodeName": "node-1"},
                "status": {},
            }),
        );
    }

    fn start(&mut self, role: Role, ordinal: i64, name: &str, mut pod: Value) {
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

    fn serve_claim(&self, path: &str) {
        let Some(mut claim) = self.server.get(path) else {
            return;
        };
        let pod = path.rsplit("/data-").next().expect("its pod");
        if !claim["metadata"]["deletionTimestamp"].is_null() {
            if self.server.get(&pod_path(pod)).is_none() {
                claim["metadata"]["finalizers"] = json!([]);
                self.server.put(path, claim);
            }
            return;
        }
        let size = claim["spec"]["resources"]["requests"]["storage"].clone();
        if claim["status"]["capacity"]["storage"] != size {
            claim["status"]["capacity"]["storage"] = size;
            self.server.put(path, claim);
        }
    }
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
