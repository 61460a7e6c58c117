//! To which cluster and node the broker's directory belongs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use foz_quorum::{KafkaUuid, MetaProperties};
use tracing::info;

/// The kernel's boot when the directory was last in use: after a crash on the same boot the page cache
/// has survived.
const BOOT_ID_KEY: &str = "foz.boot.id";

/// Reads `meta.properties`, or makes it for a new directory.
///
/// # Errors
/// When the directory belongs to another node; it says which was found and which was expected.
pub(crate) fn claim(data_dir: &Path, node_id: i32) -> anyhow::Result<MetaProperties> {
    let found = MetaProperties::read(data_dir)?;
    let mut properties = match found {
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
    properties.other.insert(BOOT_ID_KEY.to_owned(), boot_id()?);
    properties.write(data_dir)?;
    Ok(properties)
}

/// Writes down the cluster, once the quorum has taken the broker in.
///
/// # Errors
/// When the directory belongs to another cluster; it names both.
pub(crate) fn join(
    data_dir: &Path,
    properties: &mut MetaProperties,
    cluster_id: &str,
) -> anyhow::Result<()> {
    match &properties.cluster_id {
        Some(own) if own == cluster_id => Ok(()),
        Some(own) => bail!(
            "{} belongs to cluster {own}, and the quorum is cluster {cluster_id}: \
             mount a volume of cluster {cluster_id}, or an empty one",
            data_dir.display()
        ),
        None => {
            properties.cluster_id = Some(cluster_id.to_owned());
            properties.write(data_dir)?;
            Ok(())
        }
    }
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
        let mut first = claim(dir.path(), 3).unwrap();
        join(dir.path(), &mut first, "A").unwrap();
        let mut again = claim(dir.path(), 3).unwrap();
        assert_eq!(again.directory_id, first.directory_id);
        let refused = join(dir.path(), &mut again, "B").unwrap_err().to_string();
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
}
