//! The files are Apache Kafka's, byte for byte: `golden/` was made by Kafka 4.3.1's own classes.

use std::fs;
use std::path::{Path, PathBuf};

use foz_log::{AppendOrigin, LogConfig, TransactionMarker};
use foz_protocol::batch::{BatchHeader, Batches};
use foz_protocol::record::{Records, record_bytes};

use crate::support::*;

const LOG: &str = "00000000000000000000.log";

fn golden(name: &str) -> Vec<u8> {
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/golden");
    fs::read(directory.join(name)).unwrap()
}

fn config() -> LogConfig {
    LogConfig {
        index_interval_bytes: 300,
        ..LogConfig::default()
    }
}

const FILES: [&str; 4] = [
    LOG,
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000100.snapshot",
];

#[test]
fn the_same_batches_give_the_same_files() {
    let world = World::new(config());
    let (directory, log) = world.log();
    for parsed in Batches::new(&golden(LOG)) {
        let (header, batch) = parsed.unwrap();
        let epoch = header.partition_leader_epoch;
        log.append_as_leader(&mut batch.to_vec(), epoch, NOW_MS)
            .unwrap();
    }
    World::stop(directory, log);
    for name in FILES {
        assert!(
            fs::read(world.partition_dir().join(name)).unwrap() == golden(name),
            "{name}"
        );
    }
}

#[test]
fn kafkas_files_are_opened_as_they_are() {
    for clean in [true, false] {
        let world = World::new(config());
        let dir = world.partition_dir();
        fs::create_dir_all(&dir).unwrap();
        for name in FILES {
            fs::write(dir.join(name), golden(name)).unwrap();
        }
        fs::write(dir.join("leader-epoch-checkpoint"), "0\n1\n5 0\n").unwrap();
        let metadata = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAQIDBA";
        fs::write(dir.join("partition.metadata"), metadata).unwrap();
        let checkpoint = world.data().join("recovery-point-offset-checkpoint");
        fs::write(checkpoint, "0\n1\norders 0 100\n").unwrap();
        if clean {
            let mark = "{\"version\":0,\"brokerEpoch\":3}";
            fs::write(world.data().join(".kafka_cleanshutdown"), mark).unwrap();
        }
        let (directory, report) = world.open();
        assert!(
            report.findings.is_empty() && report.offline.is_empty(),
            "{report:?}"
        );
        let log = directory.get(&partition()).unwrap();
        assert_eq!(log.topic_id(), TOPIC_ID);
        assert_eq!((log.log_end_offset(), log.producer_count()), (100, 3));
        assert_eq!(read_from(&log, 0).len(), 100);
        assert_eq!(log.end_offset_for_epoch(5), Some((5, 100)));
        World::stop(directory, log);
        for name in FILES {
            assert!(
                fs::read(dir.join(name)).unwrap() == golden(name),
                "{name}, clean: {clean}"
            );
        }
    }
}

const TRANSACTIONS: [&str; 5] = [
    LOG,
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000000.txnindex",
    "00000000000000000022.snapshot",
];

fn transactions(name: &str) -> Vec<u8> {
    golden(&format!("transactions/{name}"))
}

fn assert_transactions_are_kafkas(world: &World, what: &str) {
    for name in TRANSACTIONS {
        let ours = fs::read(world.partition_dir().join(name)).unwrap();
        assert!(ours == transactions(name), "{name} {what}");
    }
}

/// By the bytes alone: what the log's own reading says is what is tried.
fn marker(header: &BatchHeader, batch: &[u8]) -> TransactionMarker {
    let bytes = record_bytes(header, batch, 1000).unwrap();
    let record = Records::new(header, &bytes).next().unwrap().unwrap();
    let epoch: [u8; 4] = record.value.unwrap()[2..].try_into().unwrap();
    TransactionMarker {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        coordinator_epoch: i32::from_be_bytes(epoch),
        is_commit: record.key.unwrap()[3] == 1,
    }
}

#[test]
fn the_same_transactions_give_the_same_files() {
    let world = World::new(config());
    let (directory, log) = world.log();
    for parsed in Batches::new(&transactions(LOG)) {
        let (header, batch) = parsed.unwrap();
        if header.is_control() {
            let (marker, now_ms) = (marker(&header, batch), header.max_timestamp);
            log.append_marker(marker, 1, 5, now_ms).unwrap();
        } else {
            let guard = log.begin_verification(&header, false, NOW_MS).unwrap();
            let (origin, mut bytes) = (AppendOrigin::Client(guard), batch.to_vec());
            log.append_from(origin, &mut bytes, 5, NOW_MS).unwrap();
        }
    }
    World::stop(directory, log);
    assert_transactions_are_kafkas(&world, "");
}

#[test]
fn kafkas_transactions_go_on_where_they_were() {
    for (is_clean, has_index) in [(true, true), (false, true), (false, false)] {
        let what = format!("clean: {is_clean}, with index: {has_index}");
        let world = World::new(config());
        let dir = world.partition_dir();
        fs::create_dir_all(&dir).unwrap();
        for name in TRANSACTIONS {
            if has_index || !name.ends_with("index") {
                fs::write(dir.join(name), transactions(name)).unwrap();
            }
        }
        fs::write(dir.join("leader-epoch-checkpoint"), "0\n1\n5 0\n").unwrap();
        let metadata = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAQIDBA";
        fs::write(dir.join("partition.metadata"), metadata).unwrap();
        let end = world.data().join("recovery-point-offset-checkpoint");
        let recovery_point = if is_clean { 22 } else { 0 };
        fs::write(end, format!("0\n1\norders 0 {recovery_point}\n")).unwrap();
        let committed = world.data().join("replication-offset-checkpoint");
        fs::write(committed, "0\n1\norders 0 22\n").unwrap();
        if is_clean {
            let mark = "{\"version\":0,\"brokerEpoch\":3}";
            fs::write(world.data().join(".kafka_cleanshutdown"), mark).unwrap();
        }
        let (directory, log) = world.log();
        assert_eq!(log.log_end_offset(), 22, "{what}");
        log.set_high_watermark(22);
        assert_eq!(log.last_stable_offset(), 18, "{what}");
        let aborted = log.aborted_in(0, 22).unwrap();
        let offsets: Vec<_> = aborted
            .iter()
            .map(|it| {
                (
                    it.producer_id,
                    it.first_offset,
                    it.marker_offset,
                    it.last_stable_offset,
                )
            })
            .collect();
        let expected = [
            (200, 0, 3, 4),
            (201, 5, 10, 9),
            (202, 9, 12, 11),
            (204, 16, 17, 18),
        ];
        assert_eq!(offsets, expected, "{what}");
        let open: Vec<_> = log
            .active_producers()
            .iter()
            .filter_map(|it| Some((it.producer_id, it.current_transaction_first_offset?)))
            .collect();
        assert_eq!(open, [(200, 20), (202, 18)], "{what}");
        World::stop(directory, log);
        assert_transactions_are_kafkas(&world, &what);
    }
}
