//! A Kubernetes cluster whose nodes are network namespaces of this machine.
//!
//! The control plane (etcd, API server, controllers, scheduler, DNS) runs as plain processes in one
//! namespace, each node (containerd, kubelet, kube-proxy, pods) in its own; a bridge connects them.
//! Nothing of it is reachable from outside but the API server, through a relay on loopback.
//!
//! What this Kubernetes does not do: enforce NetworkPolicy, grow volumes, pull images.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::addresses::{API_SERVER_PORT, CONTROL_PLANE, NODES_MAX, node_name};
use self::certificates::Certificates;
use self::cgroup::Cgroup;
use self::control_plane::ControlPlane;
use self::daemon::{Daemon, Inside, Launcher};
use self::kubeconfig::write_kubeconfig;
use self::kubectl::Kubectl;
use self::node::Node;
use crate::external::External;
use crate::folders::{Folders, write};
use crate::programs::Programs;
use crate::progress::Progress;
use crate::wait::{Look, wait_for, wait_until};

pub mod addresses;
pub mod anchor;
pub mod certificates;
pub mod cgroup;
pub mod control_plane;
pub mod daemon;
pub mod delay;
pub mod dns;
pub mod kubeconfig;
pub mod kubectl;
pub mod network;
pub mod node;
pub mod relay;
pub mod teardown;
pub mod volumes;

const NODES_READY_LIMIT: Duration = Duration::from_secs(90);
const DNS_LIMIT: Duration = Duration::from_secs(60);
/// The kubelets and containerds of three nodes watch more files than the kernel's default of 128.
const INOTIFY_INSTANCES_MIN: u32 = 8192;

/// A cluster that runs.
#[derive(Debug, Clone)]
pub struct Cluster {
    folder: PathBuf,
    cgroup: Cgroup,
    pub kubectl: Kubectl,
    nodes: Vec<Node>,
    client_anchor: u32,
}

/// What a running cluster is found again by; written when it is up.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    nodes: u8,
    client_anchor: u32,
}

/// The cluster of this name, made anew unless it already runs with as many nodes.
///
/// Whatever is left of an earlier run that was killed is removed first.
pub fn up(
    folders: &Folders,
    programs: &Programs,
    name: &str,
    nodes: u8,
    progress: &Progress,
) -> Result<Cluster> {
    if !(1..=NODES_MAX).contains(&nodes) {
        bail!("--nodes is {nodes}; it must be from 1 to {NODES_MAX}");
    }
    let _lock = lock(folders, name)?;
    let running = find(folders, programs, name)?;
    if let Some(cluster) = running.filter(|it| it.nodes.len() == usize::from(nodes)) {
        progress.line(&format!("cluster {name} already runs"));
        return Ok(cluster);
    }
    let cgroup = Cgroup::of_cluster(name)?;
    let folder = run_folder(folders, name);
    if folder.exists() || !cgroup.members().is_empty() {
        progress.step("remove what an earlier run left", || {
            teardown::remove(&cgroup, &folder)
        })?;
    }
    progress.step(
        &format!(
            "start Kubernetes {} with {nodes} nodes",
            crate::programs::KUBERNETES_VERSION
        ),
        || start(&cgroup, &folder, programs, name, nodes),
    )
}

/// The running cluster of this name, if its API server answers.
pub fn find(folders: &Folders, programs: &Programs, name: &str) -> Result<Option<Cluster>> {
    let folder = run_folder(folders, name);
    let Ok(record) = std::fs::read(record_file(&folder)) else {
        return Ok(None);
    };
    let Ok(record) = serde_json::from_slice::<Record>(&record) else {
        return Ok(None);
    };
    let cluster = Cluster::new(&folder, Cgroup::of_cluster(name)?, programs, &record);
    let answer = cluster
        .kubectl
        .command(["get", "--raw=/readyz"])
        .run_any()?;
    Ok(answer.status.success().then_some(cluster))
}

/// Keeps others from removing the cluster of this name until the result is dropped.
///
/// # Errors
/// When another run holds it.
pub fn hold(folders: &Folders, name: &str) -> Result<File> {
    lock_file(
        folders,
        &format!("{name}.in-use.lock"),
        &format!("another run works on the cluster {name}; try again when it has ended"),
    )
}

/// Removes the cluster of this name and all that it consists of; fine when there is none.
///
/// # Errors
/// When another run holds it, besides what can go wrong.
pub fn down(folders: &Folders, name: &str) -> Result<()> {
    let _held = hold(folders, name)?;
    let _lock = lock(folders, name)?;
    teardown::remove(&Cgroup::of_cluster(name)?, &run_folder(folders, name))
}

/// Where `kubectl` finds the cluster of this name.
#[must_use]
pub fn kubeconfig(folders: &Folders, name: &str) -> PathBuf {
    kubeconfig_in(&run_folder(folders, name))
}

impl Cluster {
    fn new(folder: &Path, cgroup: Cgroup, programs: &Programs, record: &Record) -> Cluster {
        Cluster {
            folder: folder.to_owned(),
            cgroup,
            kubectl: Kubectl::new(programs.kube("kubectl"), kubeconfig_in(folder)),
            nodes: (1..=record.nodes)
                .map(|number| Node::new(folder, number))
                .collect(),
            client_anchor: record.client_anchor,
        }
    }

