//! To which cluster and node the broker's directory belongs, and whether what it holds is what this
//! node had when the quorum last heard of it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use foz_log::{OpenError, says_disk_failed};
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

/// By `directory.id`, separated by commas: directories of this node whose disks failed. What they say of themselves is not
/// to be believed: their disks may not have taken it.
const DOUBTED_KEY: &str = "foz.doubted.directories";

/// Of a directory whose path leads elsewhere than when it was claimed.
pub(crate) const IS_TAKEN_AWAY: &str = "another directory is where it was: its disk was taken away";

/// All of `log.dirs`.
#[derive(Debug)]
pub(crate) struct Claims {
    /// In their order.
    pub(crate) usable: Vec<Claimed>,
    pub(crate) offline: Vec<OfflineDirectory>,
}

/// One of `log.dirs` that cannot be read or written. The broker goes on without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfflineDirectory {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

/// A directory, and what it says of the process before this one.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    pub(crate) identity: Arc<Identity>,
    /// With which epoch this directory was last registered; -1: never.
    pub(crate) disk_epoch: i64,
    /// The same boot of the kernel and the same mount: all that was written is there.
    pub(crate) page_cache_survived: bool,
    /// It failed, and no registration has said so since: not even the mark of a clean stop counts.
    pub(crate) is_doubted: bool,
}

/// The `meta.properties` of the directory that this process lives in.
#[derive(Debug)]
pub(crate) struct Identity {
    data_dir: PathBuf,
    id: KafkaUuid,
    /// When it was claimed.
    mount: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    properties: MetaProperties,
    /// What the page cache holds may be more than the disk ever gets.
    is_distrusted: bool,
    /// Doubted directories of which the next registration says it.
    answered: BTreeSet<String>,
}

/// Reads `meta.properties` of every directory, or makes it for new ones, in the order in which they are named. One that
/// cannot be read or written is offline.
///
/// # Errors
/// When one belongs to another node or cluster than the others, or is one of them under another name, or within one;
/// it says what was found and what was expected. Then nothing was changed. When none can be used.
pub(crate) fn claim_all(data_dirs: &[PathBuf], node_id: i32) -> anyhow::Result<Claims> {
    let mut offline = Offline::default();
    let mut made = Vec::new();
    let mut places = Vec::new();
    for data_dir in data_dirs {
        let is_there = data_dir.exists();
        if let Some(place) = offline.unless(data_dir, Place::of(data_dir))? {
            places.push(place);
            made.extend((!is_there).then_some(data_dir));
        }
    }
    refuse_same(&places)?;
    let mut found = Vec::new();
    for place in &places {
        found.extend(offline.unless(place.data_dir, find(place, node_id))?);
    }
    refuse_strangers(&found)?;
    if found.iter().any(|it| it.disk_epoch() >= 0) {
        for data_dir in made {
            let directory = data_dir.display();
            warn!(%directory, "a data directory was not there, and was made: if a disk is to be mounted there, its replicas are lost");
        }
    }
    let doubted: BTreeSet<_> = found.iter().flat_map(Found::doubted).collect();
    let mut usable = Vec::new();
    for found in found {
        let data_dir = found.place.data_dir;
        usable.extend(offline.unless(data_dir, found.claim(node_id, &doubted))?);
    }
    // Those that are away are as doubtful when they come back.
    let here = usable.iter().map(|it| it.identity.id.to_string());
    let answered: BTreeSet<_> = here.filter(|id| doubted.contains(id)).collect();
    for claimed in &usable {
        claimed.identity.state.lock().answered = answered.clone();
    }
    let offline = offline.directories;
    if usable.is_empty() {
        let reasons = offline.iter().map(OfflineDirectory::to_string);
        let reasons: Vec<_> = reasons.collect();
        bail!("no data directory can be used: {}", reasons.join("; "));
    }
    Ok(Claims { usable, offline })
}

