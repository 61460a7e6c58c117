//! Removing a cluster, whole or half-made.

use std::path::Path;

use anyhow::Result;

use super::cgroup::Cgroup;
use crate::build_cache::remove_folder;

/// Removes everything of the cluster: processes, and with them namespaces, mounts and interfaces;
/// cgroups; files. Does nothing when there is nothing.
pub fn remove(cgroup: &Cgroup, folder: &Path) -> Result<()> {
    cgroup.kill()?;
    cgroup.remove()?;
    remove_folder(folder)
}
