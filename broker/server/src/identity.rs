//! To which cluster and node the broker's directory belongs, and whether what it holds is what this
//! node had when the quorum last heard of it.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use foz_quorum::{KafkaUuid, MetaProperties, MetaPropertiesError};
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::spare_file;

/// The kernel's boot when the directory was last in use: after a crash on the same boot the page cache
/// has survived.
const BOOT_ID_KEY: &str = "foz.boot.id";
/// The file system and the directory on it: another disk, or a copy put back in its place, is another.
const MOUNT_KEY: &str = "foz.mount";
/// The broker epoch of the newest registration. An older copy of the disk has an older one.
const BROKER_EPOCH_KEY: &str = "foz.broker.epoch";

/// A directory, and what it says of the process before this one.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    pub(crate) identity: Arc<Identity>,
    /// With which epoch this directory was last registered; -1: never.
    pub(crate) disk_epoch: i64,
    /// The same boot of the kernel and the same mount: all that was written is there.
    pub(crate) page_cache_survived: bool,
}

/// The `meta.properties` of the directory that this process lives in.
#[derive(Debug)]
pub(crate) struct Identity {
    data_dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    properties: MetaProperties,
    /// What the page cache holds may be more than the disk ever gets.
    is_distrusted: bool,
}

/// Reads `meta.properties` of every directory, or makes it for new ones, in the order in which they are named.
///
/// # Errors
/// When one belongs to another node or cluster than the others, or is one of them under another name, or within one;
/// it says what was found and what was expected. Then nothing was changed. When one cannot be written.
pub(crate) fn claim_all(data_dirs: &[PathBuf], node_id: i32) -> anyhow::Result<Vec<Claimed>> {
    for data_dir in data_dirs {
        std::fs::create_dir_all(data_dir).with_context(|| data_dir.display().to_string())?;
    }
    refuse_same(data_dirs)?;
    let found = data_dirs.iter().map(|data_dir| find(data_dir, node_id));
    let found: Vec<_> = found.collect::<anyhow::Result<_>>()?;
    refuse_strangers(&found)?;
    let claimed = found.into_iter().map(|found| found.claim(node_id));
    claimed.collect()
}

/// As [`claim_all`], of one.
#[cfg(test)]
pub(crate) fn claim(data_dir: &Path, node_id: i32) -> anyhow::Result<Claimed> {
    let mut claimed = claim_all(&[data_dir.to_owned()], node_id)?;
    Ok(claimed.remove(0))
}

/// What there is of a directory's identity.
struct Found<'a> {
    data_dir: &'a Path,
    /// `None`: it is new.
    properties: Option<MetaProperties>,
}

fn find(data_dir: &Path, node_id: i32) -> anyhow::Result<Found<'_>> {
    let properties = MetaProperties::read(data_dir)?;
    match &properties {
        Some(properties) if properties.node_id != node_id => bail!(
            "{} belongs to node {}, and this is node {node_id}: mount the volume of node {node_id}",
            data_dir.display(),
            properties.node_id
        ),
        Some(_) => {}
        None => refuse_nonempty(data_dir)?,
    }
    Ok(Found {
        data_dir,
        properties,
    })
}

impl Found<'_> {
    fn claim(self, node_id: i32) -> anyhow::Result<Claimed> {
        let data_dir = self.data_dir;
        let properties = self.properties.unwrap_or_else(|| {
            let properties = MetaProperties::mint(node_id);
            info!(directory_id = %properties.directory_id, path = %data_dir.display(), "new data directory");
            properties
        });
        let page_cache_survived = life(data_dir)?
            .iter()
            .all(|(key, value)| properties.other.get(*key) == Some(value));
        let disk_epoch = broker_epoch(&properties);
        // Also where nothing is new: a disk that took no flush and took not even the word of that
        // (`distrust`) must not be believed now.
        write(data_dir, &properties)?;
        let identity = Identity {
            data_dir: data_dir.to_owned(),
            state: Mutex::new(State {
                properties,
                is_distrusted: false,
            }),
        };
        Ok(Claimed {
            identity: Arc::new(identity),
            disk_epoch,
            page_cache_survived,
        })
    }
}

