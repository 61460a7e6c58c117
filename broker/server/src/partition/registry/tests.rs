//! A broker's partitions, as the metadata moves.

mod consuming;
mod damaged;
mod directories;
mod failing_directory;
mod full_disk;
mod in_doubt;
mod many_partitions;
mod moving;
mod transactions;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use foz_api::ActiveController;
use foz_metadata::Changes;
use foz_metadata::record::{
    Batch, ConfigRecord, Fact, NodeIds, PartitionChangeRecord, PartitionRecord, ResourceKind,
    TopicRecord,
};
use foz_metadata::rules::{found_cluster, register_broker, unfence_broker};
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use foz_replication::{EpochEndOffset, FetchedPartition, SessionCache, SessionLimits};
use prometheus::Registry;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::authorizer::AllowAll;
use crate::broker::Broker;
use crate::coordinator::Coordinators;
use crate::group_lag::GroupLags;
use crate::identity::claim_all;
use crate::net::budget::Budgets;
use crate::partition::{Followed, Openings};
use crate::producer_ids::ProducerIds;
use crate::recovery_progress::RecoveryProgress;
use crate::replication::Fetchers;
use crate::test_registration::registration;
use crate::transactions::Transactions;

mod burying;
mod coordinating;
mod offline_replicas;
mod transacting;
mod transactional_offsets;

const TOPIC_ID: Uuid = Uuid::from_u128(7);

/// Broker 0 and the metadata that it hears of; brokers 1 and 2 are only in that.
struct World {
    broker: Arc<Broker>,
    image: Arc<Image>,
    fatal: mpsc::Receiver<String>,
    data: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// Directories of data in `data`, or itself where there are none.
    fn within(data: tempfile::TempDir) -> Self {
        let (broker, fatal) = broker(data.path());
        let mut world = Self {
            broker,
            image: Arc::default(),
            fatal,
            data,
        };
        let founded = found_cluster(&world.image, "c").unwrap();
        world.commit(founded.records);
        for node_id in 0..3 {
            let registered = register_broker(&world.image, &registration(node_id)).unwrap();
            let epoch = registered.answer;
            world.commit(registered.records);
            let unfenced = unfence_broker(&world.image, node_id, epoch).unwrap();
            world.commit(unfenced.records);
        }
        world
    }

    fn commit(&mut self, records: Vec<foz_metadata::record::Record>) {
        let batch = Batch {
            follows: self.image.offset(),
            term: 1,
            records,
        };
        let image = Arc::new(self.image.apply(&batch).unwrap());
        let changes = Changes::of_batch(&self.image, &batch);
        self.broker.partitions.apply(&self.broker, &image, &changes);
        self.broker.image.store(Arc::clone(&image));
        self.image = image;
    }

    /// Led by the first of them.
    fn create_topic(&mut self, replicas: &[i32]) {
        self.create_topic_named("orders", replicas);
    }

    fn create_topic_named(&mut self, name: &str, replicas: &[i32]) {
        let id = Bytes::copy_from_slice(TOPIC_ID.as_bytes());
        let topic = Fact::Topic(TopicRecord {
            id: id.clone(),
            name: name.to_owned(),
            internal: false,
            restored_partitions: 0,
        });
        let partition = Fact::Partition(PartitionRecord {
            topic_id: id,
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            leader: replicas[0],
            ..PartitionRecord::default()
        });
        self.commit(vec![topic.into(), partition.into()]);
    }

    /// `name` is empty for the default of all brokers.
    fn configure(&mut self, kind: ResourceKind, name: &str, key: &str, value: Option<&str>) {
        let config = Fact::Config(ConfigRecord {
            kind: kind.into(),
            name: name.to_owned(),
            key: key.to_owned(),
            value: value.map(str::to_owned),
        });
        self.commit(vec![config.into()]);
    }

    fn change(&mut self, change: PartitionChangeRecord) {
        self.commit(vec![self.changed(change)]);
    }

