use std::fs;
use std::sync::Mutex;

use foz_log::{
    CleanShutdown, LogConfig, LogDirectory, OpenError, OpenProgress, PageCache, TopicPartition,
};
use foz_protocol::error::ErrorCode;
use uuid::Uuid;

use crate::support::*;

#[test]
fn many_partitions_come_back_and_progress_is_told() {
    let world = World::new(LogConfig::default());
    let (directory, _) = world.open();
    for n in 0..40 {
        let id = Uuid::from_u128(n as u128);
        let name = TopicPartition::new(format!("t{}", n / 4), n % 4);
        let log = directory
            .create(name, id, world.config.clone(), NOW_MS)
            .unwrap();
        append_numbers(&log, i64::from(n));
        log.set_high_watermark(i64::from(n) - 1);
    }
    directory
        .close_cleanly(CleanShutdown { broker_epoch: 12 })
        .unwrap();
    drop(directory);

    let told = Mutex::new(Vec::new());
    let config_of = |_: &TopicPartition, _| LogConfig::default();
    let progress = |p: OpenProgress| told.lock().unwrap().push((p.opened, p.total));
    let (directory, report) = LogDirectory::open(
        &world.data(),
        PageCache::Lost,
        4,
        &world.handles,
        NOW_MS,
        &config_of,
        &progress,
    )
    .unwrap();
    assert_eq!(
        report.clean_shutdown,
        Some(CleanShutdown { broker_epoch: 12 })
    );
    assert!(
        report.findings.is_empty() && report.offline.is_empty(),
        "{report:?}"
    );
    let mut told = told.into_inner().unwrap();
    told.sort_unstable();
    assert_eq!(told, (1..=40).map(|n| (n, 40)).collect::<Vec<_>>());
    assert_eq!(directory.logs().len(), 40);
    for n in 0..40 {
        let log = directory
            .get(&TopicPartition::new(format!("t{}", n / 4), n % 4))
            .unwrap();
        assert_numbers(&log, 0, i64::from(n));
        assert_eq!(log.topic_id(), Uuid::from_u128(n as u128));
        assert_eq!(log.high_watermark(), i64::from(n).max(1) - 1);
    }
    world.handles.close_idle();
    world.handles.close_idle();
    assert_eq!(
        world.handles.open_count(),
        0,
        "idle partitions hold no file"
    );
}

#[test]
fn the_mark_is_there_after_a_clean_stop_only() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 1);
    World::stop(directory, log);
    let mark = fs::read_to_string(world.data().join(".kafka_cleanshutdown")).unwrap();
    assert_eq!(mark, "{\"version\":0,\"brokerEpoch\":1}");
    let (directory, report) = world.open();
    assert!(report.clean_shutdown.is_some());
    drop(directory);
    let (_directory, report) = world.open();
    assert!(report.clean_shutdown.is_none(), "that was a crash");
}

#[test]
fn one_process_at_a_time() {
    let world = World::new(LogConfig::default());
    let (directory, _log) = world.log();
    let config_of = |_: &TopicPartition, _| LogConfig::default();
    let (data, lost, handles) = (world.data(), PageCache::Lost, &world.handles);
    let open = || LogDirectory::open(&data, lost, 1, handles, 0, &config_of, &|_| {});
    assert!(matches!(open(), Err(OpenError::InUse(_))));
    drop(directory);
    assert!(open().is_ok());
}

#[test]
fn a_partition_is_created_once_and_deleted_for_good() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 9);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    let again = directory.create(partition(), TOPIC_ID, world.config.clone(), NOW_MS);
    assert!(matches!(again, Err(OpenError::Exists(_))));

    directory.delete(&partition()).unwrap();
    directory.delete(&partition()).unwrap();
    assert!(directory.get(&partition()).is_none() && !world.partition_dir().exists());
    assert_eq!(
        log.read(0, 100, i64::MAX, true).unwrap_err().error_code(),
        ErrorCode::KafkaStorageError
    );
    let error = log
        .append_as_leader(&mut batch(&[b"x"]), 0, NOW_MS)
        .unwrap_err();
    assert!(error.to_string().contains("deleted"), "{error}");
    log.flush().unwrap();

    // Its successor must not be measured by the old recovery point, even after a crash.
    let id = Uuid::from_u128(9);
    let log = directory
        .create(partition(), id, world.config.clone(), NOW_MS)
        .unwrap();
    append_numbers(&log, 1);
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_numbers(&log, 0, 1);
    assert_eq!(log.topic_id(), id);
}

