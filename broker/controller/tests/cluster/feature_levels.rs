//! A level of `foz.version` takes every node to know it, and each is asked.

use foz_api::v1;
use foz_api::v1::admin_client::AdminClient;

use crate::controllers::{Controllers, eventually};
use crate::support::with_brokers;

/// What comes of asking for a level: a code of Kafka, and a sentence.
async fn finalize(controllers: &Controllers, name: &str, level: i32) -> v1::Outcome {
    let request = v1::FinalizeFeatureLevelRequest {
        name: name.to_owned(),
        level,
        validate_only: false,
        operator_epoch: 0,
        is_downgrade: false,
    };
    let call = |channel| {
        let request = request.clone();
        async move {
            AdminClient::new(channel)
                .finalize_feature_level(request)
                .await
        }
    };
    let answer = controllers.client.call(call).await.unwrap();
    answer.into_inner().outcome.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broker_and_every_controller_is_asked_whether_it_knows_a_level() {
    const INVALID_UPDATE_VERSION: i32 = 95;
    let controllers = Controllers::start(3).await;
    let (mut controllers, brokers) = with_brokers::<2>(controllers).await;
    assert_eq!(finalize(&controllers, "foz.version", 1).await.kafka_code, 0);

    let refused = finalize(&controllers, "foz.version", 2).await;
    assert_eq!(refused.kafka_code, INVALID_UPDATE_VERSION);
    for node in ["broker 0", "broker 1"] {
        assert!(refused.message.contains(node), "{}", refused.message);
    }
    for node_id in 1000..1003 {
        let knows = format!("controller {node_id} knows up to 1");
        assert!(refused.message.contains(&knows), "{}", refused.message);
    }
    assert!(!refused.message.contains("answer"), "{}", refused.message);

    // One that is gone may run any version when it is back. Nor does a broker that is gone count less.
    let active = controllers.active().await;
    let away = (active + 1) % 3;
    controllers.stop_one(away, true).await;
    let [gone, stays] = brokers;
    gone.kill().await;
    eventually("it is fenced", || !controllers.image().is_alive(0)).await;
    let refused = finalize(&controllers, "foz.version", 2).await;
    let silent = format!("controller {} does not answer", 1000 + away);
    for node in [silent.as_str(), "broker 0"] {
        assert!(refused.message.contains(node), "{}", refused.message);
    }
    let features = controllers.image();
    let features: Vec<_> = features.features().collect();
    assert_eq!(features, [("foz.version", 1)]);
    stays.kill().await;
    controllers.stop().await;
}
