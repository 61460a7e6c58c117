//! etcd, the API server, the controller manager and the scheduler.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::addresses::{API_SERVER_PORT, CONTROL_PLANE, SERVICES};
use super::certificates::Certificates;
use super::daemon::{Daemon, Inside, Launcher, words};
use super::kubectl::Kubectl;
use crate::folders::write;
use crate::programs::Programs;
use crate::wait::Look;

const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";
const API_SERVER_LIMIT: Duration = Duration::from_secs(60);

/// What the parts of the control plane are started with.
#[derive(Debug)]
pub struct ControlPlane<'a> {
    pub launcher: &'a Launcher,
    pub programs: &'a Programs,
    pub certificates: &'a Certificates,
    /// The cluster's run folder.
    pub folder: &'a Path,
    /// The anchor of the control plane's namespace.
    pub anchor: u32,
}

impl ControlPlane<'_> {
    /// Starts etcd. The API server retries until it serves.
    pub fn start_etcd(&self) -> Result<Daemon> {
        let data = self.folder.join("etcd").display().to_string();
        let mut command = words(["etcd", "--data-dir", &data, "--unsafe-no-fsync"]);
        let peer = format!("default={ETCD_PEER}");
        command.extend(words([
            "--listen-client-urls",
            ETCD,
            "--advertise-client-urls",
            ETCD,
            "--listen-peer-urls",
            ETCD_PEER,
            "--initial-advertise-peer-urls",
            ETCD_PEER,
            "--initial-cluster",
            &peer,
        ]));
        self.launcher.start("etcd", self.inside(), &command)
    }

    /// Starts the API server.
    ///
    /// It writes every change that anyone makes to `audit_log`, one JSON event per line, before it
    /// answers: a test can count who wrote what.
    pub fn start_api_server(&self, audit_log: &Path) -> Result<Daemon> {
        let policy = self.folder.join("audit-policy.json");
        write(&policy, audit_policy().to_string())?;
        let pki = self.certificates;
        let mut command = self.kube("kube-apiserver");
        command.extend([
            format!("--etcd-servers={ETCD}"),
            format!("--bind-address={CONTROL_PLANE}"),
            format!("--advertise-address={CONTROL_PLANE}"),
            format!("--secure-port={API_SERVER_PORT}"),
            format!("--client-ca-file={}", pki.certificate("ca")),
            format!("--tls-cert-file={}", pki.certificate("apiserver")),
            format!("--tls-private-key-file={}", pki.key("apiserver")),
            format!("--kubelet-certificate-authority={}", pki.certificate("ca")),
            format!(
                "--kubelet-client-certificate={}",
                pki.certificate("kubelet-client")
            ),
            format!("--kubelet-client-key={}", pki.key("kubelet-client")),
            // Otherwise logs and exec look the node's name up in DNS.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!(
                "--service-account-key-file={}",
                pki.service_account_public_key()
            ),
            format!(
                "--service-account-signing-key-file={}",
                pki.key("service-account")
            ),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", audit_log.display()),
        ]);
        self.launcher
            .start("kube-apiserver", self.inside(), &command)
    }

    /// Waits until the API server says that it is ready.
    pub fn await_api_server(&self, api_server: &mut Daemon, kubectl: &Kubectl) -> Result<()> {
        api_server.await_ready(API_SERVER_LIMIT, || {
            let answer = kubectl.command(["get", "--raw=/readyz"]).run_any()?;
            let ready = answer.status.success();
            Ok(if ready {
                Look::Found(())
            } else {
                Look::NotYet(answer.error_text())
            })
        })
    }

    /// Starts what makes things happen: controllers and scheduler.
    pub fn start_controllers(&self) -> Result<()> {
        let pki = self.certificates;
        let mut manager = self.kube("kube-controller-manager");
        manager.extend(self.client_flags("controller-manager"));
        manager.extend([
            format!(
                "--service-account-private-key-file={}",
                pki.key("service-account")
            ),
            format!("--root-ca-file={}", pki.certificate("ca")),
            format!("--cluster-signing-cert-file={}", pki.certificate("ca")),
            format!("--cluster-signing-key-file={}", pki.key("ca")),
            "--use-service-account-credentials".to_owned(),
            // A lost node is noticed within 12 s instead of 50.
            "--node-monitor-period=1s".to_owned(),
            "--node-monitor-grace-period=12s".to_owned(),
            // An autoscaler looks at its target every 2 s instead of 15.
            "--horizontal-pod-autoscaler-sync-period=2s".to_owned(),
        ]);
        self.launcher
            .start("kube-controller-manager", self.inside(), &manager)?;
        let mut scheduler = self.kube("kube-scheduler");
        scheduler.extend(self.client_flags("scheduler"));
        self.launcher
            .start("kube-scheduler", self.inside(), &scheduler)?;
        Ok(())
    }

    fn client_flags(&self, user: &str) -> Vec<String> {
        let kubeconfig = self
            .folder
            .join(format!("{user}.kubeconfig"))
            .display()
            .to_string();
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ]
    }

    /// With memory to spare and two processors the collector of garbage is better run seldom: it took a fifth of what
    /// the API server takes.
    fn kube(&self, name: &str) -> Vec<String> {
        let program = self.programs.kube(name).display().to_string();
        words(["env", "GOGC=400", &program])
    }

    fn inside(&self) -> Inside {
        Inside::Network(self.anchor)
    }
}

/// Who changed which object when; no reads, no contents.
fn audit_policy() -> serde_json::Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
            {"level": "None"},
        ],
    })
}