    /// Gives an image to every node that does not have one of this name.
    pub fn import_image(&self, name: &str, archive: &Path) -> Result<()> {
        on_each(&self.nodes, |node| {
            if node.has_image(name)? {
                Ok(())
            } else {
                node.import_image(archive)
            }
        })
    }

    /// A program run inside the cluster's network, with the cluster's DNS, on this machine's files.
    #[must_use]
    pub fn client(&self, program: &str) -> External {
        let prefix = Inside::NetworkAndMounts(self.client_anchor).prefix();
        External::new(&prefix[0]).args(&prefix[1..]).arg(program)
    }

    /// Kills, as the kernel does it when memory runs out, the processes of a pod that run `program`.
    /// Hands back how many there were.
    pub fn kill_pod(&self, pod_uid: &str, program: &str) -> Result<usize> {
        let pids = self.processes_of_pod(pod_uid, program);
        for pid in &pids {
            kill_process(*pid, Signal::KILL).context("kill -9")?;
        }
        Ok(pids.len())
    }

    /// The processes of a pod that run `program`, by their ids on this machine.
    #[must_use]
    pub fn processes_of_pod(&self, pod_uid: &str, program: &str) -> Vec<Pid> {
        self.processes(program, "cgroup", pod_uid)
    }

    /// The process of the cluster that runs `program` with this text among its arguments.
    #[must_use]
    pub fn process(&self, program: &str, argument: &str) -> Option<Pid> {
        self.processes(program, "cmdline", argument)
            .first()
            .copied()
    }

    /// Those that run `program`, and whose file of this name in /proc holds a text.
    fn processes(&self, program: &str, file: &str, text: &str) -> Vec<Pid> {
        let is_it = |pid: &i32| {
            let read = |file: &str| {
                std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
            };
            read(file).contains(text) && read("comm").trim_end() == program
        };
        let pids = self.cgroup.members().into_iter().filter(is_it);
        pids.filter_map(Pid::from_raw).collect()
    }

    /// The folder of the volumes' folders, each called `<namespace>-<claim>-<uid>`.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        volumes_in(&self.folder)
    }

    /// The API server's log of changes: one `audit.k8s.io/v1` Event in JSON per line.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        audit_log_in(&self.folder)
    }
}

fn start(
    cgroup: &Cgroup,
    folder: &Path,
    programs: &Programs,
    name: &str,
    node_count: u8,
) -> Result<Cluster> {
    raise_inotify_limit()?;
    let launcher = Launcher::new(cgroup, folder.join("log"))?;
    let nodes: Vec<Node> = (1..=node_count)
        .map(|number| Node::new(folder, number))
        .collect();

    let control_anchor = anchor::control_plane(&launcher, &folder.join("control-plane"))?;
    let anchors = nodes
        .iter()
        .map(|node| anchor::node(&launcher, &node.name(), node.folder()))
        .collect::<Result<Vec<u32>>>()?;
    network::connect(control_anchor, &anchors)?;

    let certificates = Certificates::create(&folder.join("pki"), node_count)?;
    let control_plane = ControlPlane {
        launcher: &launcher,
        programs,
        certificates: &certificates,
        folder,
        anchor: control_anchor,
    };
    control_plane.start_etcd()?;
    let mut api_server = control_plane.start_api_server(&audit_log_in(folder))?;
    let relay = relay::start(&launcher, control_anchor)?;
    write_kubeconfigs(folder, &certificates, name, node_count, relay)?;
    let kubectl = Kubectl::new(programs.kube("kubectl"), kubeconfig_in(folder));

    // The nodes get ready for pods while the API server starts.
    let mut containerds = nodes
        .iter()
        .zip(&anchors)
        .map(|(node, &anchor)| node.start_containerd(&launcher, anchor))
        .collect::<Result<Vec<Daemon>>>()?;
    for (node, containerd) in nodes.iter().zip(&mut containerds) {
        node.await_containerd(containerd, programs)?;
    }
    control_plane.await_api_server(&mut api_server, &kubectl)?;
    control_plane.start_controllers()?;
    for (node, &anchor) in nodes.iter().zip(&anchors) {
        node.start_agents(&launcher, programs, &certificates, cgroup, anchor)?;
    }
    dns::start(&launcher, programs, folder, control_anchor)?;
    let objects: Vec<_> = dns::objects()
        .into_iter()
        .chain(volumes::objects())
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    kubectl
        .command(["create", "-f", "-"])
        .stdin(list.to_string())
        .run()?;
    volumes::start(&launcher, &kubectl, &volumes_in(folder))?;

    let client_folder = folder.join("client");
    write(client_folder.join("resolv.conf"), dns::resolv_conf())?;
    write(
        client_folder.join("nsswitch.conf"),
        "passwd: files\ngroup: files\nhosts: files dns\n",
    )?;
    let client_anchor = anchor::client(&launcher, anchors[0], &client_folder)?;

    let record = Record {
        nodes: node_count,
        client_anchor,
    };
    let cluster = Cluster::new(folder, cgroup.clone(), programs, &record);
    await_nodes(&cluster)?;
    await_dns(&cluster)?;
    write(record_file(folder), serde_json::to_vec(&record)?)?;
    Ok(cluster)
}

