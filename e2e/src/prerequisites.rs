//! What must be there before anything starts, told early and in one plain sentence each.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::fs::statvfs;
use rustix::process::geteuid;

use crate::cluster::node::CNI_PLUGINS;
use crate::external::{External, is_on_path};
use crate::folders::Folders;
use crate::progress::Progress;

/// Kubernetes' sources and build cache take 6 GB, cargo's target folders as much, images the rest.
const FREE_DISK_MIN_GB: u64 = 15;
/// A broker takes no move into the last tenth of its disk, and here every volume is a folder of this one.
const KEPT_FREE_OF_MOVES: u64 = 10;
/// What the stories write themselves.
const STORIES_GB: u64 = 2;
/// The first Go that fetches the newer one that a module asks for.
const GO_MIN: (u32, u32) = (1, 21);
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// A program and the Debian package that brings it.
type Package = (&'static str, &'static str);

/// What a cluster and its images need.
const CLUSTER_PACKAGES: [Package; 11] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("etcd", "etcd-server"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("buildah", "buildah"),
    ("cc", "gcc"),
    ("readelf", "binutils"),
    ("nsenter", "util-linux"),
    ("getent", "libc-bin"),
];
/// What the stories need besides, and the tests that run before them.
const STORY_PACKAGES: [Package; 11] = [
    ("kcat", "kcat"),
    ("java", "default-jdk-headless"),
    ("javac", "default-jdk-headless"),
    ("mvn", "maven"),
    ("strace", "strace"),
    // The clients in other languages.
    ("python3", "python3"),
    ("pip3", "python3-pip"),
    ("node", "nodejs"),
    ("npm", "npm"),
    // librdkafka is not built without.
    ("g++", "g++"),
    ("setpriv", "util-linux"),
];

/// What a run is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A cluster with Foz on it.
    Cluster,
    /// That and the stories.
    Stories,
}

/// Checks the machine and installs the Debian packages that are missing.
///
/// # Errors
/// Names everything that is missing and cannot be installed, each with what to do.
pub fn ensure(folders: &Folders, purpose: For, progress: &Progress) -> Result<()> {
    let problems = problems(folders, purpose)?;
    if !problems.is_empty() {
        bail!("this machine is not ready:\n- {}", problems.join("\n- "));
    }
    let missing = missing_packages(purpose);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_on_path("apt-get") {
        let wanted = missing.join(", ");
        bail!("missing programs, and no apt-get to install them: packages {wanted} of Debian");
    }
    install(&missing, progress)
}

fn problems(folders: &Folders, purpose: For) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    if std::env::consts::OS != "linux" {
        problems.push("this needs Linux: the nodes are network namespaces".to_owned());
    }
    if !geteuid().is_root() {
        problems.push("not root: the nodes are namespaces and mounts; run it with sudo".to_owned());
    }
    problems.extend(go_problem());
    if !is_on_path("cargo") {
        problems.push("no cargo: install Rust from https://rustup.rs".to_owned());
    }
    if !is_on_path("make") {
        problems.push("no make: install the package make".to_owned());
    }
    std::fs::create_dir_all(&folders.cache)?;
    problems.extend(disk_problem(&folders.cache, purpose)?);
    Ok(problems)
}

fn go_problem() -> Option<String> {
    let install = "install it from https://go.dev/dl or as the package golang-go";
    if !is_on_path("go") {
        return Some(format!("no Go: {install}"));
    }
    let version = External::new("go")
        .args(["env", "GOVERSION"])
        .run()
        .ok()?
        .text();
    let (major, minor) = go_version(&version)?;
    let (major_min, minor_min) = GO_MIN;
    ((major, minor) < GO_MIN)
        .then(|| format!("Go is {version}; {major_min}.{minor_min} or newer is needed: {install}"))
}

/// The numbers of `go1.26.8`.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .strip_prefix("go")?
        .split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn disk_problem(folder: &Path, purpose: For) -> Result<Option<String>> {
    let disk = statvfs(folder)?;
    let gb = |blocks: u64| blocks * disk.f_frsize / 1_000_000_000;
    let problem = room_problem(gb(disk.f_bavail), gb(disk.f_blocks), purpose);
    Ok(problem.map(|problem| format!("{} has {problem}", folder.display())))
}

fn room_problem(free_gb: u64, disk_gb: u64, purpose: For) -> Option<String> {
    let for_moves_gb = disk_gb / KEPT_FREE_OF_MOVES + STORIES_GB;
    let (needed_gb, why) = match purpose {
        For::Stories if for_moves_gb > FREE_DISK_MIN_GB => (
            for_moves_gb,
            format!(
                ": brokers move nothing into the last tenth of a disk, and this one has {disk_gb} GB"
            ),
        ),
        _ => (FREE_DISK_MIN_GB, String::new()),
    };
    (free_gb < needed_gb).then(|| format!("{free_gb} GB free; {needed_gb} GB are needed{why}"))
}

fn missing_packages(purpose: For) -> Vec<&'static str> {
    let stories = STORY_PACKAGES.iter().filter(|_| purpose == For::Stories);
    let wanted = CLUSTER_PACKAGES.iter().chain(stories);
    let mut missing: Vec<&str> = wanted
        .filter(|(program, _)| !is_on_path(program))
        .map(|(_, package)| *package)
        .collect();
    if !Path::new(CNI_PLUGINS).join("bridge").exists() {
        missing.push("containernetworking-plugins");
    }
    missing.sort_unstable();
    missing.dedup();
    missing
}

fn install(packages: &[&str], progress: &Progress) -> Result<()> {
    let apt = |arguments: &[&str]| {
        External::new("apt-get")
            .args(["-qq", "-o", "Dpkg::Use-Pty=0"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .limit(INSTALL_LIMIT)
            .run()
            .map(drop)
    };
    progress.step(&format!("install {}", packages.join(", ")), || {
        apt(&["update"])?;
        let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
        arguments.extend(packages);
        apt(&arguments)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_read() {
        assert_eq!(go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(go_version("go1.21rc2"), Some((1, 21)));
        assert_eq!(go_version("devel"), None);
    }

    #[test]
    fn too_little_disk_is_a_problem_that_names_the_folder() {
        let problem = disk_problem(Path::new("/proc"), For::Cluster);
        assert_eq!(
            problem.unwrap().unwrap(),
            "/proc has 0 GB free; 15 GB are needed"
        );
    }

    #[test]
    fn stories_need_more_than_the_tenth_that_brokers_keep_free() {
        assert_eq!(room_problem(15, 270, For::Cluster), None);
        assert_eq!(room_problem(29, 270, For::Stories), None);
        assert_eq!(room_problem(15, 100, For::Stories), None);
        assert_eq!(
            room_problem(28, 270, For::Stories).unwrap(),
            "28 GB free; 29 GB are needed: brokers move nothing into the last tenth of a disk, and this one has 270 GB"
        );
    }
}
