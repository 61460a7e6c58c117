//! The cgroup that holds every process of a cluster.
//!
//! The kernel puts a child into its parent's cgroup, so the tree below one cgroup is the exact list
//! of what was started, whoever started it (containerd's shims, the containers' processes), and no
//! pid that the system gave to somebody else meanwhile is in it.
//!
//! Both layouts are served: the one hierarchy of cgroup v2, and the several of v1, where the kubelet
//! wants its root in each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_until;

const KILL_LIMIT: Duration = Duration::from_secs(20);
const REMOVE_LIMIT: Duration = Duration::from_secs(10);

/// Ten times the default of cgroup v1 and of v2.
const CPU_WEIGHTS: [(&str, &str); 2] = [("cpu.shares", "10240"), ("cpu.weight", "1000")];

/// One cgroup, by the same path in every hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroup {
    hierarchies: Vec<PathBuf>,
    version: Version,
    path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cgroup {
    /// The cgroup of the cluster of this name; it need not exist.
    ///
    /// # Errors
    /// When the machine mounts no cgroup hierarchy.
    pub fn of_cluster(name: &str) -> Result<Cgroup> {
        let mounts =
            fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
        let (version, hierarchies) = hierarchies(&mounts);
        if hierarchies.is_empty() {
            bail!("no cgroup hierarchy is mounted; expected one below /sys/fs/cgroup");
        }
        Ok(Cgroup {
            hierarchies,
            version,
            path: PathBuf::from(format!("foz-e2e-{name}")),
        })
    }

    /// A cgroup below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Cgroup {
        Cgroup {
            path: self.path.join(name),
            ..self.clone()
        }
    }

    /// Its path as the kubelet's `cgroupRoot` wants it.
    #[must_use]
    pub fn root_path(&self) -> String {
        format!("/{}", self.path.display())
    }

    /// The file that a process writes 0 to in order to join.
    ///
    /// One hierarchy is enough, since [`Cgroup::members`] looks through all. It is the last, which
    /// limits nothing where both versions are mounted.
    #[must_use]
    pub fn procs_file(&self) -> PathBuf {
        let last = self.folders().last().unwrap_or_default();
        last.join("cgroup.procs")
    }

    /// Makes it in every hierarchy, to hold processes.
    pub fn create_for_processes(&self) -> Result<()> {
        // v2 has processes only where no controller is handed on.
        self.create(self.path.parent().unwrap_or(Path::new("")))
    }

    /// Makes it in every hierarchy, to hold other cgroups, with every controller for them.
    pub fn create_for_cgroups(&self) -> Result<()> {
        self.create(&self.path)
    }

    /// Process ids in it and below it.
    #[must_use]
    pub fn members(&self) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for folder in self.folders() {
            each_folder_deepest_first(&folder, &mut |folder| {
                let procs = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                pids.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
            });
        }
        pids
    }

    /// Kills every process in it and below it and returns when none is left.
    pub fn kill(&self) -> Result<()> {
        wait_until("the cluster's processes to end", KILL_LIMIT, || {
            let members = self.members();
            for pid in members.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                // One that has just ended by itself is what is wanted.
                let _ = kill_process(pid, Signal::KILL);
            }
            Ok(if members.is_empty() {
                Ok(())
            } else {
                Err(format!("pids {members:?}"))
            })
        })
    }

    /// Removes it and what is below it; its processes must be gone.
    pub fn remove(&self) -> Result<()> {
        wait_until("the cluster's cgroups to go", REMOVE_LIMIT, || {
            for folder in self.folders() {
                // Busy until the kernel has let go of the last process: tried again.
                each_folder_deepest_first(&folder, &mut |folder| drop(fs::remove_dir(folder)));
            }
            let left: Vec<PathBuf> = self.folders().filter(|folder| folder.exists()).collect();
            Ok(if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            })
        })
    }

    fn create(&self, hand_on_down_to: &Path) -> Result<()> {
        for (hierarchy, folder) in self.hierarchies.iter().zip(self.folders()) {
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            match self.version {
                Version::One => inherit_cpuset(hierarchy, &self.path)?,
                Version::Two => enable_controllers(hierarchy, hand_on_down_to)?,
            }
            raise_cpu_weight(hierarchy, &self.path)?;
        }
        Ok(())
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.hierarchies
            .iter()
            .map(|hierarchy| hierarchy.join(&self.path))
    }
}

