//! To which cluster and node the broker's directory belongs, and whether what it holds is what this
//! node had when the quorum last heard of it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};
use foz_quorum::{KafkaUuid, MetaProperties};
use tracing::info;

/// The kernel's boot when the directory was last in use: after a crash on the same boot the page cache
/// has survived.
const BOOT_ID_KEY: &str = "foz.boot.id";
/// The file system and the directory on it: another disk, or a copy put back in its place, is another.
const MOUNT_KEY: &str = "foz.mount";
/// The broker epoch of the newest registration. An older copy of the disk has an older one.
const BROKER_EPOCH_KEY: &str = "foz.broker.epoch";

/// A directory, and what it says of the process before this one.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) properties: MetaProperties,
    /// With which epoch this directory was last registered; -1: never.
    pub(crate) disk_epoch: i64,
    /// The same boot of the kernel and the same mount: all that was written is there.
    pub(crate) page_cache_survived: bool,
}

/// Reads `meta.properties`, or makes it for a new directory.
///
/// # Errors
/// When the directory belongs to another node; it says which was found and which was expected.
pub(crate) fn claim(data_dir: &Path, node_id: i32) -> anyhow::Result<Claimed> {
    let found = MetaProperties::read(data_dir)?;
    let is_new = found.is_none();
    let properties = match found {
        Some(properties) if properties.node_id != node_id => bail!(
            "{} belongs to node {}, and this is node {node_id}: mount the volume of node {node_id}",
            data_dir.display(),
            properties.node_id
        ),
        Some(properties) => properties,
        None => {
            refuse_nonempty(data_dir)?;
            let directory_id = KafkaUuid::random();
            info!(%directory_id, "new data directory");
            MetaProperties {
                cluster_id: None,
                node_id,
                directory_id,
                other: BTreeMap::new(),
            }
        }
    };
    std::fs::create_dir_all(data_dir).with_context(|| data_dir.display().to_string())?;
    let page_cache_survived = life(data_dir)?
        .iter()
        .all(|(key, value)| properties.other.get(*key) == Some(value));
    let disk_epoch = properties
        .other
        .get(BROKER_EPOCH_KEY)
        .and_then(|text| text.parse().ok())
        .unwrap_or(-1);
    if is_new {
        properties.write(data_dir)?;
    }
    Ok(Claimed {
        properties,
        disk_epoch,
        page_cache_survived,
    })
}

/// Writes down the cluster, the broker's epoch and this life of the directory, once the quorum has taken
/// the broker in and before it counts as alive. Not sooner: a process that ends before that must not make
/// the next one believe that nothing was lost.
///
/// # Errors
/// When the directory belongs to another cluster; it names both.
pub(crate) fn join(
    data_dir: &Path,
    properties: &mut MetaProperties,
    cluster_id: &str,
    broker_epoch: i64,
) -> anyhow::Result<()> {
    if let Some(own) = properties.cluster_id.as_ref()
        && own != cluster_id
    {
        bail!(
            "{} belongs to cluster {own}, and the quorum is cluster {cluster_id}: \
             mount a volume of cluster {cluster_id}, or an empty one",
            data_dir.display()
        );
    }
    properties.cluster_id = Some(cluster_id.to_owned());
    let epoch = (BROKER_EPOCH_KEY, broker_epoch.to_string());
    let now = life(data_dir)?.into_iter().chain([epoch]);
    let now = now.map(|(key, value)| (key.to_owned(), value));
    properties.other.extend(now);
    properties.write(data_dir)?;
    Ok(())
}

/// Partitions without `meta.properties`: nobody can say whose they are.
fn refuse_nonempty(data_dir: &Path) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| data_dir.display().to_string()),
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // A fresh file system has lost+found; both roles of one process keep apart in directories.
        if name != "lost+found" {
            bail!(
                "{} has no meta.properties but holds {name}: \
                 mount a volume of this node, or an empty one",
                data_dir.display()
            );
        }
    }
    Ok(())
}

/// In which what is written stays readable, whatever becomes of the process.
fn life(data_dir: &Path) -> anyhow::Result<[(&'static str, String); 2]> {
    Ok([(BOOT_ID_KEY, boot_id()?), (MOUNT_KEY, mount(data_dir)?)])
}

fn mount(data_dir: &Path) -> anyhow::Result<String> {
    let found = std::fs::metadata(data_dir).with_context(|| data_dir.display().to_string())?;
    Ok(format!("{}:{}", found.dev(), found.ino()))
}

fn boot_id() -> anyhow::Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(PATH)
        .context(PATH)?
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_node_and_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = claim(dir.path(), 3).unwrap().properties;
        join(dir.path(), &mut first, "A", 1).unwrap();
        let mut again = claim(dir.path(), 3).unwrap().properties;
        assert_eq!(again.directory_id, first.directory_id);
        let refused = join(dir.path(), &mut again, "B", 2)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("cluster A") && refused.contains("cluster B"),
            "{refused}"
        );
        let refused = claim(dir.path(), 4).unwrap_err().to_string();
        assert!(
            refused.contains("node 3") && refused.contains("node 4"),
            "{refused}"
        );
    }

    #[test]
    fn partitions_of_nobody_are_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("lost+found")).unwrap();
        claim(dir.path(), 0).unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::create_dir(other.path().join("orders-0")).unwrap();
        let refused = claim(other.path(), 0).unwrap_err().to_string();
        assert!(refused.contains("orders-0"), "{refused}");
    }

    #[test]
    fn a_new_directory_has_no_past() {
        let dir = tempfile::tempdir().unwrap();
        let claimed = claim(dir.path(), 0).unwrap();
        assert_eq!(claimed.disk_epoch, -1);
        assert!(!claimed.page_cache_survived);
    }

    #[test]
    fn what_was_written_is_there_on_the_same_boot_and_mount_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut properties = claim(dir.path(), 0).unwrap().properties;
        join(dir.path(), &mut properties, "A", 7).unwrap();
        let again = claim(dir.path(), 0).unwrap();
        assert_eq!((again.disk_epoch, again.page_cache_survived), (7, true));

        for key in [BOOT_ID_KEY, MOUNT_KEY] {
            let mut other = again.properties.clone();
            other.other.insert(key.to_owned(), "another".to_owned());
            other.write(dir.path()).unwrap();
            let claimed = claim(dir.path(), 0).unwrap();
            assert_eq!(
                (claimed.disk_epoch, claimed.page_cache_survived),
                (7, false),
                "{key}"
            );
        }
        let copy = tempfile::tempdir().unwrap();
        let file = foz_quorum::meta_properties::FILE_NAME;
        std::fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
        assert!(!claim(copy.path(), 0).unwrap().page_cache_survived);
    }
}
