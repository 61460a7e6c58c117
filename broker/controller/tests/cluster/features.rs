//! A level of a feature takes every node to know it, and each is asked.

use std::time::Duration;

use foz_api::v1;
use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::feature_update::UpgradeType;
use foz_controller::ControllerConfig;
use foz_metadata::record::{Batch, ClusterRecord, Fact, FeatureLevelRecord, RegisterBrokerRecord};
use foz_quorum::{QuorumConfig, RestoreError, StateMachine};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::with_brokers;

const INVALID_UPDATE_VERSION: i32 = 95;

fn update(name: &str, level: i32, upgrade_type: UpgradeType) -> v1::FeatureUpdate {
    v1::FeatureUpdate {
        name: name.to_owned(),
        level,
        upgrade_type: upgrade_type.into(),
    }
}

/// What comes of asking for levels: a code of Kafka, and a sentence.
async fn ask(controllers: &Controllers, updates: &[v1::FeatureUpdate]) -> v1::Outcome {
    let request = v1::UpdateFeaturesRequest {
        updates: updates.to_vec(),
        validate_only: false,
        operator_epoch: 0,
    };
    let call = |channel| {
        let request = request.clone();
        async move { AdminClient::new(channel).update_features(request).await }
    };
    let answer = controllers.client.call(call).await.unwrap();
    answer.into_inner().outcome.unwrap()
}

async fn upgrade(controllers: &Controllers, name: &str, level: i32) -> v1::Outcome {
    ask(controllers, &[update(name, level, UpgradeType::Upgrade)]).await
}

fn features(controllers: &Controllers) -> Vec<(String, i32)> {
    let image = controllers.image();
    let features = image.features();
    features
        .map(|(name, level)| (name.to_owned(), level))
        .collect()
}