/// As [`claim_all`], of one.
#[cfg(test)]
pub(crate) fn claim(data_dir: &Path, node_id: i32) -> anyhow::Result<Claimed> {
    let mut claims = claim_all(&[data_dir.to_owned()], node_id)?;
    Ok(claims.usable.remove(0))
}

impl fmt::Display for OfflineDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// Which cannot be used.
#[derive(Default)]
struct Offline {
    directories: Vec<OfflineDirectory>,
}

impl Offline {
    /// `None`: the disk said no, and this directory is one of them.
    fn unless<T>(
        &mut self,
        data_dir: &Path,
        result: anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        match result {
            Err(error) if is_of_disk(&error) || is_denied(&error) => {
                self.directories.push(OfflineDirectory {
                    path: data_dir.to_owned(),
                    reason: format!("{error:#}"),
                });
                Ok(None)
            }
            result => result.map(Some),
        }
    }
}

/// See [`foz_log::StorageError::is_of_disk`].
pub(crate) fn is_of_disk(error: &anyhow::Error) -> bool {
    let of_log = error.downcast_ref::<OpenError>();
    of_log.is_some_and(OpenError::is_of_disk) || io_errors(error).any(says_disk_failed)
}

/// A mistake, or how a file system answers that has stopped: others are used meanwhile.
fn is_denied(error: &anyhow::Error) -> bool {
    io_errors(error).any(|it| it.kind() == io::ErrorKind::PermissionDenied)
}

fn io_errors(error: &anyhow::Error) -> impl Iterator<Item = &io::Error> {
    error.chain().filter_map(|it| it.downcast_ref())
}

/// Where a directory is.
struct Place<'a> {
    data_dir: &'a Path,
    real: PathBuf,
    mount: String,
}

impl<'a> Place<'a> {
    /// Makes it where it is not there.
    fn of(data_dir: &'a Path) -> anyhow::Result<Self> {
        let context = || data_dir.display().to_string();
        std::fs::create_dir_all(data_dir).with_context(context)?;
        Ok(Self {
            data_dir,
            real: data_dir.canonicalize().with_context(context)?,
            mount: mount(data_dir)?,
        })
    }
}

/// What there is of a directory's identity.
struct Found<'a> {
    place: &'a Place<'a>,
    /// `None`: it is new.
    properties: Option<MetaProperties>,
}

fn find<'a>(place: &'a Place<'a>, node_id: i32) -> anyhow::Result<Found<'a>> {
    let data_dir = place.data_dir;
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
    Ok(Found { place, properties })
}