impl Identity {
    /// Where it is.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) fn cluster_id(&self) -> Option<String> {
        self.state.lock().properties.cluster_id.clone()
    }

    pub(crate) fn directory_id(&self) -> KafkaUuid {
        self.state.lock().properties.directory_id
    }

    /// Since [`Self::distrust`] was asked for.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.state.lock().is_distrusted
    }

    /// Writes down the cluster, the broker's epoch and this life of the directory, once the quorum has taken
    /// the broker in and before it counts as alive. Not sooner: a process that ends before that must not make
    /// the next one believe that nothing was lost.
    ///
    /// # Errors
    /// When the directory belongs to another cluster; it names both. When it cannot be written.
    pub(crate) fn join(&self, cluster_id: &str, broker_epoch: i64) -> anyhow::Result<()> {
        let mut state = self.state.lock();
        let State {
            properties,
            is_distrusted,
        } = &mut *state;
        if let Some(own) = properties.cluster_id.as_ref()
            && own != cluster_id
        {
            bail!(
                "{} belongs to cluster {own}, and the quorum is cluster {cluster_id}: \
                 mount a volume of cluster {cluster_id}, or an empty one",
                self.data_dir.display()
            );
        }
        let mut joined = properties.clone();
        joined.cluster_id = Some(cluster_id.to_owned());
        let epoch = (BROKER_EPOCH_KEY.to_owned(), broker_epoch.to_string());
        joined.other.extend([epoch]);
        if !*is_distrusted {
            let life = life(&self.data_dir)?.into_iter();
            let life = life.map(|(key, value)| (key.to_owned(), value));
            joined.other.extend(life);
        }
        write(&self.data_dir, &joined)?;
        // What it names is what is on the disk.
        *properties = joined;
        Ok(())
    }

    /// The epoch that it names: of the newest registration that it was part of; -1: of none.
    pub(crate) fn broker_epoch(&self) -> i64 {
        broker_epoch(&self.state.lock().properties)
    }

    /// Ends this life of the directory: the next process does not believe that all is there that was
    /// written. The next [`join`](Self::join) begins another.
    ///
    /// It takes no room where there is none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn end_life(&self) -> anyhow::Result<()> {
        let mut state = self.state.lock();
        state.properties.other.remove(BOOT_ID_KEY);
        match write(&self.data_dir, &state.properties) {
            Err(error) if error.is_shortage() => strike_out_boot_id(&self.data_dir),
            written => Ok(written?),
        }
    }

    /// A flush failed. The kernel may have dropped what it could not write and go on to show it to readers, as
    /// if it were on the disk, for as long as it likes: the page cache is not believed any more, neither by
    /// this process nor by the next one. May be asked for again.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub(crate) fn distrust(&self) -> anyhow::Result<()> {
        self.state.lock().is_distrusted = true;
        self.end_life()
    }
}

/// The spare file is there for this.
fn write(data_dir: &Path, properties: &MetaProperties) -> Result<(), MetaPropertiesError> {
    match properties.write(data_dir) {
        Err(error) if error.is_shortage() && spare_file::release(data_dir) => {
            let directory = data_dir.display();
            warn!(%directory, "the disk is full; the spare file is gone, what it took is for meta.properties");
            properties.write(data_dir)
        }
        written => written,
    }
}

fn broker_epoch(properties: &MetaProperties) -> i64 {
    let epoch = properties.other.get(BROKER_EPOCH_KEY);
    epoch.and_then(|text| text.parse().ok()).unwrap_or(-1)
}

/// Nothing but room for a new file was missing: it is to be tried again.
pub(crate) fn is_shortage(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<MetaPropertiesError>();
    error.is_some_and(MetaPropertiesError::is_shortage)
}

