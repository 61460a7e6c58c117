//! Namespaces, each kept alive by one sleeping process, its anchor.
//!
//! A namespace without a name under /run/netns ends with its last process, and takes its mounts,
//! its interfaces and its packet filter rules along. So killing the processes is the whole clean-up.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::daemon::{Daemon, Inside, Launcher, words};
use crate::folders::NODE_OWN_FOLDERS;
use crate::wait::Look;

const READY_LIMIT: Duration = Duration::from_secs(10);

/// The control plane's: a network of its own, this machine's mounts.
pub fn control_plane(launcher: &Launcher, folder: &Path) -> Result<u32> {
    let script = r#": > "$0/ready"; exec sleep infinity"#;
    start(
        launcher,
        "anchor-control-plane",
        Inside::Host,
        &["--net"],
        script,
        folder,
    )
}

/// A node's: a network of its own, and its own /run, /var/lib and /var/log, where containerd, runc,
/// the CNI plugins and the kubelet keep their state. Each thinks that it has the machine to itself.
pub fn node(launcher: &Launcher, node: &str, folder: &Path) -> Result<u32> {
    for own in NODE_OWN_FOLDERS {
        fs::create_dir_all(folder.join(&own[1..]))?;
    }
    let mounts: String = NODE_OWN_FOLDERS
        .iter()
        .map(|own| format!("mount --bind \"$0{own}\" {own}; "))
        .collect();
    let script = format!(r#"{mounts} : > "$0/ready"; exec sleep infinity"#);
    let kinds = ["--net", "--mount", "--propagation=private"];
    start(
        launcher,
        &format!("anchor-{node}"),
        Inside::Host,
        &kinds,
        &script,
        folder,
    )
}

/// The place for programs that talk to the cluster from inside its network but are not pods: the
/// network of a node, and name resolution as a pod has it.
pub fn client(launcher: &Launcher, node_anchor: u32, folder: &Path) -> Result<u32> {
    let script = r#"
        for file in resolv.conf nsswitch.conf; do mount --bind "$0/$file" "/etc/$file"; done
        : > "$0/ready"; exec sleep infinity"#;
    let kinds = ["--mount", "--propagation=private"];
    start(
        launcher,
        "anchor-client",
        Inside::Network(node_anchor),
        &kinds,
        script,
        folder,
    )
}

fn start(
    launcher: &Launcher,
    name: &str,
    inside: Inside,
    kinds: &[&str],
    script: &str,
    folder: &Path,
) -> Result<u32> {
    fs::create_dir_all(folder)?;
    let mut command = words(["unshare"]);
    command.extend(kinds.iter().map(|&kind| kind.to_owned()));
    command.extend(words(["sh", "-ec", script, &folder.display().to_string()]));
    let mut daemon: Daemon = launcher.start(name, inside, &command)?;
    let ready = folder.join("ready");
    daemon.await_ready(READY_LIMIT, || {
        let there = ready.exists();
        Ok(if there {
            Look::Found(())
        } else {
            Look::NotYet("no file `ready`".to_owned())
        })
    })?;
    Ok(daemon.pid())
}
