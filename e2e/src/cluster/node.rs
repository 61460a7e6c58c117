//! A node: containerd, kubelet and kube-proxy in the node's namespaces.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::addresses::{DNS_SERVICE, DOMAIN, PODS, node_address, node_name, node_pods};
use super::certificates::Certificates;
use super::cgroup::Cgroup;
use super::daemon::{Daemon, Inside, Launcher};
use crate::external::External;
use crate::folders::write;
use crate::programs::{PAUSE_IMAGE, Programs};
use crate::wait::Look;

const CONTAINERD_LIMIT: Duration = Duration::from_secs(30);
const IMPORT_LIMIT: Duration = Duration::from_secs(120);
/// Where Debian puts the CNI plugins.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";
/// containerd's default socket; a node has a /run of its own.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// One node and where its things are.
#[derive(Debug, Clone)]
pub struct Node {
    number: u8,
    /// The node's folder below the cluster's run folder, which is the parent.
    folder: PathBuf,
}

impl Node {
    #[must_use]
    pub fn new(cluster_folder: &Path, number: u8) -> Node {
        Node {
            number,
            folder: cluster_folder.join(node_name(number)),
        }
    }

    #[must_use]
    pub fn name(&self) -> String {
        node_name(self.number)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts containerd inside the node's namespaces, whose anchor is given.
    pub fn start_containerd(&self, launcher: &Launcher, anchor: u32) -> Result<Daemon> {
        let plugins = self.file("cni/10-bridge.conflist");
        write(&plugins, self.cni_config().to_string())?;
        let config = self.file("containerd.toml");
        write(&config, self.containerd_config())?;
        let command = ["containerd".to_owned(), "--config".to_owned(), config];
        let name = format!("containerd-{}", self.name());
        launcher.start(&name, Inside::NetworkAndMounts(anchor), &command)
    }

    /// Waits for containerd and gives it the image without which no pod starts.
    pub fn await_containerd(&self, containerd: &mut Daemon, programs: &Programs) -> Result<()> {
        containerd.await_ready(CONTAINERD_LIMIT, || {
            let answer = self.ctr().arg("version").run_any()?;
            let serves = answer.status.success();
            Ok(if serves {
                Look::Found(())
            } else {
                Look::NotYet(answer.error_text())
            })
        })?;
        self.import_image(&programs.pause_archive)
    }

    /// Gives the node the images of an archive as `docker save` writes it.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        let import = self
            .ctr()
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(archive);
        import.limit(IMPORT_LIMIT).run().map(drop)
    }

    /// Whether the node has an image of this name.
    pub fn has_image(&self, name: &str) -> Result<bool> {
        let list = self
            .ctr()
            .args(["--namespace", "k8s.io", "images", "list", "--quiet"])
            .run()?;
        Ok(list.text().lines().any(|line| line == name))
    }

    /// Starts the kubelet and kube-proxy.
    pub fn start_agents(
        &self,
        launcher: &Launcher,
        programs: &Programs,
        certificates: &Certificates,
        cgroup: &Cgroup,
        anchor: u32,
    ) -> Result<()> {
        let cgroup = cgroup.child(&self.name());
        cgroup.create_for_cgroups()?;
        let inside = Inside::NetworkAndMounts(anchor);
        let kubelet_config = self.file("kubelet.json");
        write(
            &kubelet_config,
            self.kubelet_config(certificates, &cgroup)?.to_string(),
        )?;
        let kubelet = [
            programs.kube("kubelet").display().to_string(),
            format!("--config={kubelet_config}"),
            format!("--kubeconfig={}", self.kubeconfig(&self.name())),
            format!("--hostname-override={}", self.name()),
            format!("--node-ip={}", node_address(self.number)),
            format!(
                "--node-labels=topology.kubernetes.io/zone=zone-{}",
                self.number
            ),
        ];
        launcher.start(&format!("kubelet-{}", self.name()), inside, &kubelet)?;
        let proxy_config = self.file("kube-proxy.json");
        write(&proxy_config, self.proxy_config().to_string())?;
        let proxy = [
            programs.kube("kube-proxy").display().to_string(),
            format!("--config={proxy_config}"),
        ];
        launcher.start(&format!("kube-proxy-{}", self.name()), inside, &proxy)?;
        Ok(())
    }

    fn kubelet_config(
        &self,
        certificates: &Certificates,
        cgroup: &Cgroup,
    ) -> Result<serde_json::Value> {
        let node = self.name();
        let resolv_conf = self.file("empty-resolv.conf");
        write(&resolv_conf, "")?;
        Ok(json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": certificates.certificate("ca")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": certificates.certificate(&node),
            "tlsPrivateKeyFile": certificates.key(&node),
            "address": node_address(self.number),
            "healthzBindAddress": "127.0.0.1",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup.root_path(),
            // A machine may still have cgroup v1 only.
            "failCgroupV1": false,
            "failSwapOn": false,
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": DOMAIN,
            // Nothing of this machine's own name resolution reaches a pod.
            "resolvConf": resolv_conf,
            "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
            "nodeStatusUpdateFrequency": "3s",
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            // 100: never. On a disk that is nearly full the kubelet would delete images, and nobody serves them again.
            "imageGCHighThresholdPercent": 100,
        }))
    }

    fn proxy_config(&self) -> serde_json::Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": self.kubeconfig("proxy")},
            "mode": "iptables",
            "clusterCIDR": PODS,
            "hostnameOverride": self.name(),
            "metricsBindAddress": "127.0.0.1:10249",
            // These settings belong to the whole machine, not to a network namespace.
            "conntrack": {
                "maxPerCore": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        })
    }

    fn cni_config(&self) -> serde_json::Value {
        json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": true,
                    "ipMasq": false,
                    "hairpinMode": true,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": node_pods(self.number)}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        })
    }

    /// `restrict_oom_score_adj`: without CAP_SYS_RESOURCE nobody may lower the score, and runc then
    /// dies with "can't get final child's PID from pipe: EOF".
    fn containerd_config(&self) -> String {
        format!(
            r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
"#,
            self.file("cni")
        )
    }

    /// containerd's client, from outside the node: its socket lies in the folder that the node has
    /// as its /run.
    fn ctr(&self) -> External {
        External::new("ctr")
            .arg("--address")
            .arg(self.folder.join(&CONTAINERD_SOCKET[1..]))
    }

    fn kubeconfig(&self, user: &str) -> String {
        let cluster = self.folder.parent().unwrap_or(&self.folder);
        cluster
            .join(format!("{user}.kubeconfig"))
            .display()
            .to_string()
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}