/// Writes over what the file says, in place: a new file finds no room. However much of it is done when the power fails,
/// no kernel has such an id.
fn strike_out_boot_id(data_dir: &Path) -> anyhow::Result<()> {
    let path = data_dir.join(foz_quorum::meta_properties::FILE_NAME);
    let context = || format!("cannot write over {BOOT_ID_KEY} in {}", path.display());
    let text = std::fs::read_to_string(&path).with_context(context)?;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if let Some((key, value)) = line.trim_end().split_once('=')
            && key == BOOT_ID_KEY
        {
            let at = (at + key.len() + 1) as u64;
            let file = File::options().write(true).open(&path);
            let file = file.with_context(context)?;
            let nobody = vec![b'-'; value.len()];
            file.write_all_at(&nobody, at).with_context(context)?;
            return file.sync_all().with_context(context);
        }
        at += line.len();
    }
    anyhow::ensure!(!text.contains(BOOT_ID_KEY), context());
    Ok(())
}

/// One directory under two names would be opened twice, and one within another is a stranger to it.
fn refuse_same(data_dirs: &[PathBuf]) -> anyhow::Result<()> {
    let mut known: Vec<(&PathBuf, PathBuf, String)> = Vec::new();
    for data_dir in data_dirs {
        let real = data_dir.canonicalize();
        let real = real.with_context(|| data_dir.display().to_string())?;
        let mount = mount(data_dir)?;
        for (other, other_real, other_mount) in &known {
            let (one, other) = (data_dir.display(), other.display());
            if mount == *other_mount {
                bail!("{one} and {other} of log.dirs are the same directory: name it once");
            }
            if real.starts_with(other_real) || other_real.starts_with(&real) {
                bail!(
                    "of {one} and {other} of log.dirs one is within the other: none can be, make them neighbours"
                );
            }
        }
        known.push((data_dir, real, mount));
    }
    Ok(())
}