    fn changed(&self, change: PartitionChangeRecord) -> foz_metadata::record::Record {
        let partition_epoch = self.image.topic_by_id(TOPIC_ID).unwrap();
        let partition_epoch = partition_epoch.partition(0).unwrap().partition_epoch + 1;
        Fact::PartitionChange(PartitionChangeRecord {
            topic_id: Bytes::copy_from_slice(TOPIC_ID.as_bytes()),
            partition_epoch,
            ..change
        })
        .into()
    }

    /// What a broker that was away for it begins with.
    fn image_after(&self, change: PartitionChangeRecord) -> Image {
        let batch = Batch {
            follows: self.image.offset(),
            term: 1,
            records: vec![self.changed(change)],
        };
        self.image.apply(&batch).unwrap()
    }

    /// Another process of broker 0 opens the logs; `away` is what happens to them before.
    async fn restart(self, away: impl FnOnce(&Path)) -> Self {
        self.broker.fetchers.stop().await;
        let Self {
            broker: stopped,
            image,
            data,
            ..
        } = self;
        drop(stopped);
        away(data.path());
        let (broker, fatal) = broker(data.path());
        Self {
            broker,
            image,
            fatal,
            data,
        }
    }

    fn partitions(&self) -> &Partitions {
        &self.broker.partitions
    }

    /// The only one.
    fn directory(&self) -> &Arc<super::DataDirectory> {
        let [directory] = self.partitions().directories().all() else {
            panic!("one of many");
        };
        directory
    }

    fn checkpoint(&self) {
        self.partitions().checkpoint(self.directory());
    }

    fn remove_forgotten(&self, now_ms: i64) {
        self.partitions().remove_forgotten(self.directory(), now_ms);
    }

    fn remove_deleted(&self) -> bool {
        let directory = self.directory();
        self.partitions().remove_deleted(directory, &|| true)
    }

    fn repair(&self) -> Option<Leave> {
        self.partitions().repair(&self.broker)
    }

    fn flushes_first(&self) -> bool {
        let partition = self.partitions().get(TOPIC_ID, 0).unwrap();
        partition.log().config().flush_before_acknowledge
    }

    fn offline(&self) -> i64 {
        self.broker.metrics.offline_log_partitions.get()
    }
}

fn data_dirs(data: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(data).unwrap().map(|it| it.unwrap().path());
    let is_data = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .as_encoded_bytes()
            .starts_with(b"data")
    };
    let mut paths: Vec<_> = paths.filter(is_data).collect();
    paths.sort();
    match paths.is_empty() {
        true => vec![data.to_owned()],
        false => paths,
    }
}

fn broker(data: &Path) -> (Arc<Broker>, mpsc::Receiver<String>) {
    let (reasons, fatal) = mpsc::channel(1);
    let claims = claim_all(&data_dirs(data), 0).unwrap();
    let directories = Openings::new(claims, reasons);
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let reports = Reports {
        proposals: mpsc::unbounded_channel().0,
        damage: Arc::default(),
        due_checks: Arc::default(),
        awake: Arc::default(),
        to_write: Arc::default(),
        led: metrics.leader_partitions.clone(),
        broker_epoch: Arc::default(),
    };
    let progress = RecoveryProgress::default();
    let partitions = Partitions::open(directories, 1, metrics.clone(), reports, &progress).unwrap();
    let broker = Arc::new_cyclic(|me| Broker {
        me: me.clone(),
        node_id: 0,
        epoch: Arc::default(),
        registered_offset: watch::Sender::new(-1),
        statics: BTreeMap::new(),
        request_bytes_max: 1,
        connection_idle_max: None,
        client_connections: AtomicU64::new(0),
        client_budgets: Budgets::of_clients(1, 1),
        node_budgets: Budgets::of_nodes(1),
        authorizer: Box::new(AllowAll),
        controllers: Arc::new(ActiveController::new(vec!["127.0.0.1:1".to_owned()])),
        partitions,
        fetchers: Fetchers::default(),
        fetch_sessions: SessionCache::new(SessionLimits::default()),
        coordinators: Coordinators::default(),
        group_lags: GroupLags::default(),
        transactions: Transactions::default(),
        producer_ids: ProducerIds::default(),
        metrics,
        image: ArcSwap::from_pointee(Image::default()),
        applied_offset: watch::Sender::new(-1),
        lease: Arc::default(),
        alive: watch::Sender::new(false),
    });
    (broker, fatal)
}

