//! A broker says which of its replicas it cannot use.

use foz_api::v1;
use tonic::Code;

use crate::controllers::Controllers;
use crate::fake_broker::FakeBroker;
use crate::support::{admin, assigned_topic, create_this, with_brokers};

fn report(
    broker: &FakeBroker,
    topic_id: &[u8],
    indexes: Vec<i32>,
) -> v1::ReportOfflineReplicasRequest {
    v1::ReportOfflineReplicasRequest {
        node_id: broker.node_id(),
        broker_epoch: broker.epoch(),
        replicas: vec![v1::TopicLogs {
            topic_id: topic_id.to_vec(),
            indexes,
        }],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_cannot_use_others_lead_when_it_is_answered() {
    let (controllers, brokers) = with_brokers::<2>(Controllers::start(1).await).await;
    let topic = create_this(&controllers, assigned_topic("t", &[&[0, 1], &[0, 1]])).await;
    let mut node = controllers.node().await;
    let before = controllers.image().offset();
    let request = report(&brokers[0], &topic.id, vec![0]);
    for _ in 0..2 {
        let answer = node.report_offline_replicas(request.clone()).await.unwrap();
        let offset = answer.into_inner().metadata_offset;
        assert_eq!(offset, before + 1, "nothing is new the second time");
        let image = controllers.image();
        let [failed, other] = [0, 1].map(|index| image.partition("t", index).unwrap().clone());
        assert_eq!((failed.leader, &*failed.isr), (1, &[1][..]));
        assert_eq!((other.leader, &*other.isr), (0, &[0, 1][..]));
        assert_eq!((&*failed.offline, &*other.offline), (&[0][..], &[][..]));
    }

    let request = v1::WatchClusterRequest::default();
    let mut frames = admin(&controllers)
        .await
        .watch_cluster(request)
        .await
        .unwrap()
        .into_inner();
    let shown = frames.message().await.unwrap().unwrap();
    assert!(format!("{shown:?}").contains("offline: [0]"), "{shown:?}");

    let stale = v1::ReportOfflineReplicasRequest {
        broker_epoch: brokers[0].epoch() - 1,
        ..report(&brokers[0], &topic.id, vec![1])
    };
    for (request, code) in [
        (stale, Code::Aborted),
        (report(&brokers[0], &[1], vec![1]), Code::InvalidArgument),
        (
            report(&brokers[0], &topic.id, vec![1; 10_001]),
            Code::InvalidArgument,
        ),
    ] {
        let refused = node.report_offline_replicas(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{}", refused.message());
    }
    assert_eq!(controllers.image().offset(), before + 1);
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}