/// A copy of another one, or the volume of another cluster.
fn refuse_strangers(found: &[Found<'_>]) -> anyhow::Result<()> {
    let mut known: Vec<(&Path, &MetaProperties)> = Vec::new();
    for one in found {
        let Some(properties) = &one.properties else {
            continue;
        };
        for (other_dir, other) in &known {
            let (one, other_dir) = (one.data_dir.display(), other_dir.display());
            if properties.directory_id == other.directory_id {
                bail!(
                    "{one} and {other_dir} are copies of one directory, directory.id {}: leave the older one out of log.dirs",
                    other.directory_id
                );
            }
            if let (Some(cluster), Some(other_cluster)) =
                (&properties.cluster_id, &other.cluster_id)
                && cluster != other_cluster
            {
                bail!(
                    "{one} belongs to cluster {cluster}, and {other_dir} to cluster {other_cluster}: mount volumes of one cluster, or empty ones"
                );
            }
        }
        known.push((one.data_dir, properties));
    }
    Ok(())
}

/// Partitions without `meta.properties`: nobody can say whose they are.
fn refuse_nonempty(data_dir: &Path) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(data_dir);
    let entries = entries.with_context(|| data_dir.display().to_string())?;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // A fresh file system has lost+found, and a claim that a crash interrupted leaves its file; both roles of one process
        // keep apart in directories.
        let unfinished = format!("{}.tmp", foz_quorum::meta_properties::FILE_NAME);
        if name != "lost+found" && name != unfinished {
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

    /// By the next process.
    fn found(data_dir: &Path) -> (i64, bool) {
        let claimed = claim(data_dir, 0).unwrap();
        (claimed.disk_epoch, claimed.page_cache_survived)
    }

    #[test]
    fn a_directory_keeps_its_node_and_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let first = claim(dir.path(), 3).unwrap().identity;
        assert_eq!(first.cluster_id(), None);
        first.join("A", 1).unwrap();
        let again = claim(dir.path(), 3).unwrap().identity;
        assert_eq!(again.directory_id(), first.directory_id());
        assert_eq!(again.cluster_id().as_deref(), Some("A"));
        let refused = again.join("B", 2).unwrap_err().to_string();
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
        // A crash during the first claim.
        std::fs::write(dir.path().join("meta.properties.tmp"), "node.").unwrap();
        claim(dir.path(), 0).unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::create_dir(other.path().join("orders-0")).unwrap();
        let refused = claim(other.path(), 0).unwrap_err().to_string();
        assert!(refused.contains("orders-0"), "{refused}");
    }

    /// The files below it, `meta.properties` with what it says.
    fn contents(data_dir: &Path) -> Vec<(PathBuf, String)> {
        let entries = std::fs::read_dir(data_dir).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            (path, text)
        };
        paths.into_iter().map(read).collect()
    }

    #[test]
    fn directories_that_do_not_belong_together_are_refused_and_left_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let [known, copy, stranger, fresh, linked] =
            ["known", "copy", "stranger", "fresh", "linked"].map(|name| dir.path().join(name));
        claim(&known, 0).unwrap().identity.join("A", 7).unwrap();
        claim(&stranger, 0).unwrap().identity.join("B", 9).unwrap();
        std::fs::create_dir(&copy).unwrap();
        let file = foz_quorum::meta_properties::FILE_NAME;
        std::fs::copy(known.join(file), copy.join(file)).unwrap();
        std::os::unix::fs::symlink(dir.path().join("fresh"), &linked).unwrap();
        let within = known.join("within");
        let other_node = dir.path().join("other-node");
        claim(&other_node, 1).unwrap();
        let used = dir.path().join("used");
        std::fs::create_dir_all(used.join("orders-0")).unwrap();
        for (data_dirs, expected) in [
            ([&fresh, &known, &copy], "directory.id"),
            ([&fresh, &known, &stranger], "cluster A"),
            ([&fresh, &known, &stranger], "cluster B"),
            ([&fresh, &known, &linked], "the same directory"),
            ([&fresh, &known, &within], "one is within the other"),
            ([&fresh, &within, &known], "one is within the other"),
            ([&fresh, &known, &other_node], "node 1"),
            ([&fresh, &known, &used], "orders-0"),
        ] {
            let before = contents(&known);
            let refused = claim_all(&data_dirs.map(Clone::clone), 0).unwrap_err();
            let refused = format!("{refused:#}");
            assert!(refused.contains(expected), "{refused}");
            assert_eq!(contents(&fresh), [], "{refused}");
            let _ = std::fs::remove_dir(&within);
            let after = contents(&known);
            let is_within = |(path, _): &&(PathBuf, String)| *path != within;
            let before: Vec<_> = before.iter().filter(is_within).collect();
            assert_eq!(after.iter().collect::<Vec<_>>(), before, "{refused}");
        }
    }

    #[test]
    fn a_new_directory_comes_beside_one_that_has_a_past() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        claim(&old, 0).unwrap().identity.join("A", 7).unwrap();
        let claimed = claim_all(&[new.clone(), old.clone()], 0).unwrap();
        let past = claimed
            .iter()
            .map(|it| (it.disk_epoch, it.page_cache_survived));
        assert_eq!(past.collect::<Vec<_>>(), [(-1, false), (7, true)]);
        assert_eq!(claimed[0].identity.data_dir(), new);
        assert_ne!(
            claimed[0].identity.directory_id(),
            claimed[1].identity.directory_id()
        );
        for claimed in &claimed {
            claimed.identity.join("A", 8).unwrap();
        }
        let claimed = claim_all(&[old, new], 0).unwrap();
        assert!(
            claimed
                .iter()
                .all(|it| it.disk_epoch == 8 && it.page_cache_survived)
        );
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
        let identity = claim(dir.path(), 0).unwrap().identity;
        identity.join("A", 7).unwrap();
        assert_eq!(found(dir.path()), (7, true));

        let written = MetaProperties::read(dir.path()).unwrap().unwrap();
        for key in [BOOT_ID_KEY, MOUNT_KEY] {
            let mut other = written.clone();
            other.other.insert(key.to_owned(), "another".to_owned());
            other.write(dir.path()).unwrap();
            assert_eq!(found(dir.path()), (7, false), "{key}");
        }
        written.write(dir.path()).unwrap();
        let copy = tempfile::tempdir().unwrap();
        let file = foz_quorum::meta_properties::FILE_NAME;
        std::fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
        assert!(!claim(copy.path(), 0).unwrap().page_cache_survived);
    }

    #[test]
    fn after_a_failed_flush_nobody_believes_the_page_cache() {
        let dir = tempfile::tempdir().unwrap();
        let identity = claim(dir.path(), 0).unwrap().identity;
        identity.join("A", 7).unwrap();
        identity.distrust().unwrap();
        assert_eq!(found(dir.path()), (7, false));
        // Registered again before it stops.
        identity.join("A", 8).unwrap();
        assert_eq!(found(dir.path()), (8, false));
        let next = claim(dir.path(), 0).unwrap().identity;
        next.join("A", 9).unwrap();
        assert_eq!(found(dir.path()), (9, true), "a new life");
    }

    #[test]
    fn data_that_is_fetched_again_is_believed_again() {
        let dir = tempfile::tempdir().unwrap();
        let identity = claim(dir.path(), 0).unwrap().identity;
        identity.join("A", 7).unwrap();
        identity.end_life().unwrap();
        assert_eq!(found(dir.path()), (7, false));
        identity.join("A", 8).unwrap();
        assert_eq!(found(dir.path()), (8, true));
    }

    #[test]
    fn a_life_is_ended_where_there_is_no_room_to_say_so() {
        for has_spare in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let identity = claim(dir.path(), 0).unwrap().identity;
            identity.join("A", 7).unwrap();
            if has_spare {
                spare_file::make(dir.path(), 8_000).unwrap();
            }
            full_once(dir.path());
            identity.distrust().unwrap();
            assert!(!spare_file::release(dir.path()), "it was given for that");
            let left = MetaProperties::read(dir.path()).unwrap().unwrap();
            let boot = left.other.get(BOOT_ID_KEY).map(|id| id.replace('-', ""));
            let expected = (!has_spare).then(String::new);
            assert_eq!(boot, expected, "struck out, or written anew");
            assert_eq!(found(dir.path()), (7, false));
        }
    }

    #[test]
    fn a_directory_joins_where_there_is_no_room_but_what_is_spared() {
        let dir = tempfile::tempdir().unwrap();
        let identity = claim(dir.path(), 0).unwrap().identity;
        identity.join("A", 7).unwrap();
        full_once(dir.path());
        assert!(is_shortage(&identity.join("A", 8).unwrap_err()));
        assert_eq!(identity.broker_epoch(), 7);
        assert_eq!(found(dir.path()), (7, true));
        spare_file::make(dir.path(), 8_000).unwrap();
        full_once(dir.path());
        identity.join("A", 8).unwrap();
        assert!(!spare_file::release(dir.path()), "it was given for that");
        assert_eq!((found(dir.path()), identity.broker_epoch()), ((8, true), 8));
    }

    /// The next file that is put beside `meta.properties` is one that takes nothing.
    fn full_once(data_dir: &Path) {
        let temporary = format!("{}.tmp", foz_quorum::meta_properties::FILE_NAME);
        std::os::unix::fs::symlink("/dev/full", data_dir.join(temporary)).unwrap();
    }

    /// It may have refused that a flush failed.
    #[test]
    fn a_disk_that_takes_nothing_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        claim(dir.path(), 0).unwrap().identity.join("A", 7).unwrap();
        // No file can be put beside it.
        let temporary = format!("{}.tmp", foz_quorum::meta_properties::FILE_NAME);
        std::fs::create_dir(dir.path().join(temporary)).unwrap();
        assert!(claim(dir.path(), 0).is_err());
    }
}