#[tokio::test]
async fn a_log_that_cannot_be_made_is_made_as_soon_as_it_can() {
    let mut world = World::new();
    let in_the_way = world.data.path().join("orders-0");
    fs::write(&in_the_way, "no directory").unwrap();
    world.create_topic(&[0, 1]);
    assert!(world.partitions().get(TOPIC_ID, 0).is_none());
    assert_eq!(world.offline(), 1);
    let topic = world.image.topic_by_id(TOPIC_ID).unwrap();
    let refused = world.partitions().find(topic, 0).unwrap_err();
    assert_eq!(refused, ErrorCode::KafkaStorageError);
    // Another can lead, and this one has nothing to lose, also without room: that is not what is missing here.
    world
        .directory()
        .disk_gate()
        .set(crate::disk_space::Space::Full);
    assert_eq!(world.repair(), Some(Leave::WithAllData));

    // As the metadata has it now, not as it was when the log could not be made.
    world.change(PartitionChangeRecord {
        leader: Some(1),
        leader_epoch: Some(1),
        isr: Some(NodeIds::from(vec![1])),
        ..PartitionChangeRecord::default()
    });
    assert_eq!(world.repair(), None, "nobody counts on it any more");
    assert_eq!(world.offline(), 1);
    fs::remove_file(&in_the_way).unwrap();
    assert_eq!(world.repair(), None);
    assert_eq!(world.offline(), 0);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    assert_eq!(partition.leader(0), Some((1, 1)));
    assert!(partition.fetch_position().is_some());
    assert!(world.fatal.try_recv().is_err());
}

#[tokio::test]
async fn a_single_replica_waits_for_its_log_and_leads() {
    let mut world = World::new();
    let in_the_way = world.data.path().join("orders-0");
    fs::write(&in_the_way, "no directory").unwrap();
    world.create_topic(&[0]);
    assert_eq!(world.repair(), None);
    fs::remove_file(&in_the_way).unwrap();
    assert_eq!(world.repair(), None);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    assert_eq!(partition.led(), Some(0));
}

#[tokio::test]
async fn a_log_that_nobody_wants_any_more_is_not_made() {
    let mut world = World::new();
    let in_the_way = world.data.path().join("orders-0");
    fs::write(&in_the_way, "no directory").unwrap();
    world.create_topic(&[0, 1]);
    world.change(PartitionChangeRecord {
        leader: Some(1),
        leader_epoch: Some(1),
        replicas: Some(NodeIds::from(vec![1, 2])),
        isr: Some(NodeIds::from(vec![1])),
        ..PartitionChangeRecord::default()
    });
    assert_eq!(world.offline(), 0);
    fs::remove_file(&in_the_way).unwrap();
    assert_eq!(world.repair(), None);
    assert!(world.partitions().get(TOPIC_ID, 0).is_none());
    assert!(!in_the_way.exists());
}

#[tokio::test]
async fn replicas_that_come_or_go_change_what_is_flushed_before_it_is_acknowledged() {
    let mut world = World::new();
    world.create_topic(&[0]);
    assert!(world.flushes_first());
    for (replicas, flushes_first) in [(vec![0, 1, 2], false), (vec![0], true), (vec![0, 1], false)]
    {
        world.change(PartitionChangeRecord {
            replicas: Some(NodeIds::from(replicas.clone())),
            ..PartitionChangeRecord::default()
        });
        assert_eq!(world.flushes_first(), flushes_first, "{replicas:?}");
    }
    // Also where it does not lead.
    world.change(PartitionChangeRecord {
        leader: Some(1),
        leader_epoch: Some(1),
        replicas: Some(NodeIds::from(vec![0])),
        ..PartitionChangeRecord::default()
    });
    assert!(world.flushes_first());
}

