//! A broker of tests.

use foz_metadata::image::SupportedFeatures;
use foz_metadata::rules::{DataDirectory, RegisterBroker};
use uuid::Uuid;

/// As it registers for the first time, with one data directory and no rack.
pub(crate) fn registration(node_id: i32) -> RegisterBroker {
    let id = Uuid::from_u128(1 + u128::try_from(node_id).unwrap());
    RegisterBroker {
        node_id,
        incarnation: id,
        directories: vec![DataDirectory {
            id,
            disk_epoch: -1,
            intact: false,
            logs: Vec::new(),
        }],
        offline_directories: 0,
        in_doubt: Vec::new(),
        cluster_id: String::new(),
        host: "localhost".to_owned(),
        port: 9092,
        replication_host: "localhost".to_owned(),
        replication_port: 9091,
        rack: None,
        version: "1".to_owned(),
        features: SupportedFeatures::of_this_program(),
    }
}
