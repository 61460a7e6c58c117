//! WriteTxnMarkers, as a coordinator or an administrator sends it, and what DescribeProducers says then.

use anyhow::Result;
use foz_records::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use foz_records::write_txn_markers_response::WriteTxnMarkersResponse;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{ApiKey, DescribeProducersRequest};

use super::super::{NOWHERE, topic};
use super::{Asker, create};

const VERSIONS: [i16; 2] = [1, 2];
const TRANSACTION_VERSION_FROM: i16 = 2;
const EPOCH_MAX: i16 = i16::MAX;

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    for version in VERSIONS {
        let name = format!("marked-{version}");
        create(asker, &name, 2)?;
        epochs(asker, version, &name)?;
        partitions(asker, version, &name)?;
        asker.ask(&format!("marked, {name}"), 0, &describing(&name, &[0, 1]))?;
    }
    Ok(())
}

pub(super) fn describing(name: &str, partitions: &[i32]) -> DescribeProducersRequest {
    let of = TopicRequest::default()
        .with_name(topic(name))
        .with_partition_indexes(partitions.to_vec());
    DescribeProducersRequest::default().with_topics(vec![of])
}

/// Of a producer that no coordinator knows.
fn marker(version: i16, topics: &[(&str, &[i32])]) -> WritableTxnMarker {
    let topics = topics.iter().map(|(name, indexes)| WritableTxnMarkerTopic {
        name: (*name).into(),
        partition_indexes: indexes.to_vec(),
    });
    WritableTxnMarker {
        producer_id: 900_000,
        producer_epoch: 5,
        transaction_result: true,
        topics: topics.collect(),
        coordinator_epoch: 7,
        transaction_version: match version >= TRANSACTION_VERSION_FROM {
            true => 2,
            false => 0,
        },
    }
}

fn write(
    asker: &mut Asker,
    what: &str,
    version: i16,
    markers: Vec<WritableTxnMarker>,
) -> Result<()> {
    let request = WriteTxnMarkersRequest { markers };
    let key = ApiKey::WriteTxnMarkers;
    asker.ask_newer::<_, WriteTxnMarkersResponse>(key, what, version, &request)
}

fn epochs(asker: &mut Asker, version: i16, name: &str) -> Result<()> {
    let good = marker(version, &[(name, &[0])]);
    let with = |producer_epoch: i16, coordinator_epoch: i32| WritableTxnMarker {
        producer_epoch,
        coordinator_epoch,
        ..good.clone()
    };
    for (what, marker) in [
        ("without a transaction", with(5, 7)),
        ("once more", with(5, 7)),
        ("an older epoch", with(4, 7)),
        ("an older coordinator", with(6, 6)),
        ("a newer epoch and coordinator", with(6, 8)),
        ("no epoch", with(-1, 8)),
        ("no coordinator", with(6, -1)),
        ("the greatest epoch", with(EPOCH_MAX, 8)),
        (
            "no producer",
            WritableTxnMarker {
                producer_id: -1,
                ..good.clone()
            },
        ),
        (
            "an abort",
            WritableTxnMarker {
                producer_id: 900_001,
                transaction_result: false,
                ..marker(version, &[(name, &[1])])
            },
        ),
    ] {
        write(asker, what, version, vec![marker])?;
    }
    Ok(())
}

fn partitions(asker: &mut Asker, version: i16, name: &str) -> Result<()> {
    let of = |topics: &[(&str, &[i32])]| WritableTxnMarker {
        producer_id: 900_001,
        ..marker(version, topics)
    };
    for (what, markers) in [
        (
            "unknown partitions beside a known one",
            vec![of(&[(name, &[1, 9, -1]), (NOWHERE, &[0])])],
        ),
        ("a partition twice", vec![of(&[(name, &[1, 1])])]),
        ("no markers", vec![]),
        ("no topics", vec![of(&[])]),
        ("no partitions", vec![of(&[(name, &[])])]),
        ("offsets", vec![of(&[("__consumer_offsets", &[0])])]),
    ] {
        write(asker, what, version, markers)?;
    }
    Ok(())
}