#[test]
fn rests_of_deletions_and_creations_go_and_strangers_stay() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 1);
    drop((directory, log));
    let data = world.data();
    let doomed = "orders-1.0123456789abcdef0123456789abcdef-delete";
    for name in [doomed, "half-0", "lost+found", "data-loss-0", "my-delete"] {
        fs::create_dir(data.join(name)).unwrap();
    }
    fs::write(data.join("half-0/00000000000000000000.log"), b"").unwrap();
    fs::write(data.join("half-0/partition.metadata.tmp"), b"ver").unwrap();
    fs::write(data.join("data-loss-0/00000000000000000000.log"), b"data").unwrap();
    fs::write(data.join("recovery-point-offset-checkpoint.tmp"), b"0").unwrap();

    let (directory, report) = world.open();
    let names = |paths: &[std::path::PathBuf]| -> Vec<String> {
        let mut names: Vec<_> = paths
            .iter()
            .map(|p| p.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&report.removed),
        ["half-0", "recovery-point-offset-checkpoint.tmp"]
    );
    assert_eq!(names(&report.being_deleted), [doomed]);
    assert!(directory.remove_deleted(&|| true).unwrap());
    directory.checkpoint().unwrap();
    assert!(!data.join(doomed).exists());
    assert_eq!(names(&report.ignored), ["lost+found", "my-delete"]);
    let [offline] = report.offline.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!(offline.partition, TopicPartition::new("data-loss", 0));
    assert!(
        offline.error.to_string().contains("partition.metadata"),
        "{}",
        offline.error
    );
    assert!(data.join("data-loss-0/00000000000000000000.log").exists());

    directory.delete(&offline.partition).unwrap();
    assert!(!data.join("data-loss-0").exists());
    assert_numbers(&directory.get(&partition()).unwrap(), 0, 1);
}

#[test]
fn checkpoints_are_kafkas_and_damage_to_them_is_named() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 10);
    log.flush().unwrap();
    log.set_high_watermark(7);
    log.advance_log_start_offset(1).unwrap();
    append_numbers(&log, 1);
    directory.checkpoint().unwrap();
    let text = |name| fs::read_to_string(world.data().join(name)).unwrap();
    assert_eq!(
        text("recovery-point-offset-checkpoint"),
        "0\n1\norders 0 10\n"
    );
    assert_eq!(text("replication-offset-checkpoint"), "0\n1\norders 0 7\n");
    assert_eq!(text("log-start-offset-checkpoint"), "0\n1\norders 0 1\n");
    drop((directory, log));
    let (directory, log) = world.log();
    assert_eq!((log.log_start_offset(), log.high_watermark()), (1, 7));
    drop((directory, log));

    fs::write(
        world.data().join("recovery-point-offset-checkpoint"),
        "0\n5\n",
    )
    .unwrap();
    let config_of = |_: &TopicPartition, _| LogConfig::default();
    let (data, lost, handles) = (world.data(), PageCache::Lost, &world.handles);
    let error = LogDirectory::open(&data, lost, 1, handles, 0, &config_of, &|_| {})
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("recovery-point-offset-checkpoint"),
        "{error}"
    );
}

/// What the checkpoints say of the partition, and of how many they speak.
fn checkpointed(world: &World) -> ([Option<i64>; 4], usize) {
    let text = |name: &str| fs::read_to_string(world.data().join(name)).unwrap_or_default();
    let offset = |name| {
        let text = text(name);
        let mut lines = text.lines().filter_map(|it| it.strip_prefix("orders 0 "));
        lines.next().map(|it| it.parse().unwrap())
    };
    let count = text("recovery-point-offset-checkpoint").lines().count();
    let offsets = [
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
        "log-start-offset-checkpoint",
        "cleaner-offset-checkpoint",
    ];
    (offsets.map(offset), count.saturating_sub(2))
}

