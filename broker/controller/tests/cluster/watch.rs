//! Those who watch are told what is and what changes.

use std::collections::BTreeMap;

use foz_api::v1;
use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::cluster_event::Event;
use tonic::Code;

use crate::support::{acquire_operator_epoch, create_one, with_one_broker};

#[tokio::test(flavor = "multi_thread")]
async fn observers_resume_where_they_were_or_get_a_snapshot() {
    let (controllers, broker) = with_one_broker(1).await;
    let at = controllers.image().offset();
    create_one(&controllers, "t", 1).await;
    let mut node = controllers.node().await;
    let watch = |from_offset| v1::WatchMetadataRequest {
        node_id: 7,
        from_offset,
        incarnation: vec![7; 16],
    };
    let mut resumed = node.watch_metadata(watch(at)).await.unwrap().into_inner();
    let frame = resumed.message().await.unwrap().unwrap().frame.unwrap();
    assert!(matches!(frame, v1::metadata_frame::Frame::Batch(batch) if batch.offset == at + 1));
    let mut fresh = node.watch_metadata(watch(-1)).await.unwrap().into_inner();
    let frame = fresh.message().await.unwrap().unwrap().frame.unwrap();
    assert!(
        matches!(frame, v1::metadata_frame::Frame::Snapshot(part) if part.last && part.offset > at)
    );
    for (from_offset, code) in [(at + 1000, Code::OutOfRange), (-2, Code::InvalidArgument)] {
        assert_eq!(
            node.watch_metadata(watch(from_offset))
                .await
                .unwrap_err()
                .code(),
            code
        );
    }
    broker.stop().await;
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_told_what_is_and_what_changes() {
    let (controllers, broker) = with_one_broker(1).await;
    create_one(&controllers, "t", 1).await;
    let mut admin = AdminClient::new(controllers.channel().await);
    let mut events = admin
        .watch_cluster(v1::WatchClusterRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut told = Vec::new();
    loop {
        match events.message().await.unwrap().unwrap().event.unwrap() {
            Event::Synced(synced) => {
                assert_eq!(synced.cluster_id, controllers.image().cluster_id());
                break;
            }
            event => told.push(event),
        }
    }
    assert!(
        told.iter()
            .any(|event| matches!(event, Event::TopicChanged(topic) if topic.name == "t"))
    );
    assert!(
        told.iter()
            .any(|event| matches!(event, Event::BrokerChanged(broker) if !broker.fenced))
    );

    let epoch = acquire_operator_epoch(&controllers, "one").await;
    let set = |key: &str, value: &str| v1::ConfigChange {
        key: key.to_owned(),
        operation: v1::ConfigOperation::Set.into(),
        value: value.to_owned(),
    };
    let alter = |changes: Vec<v1::ConfigChange>, operator_epoch| v1::AlterConfigsRequest {
        resources: vec![v1::alter_configs_request::Resource {
            r#type: v1::ResourceType::Topic.into(),
            name: "t".to_owned(),
            changes,
        }],
        validate_only: false,
        replaces: false,
        operator_epoch,
    };
    let altered = admin
        .alter_configs(alter(vec![set("retention.ms", "5")], epoch))
        .await
        .unwrap();
    let result = altered.into_inner().results.remove(0);
    assert_eq!(
        (result.outcome.unwrap().kafka_code, result.effects.len()),
        (0, 1)
    );
    let expected = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
    let changed = events.message().await.unwrap().unwrap().event.unwrap();
    assert!(
        matches!(&changed, Event::TopicChanged(topic) if topic.config == expected),
        "{changed:?}"
    );
    let changed = events.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(&changed, Event::ConfigsChanged(changed) if changed.config == expected));

    let newer = acquire_operator_epoch(&controllers, "two").await;
    assert!(newer > epoch);
    let stale = admin
        .alter_configs(alter(vec![set("retention.ms", "6")], epoch))
        .await
        .unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    let racks = BTreeMap::from([(0, "zone-a".to_owned())]);
    let request = v1::AssignRacksRequest {
        racks,
        operator_epoch: newer,
    };
    admin.assign_racks(request).await.unwrap();
    let changed = events.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(&changed, Event::BrokerChanged(broker) if broker.rack() == "zone-a"));
    broker.stop().await;
    controllers.stop().await;
}
