//! The files are Apache Kafka's, byte for byte: `golden/` was made by Kafka 4.3.1's own classes.

use std::fs;
use std::path::{Path, PathBuf};

use foz_log::LogConfig;
use foz_protocol::batch::Batches;

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