/// Broker 0 follows broker 1 and has three records, all flushed.
fn follower() -> (World, Arc<Partition>) {
    let (world, partition) = unflushed_follower();
    partition.log().flush().unwrap();
    world.directory().logs().checkpoint().unwrap();
    (world, partition)
}

fn unflushed_follower() -> (World, Arc<Partition>) {
    let mut world = World::new();
    world.create_topic(&[1, 0]);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    take_three(&partition);
    (world, partition)
}

/// Records from the leader that it follows.
fn take_three(partition: &Arc<Partition>) {
    for offset in 0..3 {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&RecordToWrite::default());
        let mut batch = builder.build().unwrap();
        foz_protocol::batch::assign(&mut batch, offset, 0);
        let fetched = fetched(partition);
        let followed = partition.take(&fetched, &batch);
        assert_eq!(followed, Followed::On);
    }
}

/// What is left of the partition on the disk, under whatever name.
fn directories(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.data.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("orders-0")).collect()
}

fn moved_to(replicas: &[i32], leader_epoch: i32) -> PartitionChangeRecord {
    PartitionChangeRecord {
        leader_epoch: Some(leader_epoch),
        replicas: Some(NodeIds::from(replicas.to_vec())),
        ..PartitionChangeRecord::default()
    }
}

#[tokio::test]
async fn a_replica_that_moved_elsewhere_is_deleted_and_one_that_comes_back_is_new() {
    let (mut world, partition) = follower();
    world.change(moved_to(&[1, 2], 1));
    assert!(world.partitions().get(TOPIC_ID, 0).is_none());
    assert_eq!(partition.leader(0), None);
    assert!(partition.fetch_position().is_none());
    // Who has just found it reads no more of it, and goes elsewhere.
    let gone = partition.read_log(|log| log.read(0, 100, 3, true));
    let told = partition.read_failed(&gone.unwrap_err());
    assert_eq!(told, ErrorCode::NotLeaderOrFollower);
    let topic = world.image.topic_by_id(TOPIC_ID).unwrap();
    let refused = world.partitions().find(topic, 0).unwrap_err();
    assert_eq!(refused, ErrorCode::NotLeaderOrFollower);
    let doomed = directories(&world);
    assert!(
        doomed.len() == 1 && doomed[0].ends_with("-delete"),
        "{doomed:?}"
    );
    let has_files = || {
        fs::read_dir(world.data.path().join(&doomed[0]))
            .unwrap()
            .count()
            > 0
    };
    assert!(has_files(), "nobody waits for that");
    let deletions = world.directory().deletions();
    tokio::time::timeout(Duration::from_secs(5), deletions.notified())
        .await
        .unwrap();
    assert!(world.remove_deleted());
    assert!(!has_files());
    world.checkpoint();
    assert_eq!(directories(&world), Vec::<String>::new());

    world.change(moved_to(&[1, 2, 0], 1));
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    assert_eq!(partition.log().log_end_offset(), 0);
    assert_eq!(partition.fetch_position().unwrap().offset, 0);
    assert!(world.fatal.try_recv().is_err());
}

#[tokio::test]
async fn a_leader_whose_replica_moved_elsewhere_resigns() {
    let mut world = World::new();
    world.create_topic(&[0, 1]);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    assert_eq!(partition.led(), Some(0));
    let counted = |world: &World| {
        crate::replication::look(&world.broker, 0);
        world.broker.metrics.leader_partitions.get()
    };
    assert_eq!(counted(&world), 1);
    world.change(PartitionChangeRecord {
        leader: Some(1),
        isr: Some(NodeIds::from(vec![1])),
        ..moved_to(&[1], 1)
    });
    assert_eq!(partition.led(), None);
    assert_eq!(counted(&world), 0);
}