/// The hierarchies to use. With both versions mounted (systemd's "hybrid") v1 has the controllers, and
/// runc makes its cgroups in both.
fn hierarchies(mounts: &str) -> (Version, Vec<PathBuf>) {
    let of_type = |wanted: &str| -> Vec<PathBuf> {
        let fields = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let matching = fields.filter(|fields| fields.get(2) == Some(&wanted));
        matching
            .filter_map(|fields| fields.get(1).map(PathBuf::from))
            .collect()
    };
    let (mut one, two) = (of_type("cgroup"), of_type("cgroup2"));
    if one.is_empty() {
        return (Version::Two, two);
    }
    one.extend(two);
    (Version::One, one)
}

/// A new cpuset of v1 is empty, and no process may enter it until it names CPUs and memory.
fn inherit_cpuset(hierarchy: &Path, path: &Path) -> Result<()> {
    let mut above = hierarchy.to_owned();
    for name in path {
        let folder = above.join(name);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (above.join(file), folder.join(file));
            if from.exists() && fs::read_to_string(&to)?.trim().is_empty() {
                fs::write(&to, fs::read_to_string(&from)?)
                    .with_context(|| format!("writing {}", to.display()))?;
            }
        }
        above = folder;
    }
    Ok(())
}

/// In v2 each level hands its controllers on by name.
fn enable_controllers(hierarchy: &Path, path: &Path) -> Result<()> {
    let mut folder = hierarchy.to_owned();
    for name in std::iter::once(Path::new("")).chain(path.iter().map(Path::new)) {
        folder.push(name);
        let available = fs::read_to_string(folder.join("cgroup.controllers"))?;
        let all: Vec<String> = available
            .split_whitespace()
            .map(|name| format!("+{name}"))
            .collect();
        fs::write(folder.join("cgroup.subtree_control"), all.join(" "))
            .with_context(|| format!("enabling the controllers of {}", folder.display()))?;
    }
    Ok(())
}

/// Unless told otherwise, all pods of all nodes together weigh as much as one process outside.
fn raise_cpu_weight(hierarchy: &Path, path: &Path) -> Result<()> {
    let top: PathBuf = path.iter().take(1).collect();
    for (file, weight) in CPU_WEIGHTS {
        let file = hierarchy.join(&top).join(file);
        if file.exists() {
            fs::write(&file, weight).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    Ok(())
}

fn each_folder_deepest_first(folder: &Path, act: &mut dyn FnMut(&Path)) {
    // A cgroup that goes away under the walk has no processes to tell of.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        each_folder_deepest_first(&entry.path(), act);
    }
    act(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_both_are_mounted_it_is_v1_and_v2_has_a_copy() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let (version, folders) = hierarchies(mounts);
        assert_eq!(version, Version::One);
        let expected = ["cpu", "systemd", "unified"].map(|it| Path::new("/sys/fs/cgroup").join(it));
        assert_eq!(folders, expected);
    }

    #[test]
    fn v2_alone_is_one_hierarchy() {
        let (version, folders) = hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
        assert_eq!(
            (version, folders),
            (Version::Two, vec![PathBuf::from("/sys/fs/cgroup")])
        );
    }

    #[test]
    fn v2_hands_controllers_down_every_level() {
        let root = tempfile::tempdir().unwrap();
        let path = Path::new("a/b");
        for folder in ["", "a", "a/b"] {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cgroup.controllers"), "cpu memory\n").unwrap();
        }
        enable_controllers(root.path(), path).unwrap();
        for folder in ["", "a", "a/b"] {
            let written =
                fs::read_to_string(root.path().join(folder).join("cgroup.subtree_control"));
            assert_eq!(written.unwrap(), "+cpu +memory");
        }
    }

    #[test]
    fn v1_copies_the_cpuset_down_every_level() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        for folder in ["a", "a/b"] {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(root.path().join(folder).join(file), "\n").unwrap();
            }
        }
        fs::write(root.path().join("cpuset.cpus"), "0-1\n").unwrap();
        fs::write(root.path().join("cpuset.mems"), "0\n").unwrap();
        inherit_cpuset(root.path(), Path::new("a/b")).unwrap();
        assert_eq!(
            fs::read_to_string(root.path().join("a/b/cpuset.cpus")).unwrap(),
            "0-1\n"
        );
        assert_eq!(
            fs::read_to_string(root.path().join("a/b/cpuset.mems")).unwrap(),
            "0\n"
        );
    }
}