#[test]
fn whatever_changes_is_in_the_next_checkpoint() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    let step = |expected: ([Option<i64>; 4], usize)| {
        directory.checkpoint().unwrap();
        assert_eq!(checkpointed(&world), expected);
    };
    append_numbers(&log, 12);
    step(([Some(0), Some(0), None, None], 1));
    log.flush().unwrap();
    step(([Some(12), Some(0), None, None], 1));
    log.set_high_watermark(9);
    step(([Some(12), Some(9), None, None], 1));
    log.advance_log_start_offset(2).unwrap();
    step(([Some(12), Some(9), Some(2), None], 1));
    directory.truncate(&log, 11, NOW_MS).unwrap();
    step(([Some(11), Some(9), Some(2), None], 1));
    let other = TopicPartition::new("other", 0);
    let new = directory.create(other.clone(), TOPIC_ID, world.config.clone(), NOW_MS);
    drop(new.unwrap());
    step(([Some(11), Some(9), Some(2), None], 2));
    directory.delete(&other).unwrap();
    step(([Some(11), Some(9), Some(2), None], 1));
    assert!(directory.bury(&partition(), TOPIC_ID, NOW_MS));
    step(([Some(11), Some(9), Some(2), None], 1));
    assert!(directory.finish_burials().is_empty());
    step(([None; 4], 0));
    let renamed = TopicPartition::new("renamed", 0);
    let unburied = directory.unbury(TOPIC_ID, &renamed, world.config.clone(), NOW_MS);
    let (log, _) = unburied.unwrap().unwrap();
    step(([None; 4], 1));
    directory.reset(&log, 40, NOW_MS).unwrap();
    directory.checkpoint().unwrap();
    let text = fs::read_to_string(world.data().join("recovery-point-offset-checkpoint")).unwrap();
    assert_eq!(text, "0\n1\nrenamed 0 40\n");
}

/// It is written by itself, and what comes after is as if nothing had happened.
#[test]
fn a_start_does_not_outlive_its_log() {
    for is_reset in [true, false] {
        let world = World::new(small_segments(250));
        let (directory, _) = world.open();
        let create = || {
            let config = world.config.clone();
            let log = directory.create(partition(), TOPIC_ID, config, NOW_MS);
            log.unwrap()
        };
        let log = if is_reset {
            let log = create();
            directory.checkpoint().unwrap();
            log
        } else {
            directory.checkpoint().unwrap();
            create()
        };
        append_numbers(&log, 12);
        log.set_high_watermark(9);
        log.advance_log_start_offset(2).unwrap();
        directory.checkpoint_log_starts().unwrap();
        assert_eq!(checkpointed(&world).0[2], Some(2));
        if is_reset {
            directory.reset(&log, 0, NOW_MS).unwrap();
        } else {
            directory.delete(&partition()).unwrap();
            create();
        }
        assert_eq!(checkpointed(&world).0[2], None, "{is_reset}");
    }
}

/// Which a full disk, or too many open files, may leave behind at any step.
#[test]
fn a_creation_that_stopped_half_way_can_be_tried_again() {
    let leftovers: [&[&str]; 4] = [
        &[],
        &["00000000000000000000.log"],
        &["00000000000000000000.log", "00000000000000000000.index"],
        &["00000000000000000000.log", "partition.metadata.tmp"],
    ];
    for leftover in leftovers {
        let world = World::new(LogConfig::default());
        let (directory, _) = world.open();
        fs::create_dir(world.partition_dir()).unwrap();
        for name in leftover {
            fs::write(world.partition_dir().join(name), b"").unwrap();
        }
        let config = world.config.clone();
        let log = directory
            .create(partition(), TOPIC_ID, config, NOW_MS)
            .unwrap();
        append_numbers(&log, 2);
        let again = directory.create(partition(), TOPIC_ID, world.config.clone(), NOW_MS);
        assert!(matches!(again, Err(OpenError::Exists(_))), "{again:?}");
        assert_numbers(&log, 0, 2);
    }
}

#[test]
fn what_holds_data_is_no_rest_of_a_creation() {
    for (name, data) in [
        ("00000000000000000000.log", "records"),
        ("notes.txt", "somebody's"),
    ] {
        let world = World::new(LogConfig::default());
        let (directory, _) = world.open();
        fs::create_dir(world.partition_dir()).unwrap();
        let path = world.partition_dir().join(name);
        fs::write(&path, data).unwrap();
        let config = world.config.clone();
        let refused = directory.create(partition(), TOPIC_ID, config, NOW_MS);
        assert!(matches!(refused, Err(OpenError::Exists(_))), "{refused:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), data);
    }
}