#[tokio::test]
async fn what_moved_elsewhere_while_the_broker_was_away_is_set_aside() {
    let (world, partition) = follower();
    drop(partition);
    let mut world = world.restart(|_| {}).await;
    world.partitions().set_strays_aside(&world.image, 0);
    assert_eq!(directories(&world), ["orders-0"], "a replica is here");
    let image = world.image_after(moved_to(&[1, 2], 1));
    world.partitions().set_strays_aside(&image, 0);
    let left = directories(&world);
    assert!(left.len() == 1 && left[0].ends_with("-stray"), "{left:?}");
    assert!(world.directory().logs().logs().is_empty());
    // What is set aside is nobody's to delete.
    world.change(moved_to(&[1, 2], 1));
    assert_eq!(directories(&world), left);
}

/// Nobody can tell what of it is right.
fn damage(data: &Path) {
    fs::write(data.join("orders-0/partition.metadata"), "nothing").unwrap();
}

#[tokio::test]
async fn so_is_what_is_damaged() {
    let (world, partition) = follower();
    drop(partition);
    let world = world.restart(damage).await;
    world.partitions().set_strays_aside(&world.image, 0);
    assert_eq!((directories(&world).len(), world.offline()), (1, 1));
    let image = world.image_after(moved_to(&[1, 2], 1));
    world.partitions().set_strays_aside(&image, 0);
    let left = directories(&world);
    assert!(left.len() == 1 && left[0].ends_with("-stray"), "{left:?}");
    assert_eq!(world.offline(), 0);
}

#[tokio::test]
async fn what_is_damaged_goes_where_the_broker_sees_it_move() {
    let (world, partition) = follower();
    drop(partition);
    let mut world = world.restart(damage).await;
    world.change(moved_to(&[1, 2], 1));
    assert_eq!(world.offline(), 0);
    assert!(world.remove_deleted());
    world.checkpoint();
    assert_eq!(directories(&world), Vec::<String>::new());
}

/// The answer to what it would ask now.
fn fetched(partition: &Partition) -> FetchedPartition {
    let position = partition.fetch_position().unwrap();
    FetchedPartition {
        request_leader_epoch: position.leader_epoch,
        request_offset: position.offset,
        error: ErrorCode::None,
        high_watermark: 0,
        log_start_offset: 0,
        diverging_epoch: None,
        current_leader_epoch: -1,
    }
}

/// No checkpoint can be written as long as this is there.
fn block_checkpoints(world: &World) -> std::path::PathBuf {
    let temporary = "recovery-point-offset-checkpoint.tmp";
    let path = world.data.path().join(temporary);
    fs::create_dir(&path).unwrap();
    path
}

#[tokio::test]
async fn a_cut_that_changed_nothing_is_tried_again() {
    let (mut world, partition) = follower();
    let in_the_way = block_checkpoints(&world);
    let diverging = FetchedPartition {
        diverging_epoch: Some(EpochEndOffset {
            epoch: 0,
            end_offset: 1,
        }),
        ..fetched(&partition)
    };
    for _ in 0..2 {
        let followed = partition.take(&diverging, b"");
        assert_eq!(followed, Followed::Later);
        assert_eq!(partition.log().log_end_offset(), 3);
    }
    fs::remove_dir(&in_the_way).unwrap();
    let followed = partition.take(&diverging, b"");
    assert_eq!(followed, Followed::On);
    assert_eq!(partition.log().log_end_offset(), 1);
    assert!(world.fatal.try_recv().is_err());
}

#[tokio::test]
async fn a_reset_left_half_way_ends_the_process() {
    let (mut world, partition) = follower();
    block_checkpoints(&world);
    let out_of_range = FetchedPartition {
        error: ErrorCode::OffsetOutOfRange,
        log_start_offset: 10,
        high_watermark: 20,
        ..fetched(&partition)
    };
    let followed = partition.take(&out_of_range, b"");
    assert_eq!(followed, Followed::NoMore);
    assert!(partition.log().has_failed());
    let reason = world.fatal.try_recv().unwrap();
    assert!(reason.contains("orders-0 was left half-way"), "{reason}");
    assert!(
        !world.directory().logs().has_failed_flush(),
        "the page cache is as good as ever"
    );
}
