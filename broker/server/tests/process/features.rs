//! Levels of features are taken back and raised again, as `kafka-features.sh` asks for it.

use std::collections::BTreeMap;

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest,
    UpdateFeaturesRequest,
};

use crate::testbed::Testbed;
use crate::versions::connection::{Answered, Connection, error, eventually, group_id, text};

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

fn update(connection: &mut Connection, updates: &[(&str, i16, i8)]) -> ErrorCode {
    let updates = updates.iter().map(|(name, level, upgrade_type)| {
        FeatureUpdateKey::default()
            .with_feature(text(name))
            .with_max_version_level(*level)
            .with_upgrade_type(*upgrade_type)
    });
    let request = UpdateFeaturesRequest::default()
        .with_timeout_ms(10_000)
        .with_feature_updates(updates.collect());
    error(connection.call(2, &request).error_code)
}

fn finalized(connection: &mut Connection) -> BTreeMap<String, i16> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("test"))
        .with_client_software_version(text("1.0"));
    let response = connection.call(4, &request);
    let finalized = response.finalized_features.into_iter();
    finalized
        .map(|it| (it.name.to_string(), it.max_version_level))
        .collect()
}

fn levels(levels: &[(&str, i16)]) -> BTreeMap<String, i16> {
    let levels = levels.iter();
    levels
        .map(|(name, level)| ((*name).to_owned(), *level))
        .collect()
}

/// What a member that joins is told, and who asks for the group.
fn consumer_group(connection: &mut Connection) -> [ErrorCode; 2] {
    let join = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id("readers"))
        .with_member_id(text("member"))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(Vec::new()))
        .with_topic_partitions(Some(Vec::new()));
    let joined = connection.call(1, &join);
    let describe =
        ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id("readers")]);
    let described = connection.call(1, &describe);
    [joined.error_code, described.groups[0].error_code].map(error)
}

#[test]
fn levels_go_down_and_up_again_and_outlive_every_process() {
    let mut testbed = Testbed::start(1, 2);
    let answered = Answered::default();
    let founded = [
        ("foz.version", 1),
        ("group.version", 1),
        ("transaction.version", 2),
    ];
    let refused = ErrorCode::InvalidUpdateVersion;
    {
        let [mut here, mut there] =
            [0, 1].map(|at| Connection::open(&testbed.brokers[at], &answered));
        assert_eq!(finalized(&mut here), levels(&founded));
        let unsupported = [ErrorCode::UnsupportedVersion; 2];
        assert_ne!(consumer_group(&mut here), unsupported);

        // One that is refused holds up all of the request.
        let down = ("transaction.version", 1, SAFE_DOWNGRADE);
        for other in [
            ("group.version", 2, UPGRADE),
            ("foz.version", 0, UNSAFE_DOWNGRADE),
            ("metadata.version", 7, UNSAFE_DOWNGRADE),
        ] {
            assert_eq!(update(&mut here, &[down, other]), refused, "{other:?}");
            assert_eq!(finalized(&mut there), levels(&founded));
        }

        let both = [down, ("group.version", 0, UNSAFE_DOWNGRADE)];
        assert_eq!(update(&mut here, &both), ErrorCode::None);
        let without = levels(&[founded[0], ("transaction.version", 1)]);
        for connection in [&mut here, &mut there] {
            assert_eq!(finalized(connection), without, "seen at once, by all");
            assert_eq!(consumer_group(connection), unsupported);
        }
        let up = [("transaction.version", 2, SAFE_DOWNGRADE)];
        assert_eq!(update(&mut there, &up), refused);
    }

    // What somebody took back is not raised by a controller or a broker that starts.
    for node in testbed.nodes() {
        node.kill();
    }
    testbed.start_all();
    let mut here = Connection::open(&testbed.brokers[0], &answered);
    let without = levels(&[founded[0], ("transaction.version", 1)]);
    let told = || match finalized(&mut here) {
        told if told == without => Ok(()),
        other => Err(other),
    };
    eventually(told);
    let up = [
        ("transaction.version", 2, UPGRADE),
        ("group.version", 1, UPGRADE),
    ];
    assert_eq!(update(&mut here, &up), ErrorCode::None);
    assert_eq!(finalized(&mut here), levels(&founded));
    assert_ne!(
        consumer_group(&mut here),
        [ErrorCode::UnsupportedVersion; 2]
    );
}