impl Found<'_> {
    fn disk_epoch(&self) -> i64 {
        self.properties.as_ref().map_or(-1, broker_epoch)
    }

    fn doubted(&self) -> BTreeSet<String> {
        self.properties.as_ref().map(doubted).unwrap_or_default()
    }

    /// `all_doubted` are the directories that are not to be believed.
    fn claim(self, node_id: i32, all_doubted: &BTreeSet<String>) -> anyhow::Result<Claimed> {
        let data_dir = self.place.data_dir;
        let mut properties = self.properties.unwrap_or_else(|| {
            let properties = MetaProperties::mint(node_id);
            info!(directory_id = %properties.directory_id, path = %data_dir.display(), "new data directory");
            properties
        });
        let id = properties.directory_id.to_string();
        let is_doubted = all_doubted.contains(&id);
        if is_doubted {
            // From here on it says so itself: what another one says of it goes with that one's next registration.
            let mut ids = doubted(&properties);
            ids.insert(id);
            set_doubted(&mut properties, &ids);
            properties.other.remove(BOOT_ID_KEY);
        }
        let page_cache_survived = life(data_dir)?
            .iter()
            .all(|(key, value)| properties.other.get(*key) == Some(value));
        let disk_epoch = broker_epoch(&properties);
        // Also where nothing is new: a disk that took no flush and took not even the word of that
        // (`distrust`) must not be believed now.
        write(data_dir, &properties)?;
        let identity = Identity {
            data_dir: data_dir.to_owned(),
            id: properties.directory_id,
            mount: self.place.mount.clone(),
            state: Mutex::new(State {
                properties,
                is_distrusted: false,
                answered: BTreeSet::new(),
            }),
        };
        Ok(Claimed {
            identity: Arc::new(identity),
            disk_epoch,
            page_cache_survived,
            is_doubted,
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
        self.id
    }

    /// Since [`Self::distrust`] was asked for, which this waits for.
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
            answered,
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
        // The registration said it.
        let ids = doubted(&joined);
        let ids = ids.difference(answered).cloned().collect();
        set_doubted(&mut joined, &ids);
        if !*is_distrusted {
            let life = life(&self.data_dir)?.into_iter();
            let life = life.map(|(key, value)| (key.to_owned(), value));
            joined.other.extend(life);
        }
        self.write(&joined)?;
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
        self.end_life_of(&mut self.state.lock().properties)
    }

    fn end_life_of(&self, properties: &mut MetaProperties) -> anyhow::Result<()> {
        properties.other.remove(BOOT_ID_KEY);
        match self.write(properties) {
            Err(error) if is_shortage(&error) => strike_out_boot_id(&self.data_dir),
            written => written,
        }
    }

    /// Not below where its disk was: what is there would be taken for this directory, without a log.
    fn write(&self, properties: &MetaProperties) -> anyhow::Result<()> {
        ensure!(
            self.is_in_place()?,
            "{}: {IS_TAKEN_AWAY}",
            self.data_dir.display()
        );
        Ok(write(&self.data_dir, properties)?)
    }

    /// A flush failed. The kernel may have dropped what it could not write and go on to show it to readers, as
    /// if it were on the disk, for as long as it likes: the page cache is not believed any more, neither by
    /// this process nor by the next one. May be asked for again.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub(crate) fn distrust(&self) -> anyhow::Result<()> {
        let mut state = self.state.lock();
        state.is_distrusted = true;
        self.end_life_of(&mut state.properties)
    }

    /// Writes down that another directory has failed: the next process does not believe what that one says of itself,
    /// until a registration has said so. May be asked for again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn doubt(&self, other: KafkaUuid) -> anyhow::Result<()> {
        let mut state = self.state.lock();
        let other = other.to_string();
        let mut properties = state.properties.clone();
        let mut ids = doubted(&properties);
        ids.insert(other.clone());
        set_doubted(&mut properties, &ids);
        // What was said of an earlier failure is not about this one.
        state.answered.remove(&other);
        self.write(&properties)?;
        state.properties = properties;
        Ok(())
    }

    /// What its path leads to is what it led to when it was claimed. Otherwise its disk was taken away, and whoever looks
    /// there sees what is below.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) fn is_in_place(&self) -> anyhow::Result<bool> {
        Ok(mount(&self.data_dir)? == self.mount)
    }
}

fn doubted(properties: &MetaProperties) -> BTreeSet<String> {
    let ids = properties.other.get(DOUBTED_KEY);
    let ids = ids.map_or("", String::as_str).split(',').map(str::trim);
    ids.filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

fn set_doubted(properties: &mut MetaProperties, ids: &BTreeSet<String>) {
    if ids.is_empty() {
        properties.other.remove(DOUBTED_KEY);
        return;
    }
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let doubt = (DOUBTED_KEY.to_owned(), ids.join(","));
    properties.other.extend([doubt]);
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
fn refuse_same(places: &[Place<'_>]) -> anyhow::Result<()> {
    for (at, place) in places.iter().enumerate() {
        for other in &places[..at] {
            let (one, another) = (place.data_dir.display(), other.data_dir.display());
            if place.mount == other.mount {
                bail!("{one} and {another} of log.dirs are the same directory: name it once");
            }
            if place.real.starts_with(&other.real) || other.real.starts_with(&place.real) {
                bail!(
                    "of {one} and {another} of log.dirs one is within the other: none can be, make them neighbours"
                );
            }
        }
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
            let (one, other_dir) = (one.place.data_dir.display(), other_dir.display());
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
        known.push((one.place.data_dir, properties));
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
mod tests;