fn levels(levels: [(&str, i32); 3]) -> Vec<(String, i32)> {
    levels.map(|(name, level)| (name.to_owned(), level)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broker_and_every_controller_is_asked_whether_it_knows_a_level() {
    let controllers = Controllers::start(3).await;
    let (mut controllers, brokers) = with_brokers::<2>(controllers).await;
    assert_eq!(upgrade(&controllers, "foz.version", 1).await.kafka_code, 0);

    for (name, level, knows) in [
        ("foz.version", 2, "1 to 1"),
        ("transaction.version", 3, "0 to 2"),
    ] {
        let refused = upgrade(&controllers, name, level).await;
        assert_eq!(refused.kafka_code, INVALID_UPDATE_VERSION);
        for node in ["broker 0", "broker 1"] {
            assert!(refused.message.contains(node), "{}", refused.message);
        }
        for node_id in 1000..1003 {
            let knows = format!("controller {node_id} knows {knows}");
            assert!(refused.message.contains(&knows), "{}", refused.message);
        }
        assert!(!refused.message.contains("answer"), "{}", refused.message);
    }

    // One that is gone may run any version when it is back. Nor does a broker that is gone count less.
    let active = controllers.active().await;
    let away = (active + 1) % 3;
    controllers.stop_one(away, true).await;
    let [gone, stays] = brokers;
    gone.kill().await;
    eventually("it is fenced", || !controllers.image().is_alive(0)).await;
    let refused = upgrade(&controllers, "foz.version", 2).await;
    let silent = format!("controller {} does not answer", 1000 + away);
    for node in [silent.as_str(), "broker 0"] {
        assert!(refused.message.contains(node), "{}", refused.message);
    }
    let founded = [
        ("foz.version", 1),
        ("group.version", 1),
        ("transaction.version", 2),
    ];
    assert_eq!(features(&controllers), levels(founded));
    stays.kill().await;
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_go_down_and_up_again_all_that_are_asked_for_or_none() {
    let controllers = Controllers::start(3).await;
    let (controllers, brokers) = with_brokers::<1>(controllers).await;
    let (safe, unsafe_) = (UpgradeType::SafeDowngrade, UpgradeType::UnsafeDowngrade);
    let group = update("group.version", 0, safe);
    for refused in [
        update("transaction.version", 1, UpgradeType::Upgrade),
        update("foz.version", 0, unsafe_),
        update("metadata.version", 0, unsafe_),
    ] {
        let name = refused.name.clone();
        let outcome = ask(&controllers, &[group.clone(), refused]).await;
        assert_eq!(outcome.kafka_code, INVALID_UPDATE_VERSION, "{name}");
        assert!(outcome.message.contains(&name), "{}", outcome.message);
    }
    let founded = [
        ("foz.version", 1),
        ("group.version", 1),
        ("transaction.version", 2),
    ];
    assert_eq!(features(&controllers), levels(founded));

    let transaction = update("transaction.version", 0, unsafe_);
    assert_eq!(ask(&controllers, &[group, transaction]).await.kafka_code, 0);
    let without = [
        ("foz.version", 1),
        ("group.version", 0),
        ("transaction.version", 0),
    ];
    assert_eq!(features(&controllers), levels(without));
    let outcome = upgrade(&controllers, "transaction.version", 2).await;
    assert_eq!(outcome.kafka_code, 0);
    assert_eq!(controllers.image().transaction_version(), 2);

    let unknown = v1::FeatureUpdate {
        upgrade_type: 7,
        ..update("group.version", 1, safe)
    };
    let request = v1::UpdateFeaturesRequest {
        updates: vec![unknown],
        ..Default::default()
    };
    let mut admin = AdminClient::new(controllers.channel().await);
    let error = admin.update_features(request).await.unwrap_err();
    assert!(error.message().contains("upgrade_type 7"), "{error}");
    for broker in brokers {
        broker.kill().await;
    }
    controllers.stop().await;
}

/// A quorum that takes what a version before the features wrote.
struct Older;

impl StateMachine for Older {
    fn apply(&mut self, _: u64, _: u64, _: &[u8]) -> bool {
        true
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// Founds a cluster of one controller as such a version did, with a broker.
async fn found_older(config: &ControllerConfig) {
    let directory = config.data_dir.clone();
    let quorum = QuorumConfig::new(config.node_id, directory, config.voters.clone());
    let quorum = foz_quorum::start(quorum, Older).await.unwrap();
    let mut leadership = quorum.leadership();
    let term = leadership.wait_for(|now| now.is_self).await.unwrap().term;
    let cluster_id = quorum.cluster_id().borrow().clone().unwrap();
    let records = [
        Fact::Cluster(ClusterRecord { cluster_id }),
        Fact::FeatureLevel(FeatureLevelRecord {
            name: "foz.version".to_owned(),
            level: 1,
        }),
        Fact::RegisterBroker(RegisterBrokerRecord {
            node_id: 0,
            epoch: 1,
            incarnation: vec![1; 16].into(),
            host: "localhost".to_owned(),
            port: 9092,
            replication_host: "localhost".to_owned(),
            replication_port: 9091,
            ..RegisterBrokerRecord::default()
        }),
    ];
    let batch = Batch {
        follows: 0,
        term: i64::try_from(term).unwrap(),
        records: records.map(Into::into).into(),
    };
    let proposed = quorum.propose(term, batch.encode_to_bytes()).await;
    proposed.unwrap();
    quorum.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_older_than_features_gets_them_when_its_last_broker_knows_them() {
    let controllers = Controllers::start_as(1, |config| {
        let founded = found_older(config);
        block_in_place(|| Handle::current().block_on(founded));
    })
    .await;
    let older = vec![("foz.version".to_owned(), 1)];
    // The active controller has looked by now.
    let refused = upgrade(&controllers, "transaction.version", 1).await;
    assert!(refused.message.contains("broker 0"), "{}", refused.message);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(features(&controllers), older);

    let broker = FakeBroker::start(&controllers, 0).await;
    let all = [
        ("foz.version", 1),
        ("group.version", 1),
        ("transaction.version", 2),
    ];
    eventually("the levels are written", || {
        features(&controllers) == levels(all)
    })
    .await;
    broker.kill().await;
    controllers.stop().await;
}