fn write_kubeconfigs(
    folder: &Path,
    certificates: &Certificates,
    cluster: &str,
    nodes: u8,
    relay: SocketAddr,
) -> Result<()> {
    let inside = format!("{CONTROL_PLANE}:{API_SERVER_PORT}");
    let components = ["controller-manager", "scheduler", "proxy", "coredns"].map(str::to_owned);
    for user in components.into_iter().chain((1..=nodes).map(node_name)) {
        let path = folder.join(format!("{user}.kubeconfig"));
        write_kubeconfig(&path, certificates, &user, cluster, &inside)?;
    }
    let context = format!("foz-{cluster}");
    write_kubeconfig(
        &kubeconfig_in(folder),
        certificates,
        "admin",
        &context,
        &relay.to_string(),
    )
}

fn await_nodes(cluster: &Cluster) -> Result<()> {
    let wanted = cluster.nodes.len();
    let ready = wait_until("the nodes to be Ready", NODES_READY_LIMIT, || {
        let nodes = cluster.kubectl.get_json(["nodes"])?;
        let ready = nodes["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|node| {
                let conditions = node["status"]["conditions"]
                    .as_array()
                    .into_iter()
                    .flatten();
                conditions
                    .into_iter()
                    .any(|it| it["type"] == "Ready" && it["status"] == "True")
            });
        let count = ready.count();
        Ok(if count == wanted {
            Ok(())
        } else {
            Err(format!("{count} of {wanted} Ready"))
        })
    });
    ready.with_context(|| {
        let log = cluster
            .folder
            .join("log")
            .join(format!("kubelet-{}.log", node_name(1)));
        daemon::log_tail(&log)
    })
}

/// A name that resolves from the clients' place shows DNS, Services and the place at work at once.
fn await_dns(cluster: &Cluster) -> Result<()> {
    let resolved = wait_for("the cluster's DNS to answer", DNS_LIMIT, || {
        let name = "kubernetes.default.svc.cluster.local";
        let answer = cluster.client("getent").args(["hosts", name]).run_any()?;
        let resolved = answer.status.success();
        Ok(if resolved {
            Look::Found(())
        } else {
            Look::NotYet(format!("no address for {name}"))
        })
    });
    resolved.with_context(|| daemon::log_tail(&cluster.folder.join("log/coredns.log")))
}

/// Does something on each node at the same time.
fn on_each(nodes: &[Node], work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let running: Vec<_> = nodes
            .iter()
            .map(|node| (node, scope.spawn(|| work(node))))
            .collect();
        for (node, thread) in running {
            let result = thread
                .join()
                .unwrap_or_else(|_| bail!("its thread panicked"));
            result.with_context(|| node.name())?;
        }
        Ok(())
    })
}

fn raise_inotify_limit() -> Result<()> {
    let file = "/proc/sys/fs/inotify/max_user_instances";
    let now: u32 = std::fs::read_to_string(file)?
        .trim()
        .parse()
        .context(file)?;
    if now < INOTIFY_INSTANCES_MIN {
        std::fs::write(file, INOTIFY_INSTANCES_MIN.to_string()).context(file)?;
    }
    Ok(())
}

/// Held while a cluster is made or removed, by one process at a time.
fn lock(folders: &Folders, name: &str) -> Result<File> {
    lock_file(
        folders,
        &format!("{name}.lock"),
        &format!("another run is just making or removing the cluster {name}; try again after it"),
    )
}

/// Locks a file beside the run folders. The kernel unlocks it when its process ends, however it ends.
fn lock_file(folders: &Folders, file: &str, taken: &str) -> Result<File> {
    let clusters = folders.cache.join("clusters");
    std::fs::create_dir_all(&clusters).with_context(|| format!("making {}", clusters.display()))?;
    let path = clusters.join(file);
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{taken}"),
        Err(TryLockError::Error(error)) => Err(error).context("locking the cluster"),
    }
}

fn run_folder(folders: &Folders, name: &str) -> PathBuf {
    folders.cache.join("clusters").join(name)
}

fn record_file(folder: &Path) -> PathBuf {
    folder.join("cluster.json")
}

fn kubeconfig_in(folder: &Path) -> PathBuf {
    folder.join("kubeconfig")
}

fn volumes_in(folder: &Path) -> PathBuf {
    folder.join("volumes")
}

fn audit_log_in(folder: &Path) -> PathBuf {
    folder.join("log/audit.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_is_held_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders {
            repository: folder.path().into(),
            cache: folder.path().into(),
        };
        let held = hold(&folders, "held").unwrap();
        let refused = down(&folders, "held").unwrap_err().to_string();
        assert!(
            refused.contains("another run works on the cluster held"),
            "{refused}"
        );
        drop(held);
        hold(&folders, "held").unwrap();
    }
}
