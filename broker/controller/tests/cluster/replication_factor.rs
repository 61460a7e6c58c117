//! What the operator asks of topics: another number of replicas, an id of its own, a deletion that all know of.

use std::time::Duration;

use foz_api::v1;
use foz_api::v1::change_replication_factor_request::Change;
use tonic::{Code, Status};

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{
    acquire_operator_epoch, admin, assigned_topic, change_isr, create, create_this, new_topic,
    with_brokers, with_two_brokers,
};

async fn change(
    controllers: &Controllers,
    id: &[u8],
    replication_factor: i32,
    operator_epoch: i64,
) -> Result<v1::Outcome, Status> {
    let request = v1::ChangeReplicationFactorRequest {
        topics: vec![Change {
            name: "t".to_owned(),
            id: id.to_vec(),
            replication_factor,
        }],
        operator_epoch,
        ..Default::default()
    };
    let mut admin = admin(controllers).await;
    let answer = admin.change_replication_factor(request).await?;
    Ok(answer.into_inner().results.remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_replicas_is_a_move_and_those_who_are_no_operator_have_no_say() {
    let (controllers, brokers) = with_brokers::<3>(Controllers::start(1).await).await;
    let [zero, one, two] = &brokers;
    let topic = create_this(&controllers, assigned_topic("t", &[&[0], &[1]])).await;
    let old = acquire_operator_epoch(&controllers, "old").await;
    let new = acquire_operator_epoch(&controllers, "new").await;
    let refused = change(&controllers, &topic.id, 3, old).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let broken = change(&controllers, &[1, 2], 3, new).await.unwrap_err();
    assert_eq!(broken.code(), Code::InvalidArgument);
    for (id, factor, code) in [(&[9; 16][..], 3, 100), (&[][..], 4, 38), (&topic.id, 0, 38)] {
        let outcome = change(&controllers, id, factor, new).await.unwrap();
        assert_eq!(outcome.kafka_code, code, "{}", outcome.message);
    }

    let outcome = change(&controllers, &topic.id, 3, new).await.unwrap();
    assert_eq!((outcome.kafka_code, &*outcome.message), (0, ""));
    let image = controllers.image();
    assert_eq!(image.reassigning_partitions().count(), 2);
    change_isr(&controllers, ("t", 0), zero, &[zero, one, two]).await;
    change_isr(&controllers, ("t", 1), one, &[zero, one, two]).await;
    let image = controllers.image();
    assert_eq!(image.reassigning_partitions().count(), 0);
    for index in 0..2 {
        let partition = image.partition("t", index).unwrap();
        assert_eq!((partition.replicas.len(), partition.leader), (3, index));
    }
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_made_while_a_broker_is_away_which_joins_its_isr_later() {
    let (controllers, [zero, one, two]) = with_brokers::<3>(Controllers::start(1).await).await;
    let next = two.next_registration();
    two.kill().await;
    eventually("it is fenced", || !controllers.image().is_alive(2)).await;
    let of_factor = |replication_factor| v1::create_topics_request::NewTopic {
        replication_factor,
        ..new_topic("t", 3)
    };
    let refused = create(&controllers, vec![of_factor(4)]).await.remove(0);
    let refused = refused.outcome.unwrap();
    assert_eq!(refused.kafka_code, 38);
    let message = "replication factor 4 of topic \"t\" is too many: the cluster has only 3 brokers; it can be at most 3";
    assert_eq!(refused.message, message);

    create_this(&controllers, of_factor(3)).await;
    let image = controllers.image();
    for (_, _, partition) in image.partitions() {
        assert!([0, 1].contains(&partition.leader), "{partition:?}");
        assert_eq!((partition.replicas.len(), partition.isr.len()), (3, 2));
    }
    let two = FakeBroker::start_with(&controllers, next).await;
    eventually("it is back", || controllers.image().is_alive(2)).await;
    for (_, index, partition) in image.partitions() {
        let leader = if partition.leader == 0 { &zero } else { &one };
        change_isr(&controllers, ("t", index), leader, &[&zero, &one, &two]).await;
    }
    let image = controllers.image();
    assert!(image.partitions().all(|(_, _, it)| it.isr.len() == 3));
    for broker in [zero, one, two] {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_has_the_id_that_its_maker_gave_it() {
    let (controllers, brokers) = with_two_brokers(1).await;
    let wanted = |name: &str, id: &[u8]| v1::create_topics_request::NewTopic {
        id: id.to_vec(),
        ..new_topic(name, 1)
    };
    let topic = create_this(&controllers, wanted("t", &[7; 16])).await;
    assert_eq!(topic.id, [7; 16]);
    let taken = create(&controllers, vec![wanted("u", &[7; 16])]).await;
    assert_ne!(taken[0].outcome.as_ref().unwrap().kafka_code, 0);
    assert_eq!(controllers.image().topic_count(), 1);
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_heard_of_a_deletion_is_named_until_it_has() {
    let (controllers, brokers) = with_two_brokers(1).await;
    let topic = create_this(&controllers, new_topic("t", 1)).await;
    let delete = async || {
        let request = v1::DeleteTopicsRequest {
            topics: vec![v1::TopicRef {
                name: "t".to_owned(),
                id: topic.id.clone(),
            }],
            operator_epoch: 0,
        };
        let mut admin = admin(&controllers).await;
        let answer = admin.delete_topics(request).await.unwrap().into_inner();
        let code = answer.results[0].outcome.as_ref().unwrap().kafka_code;
        (code, answer.behind)
    };
    // It says nothing for less than its lease.
    brokers[1].pause();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (code, behind) = delete().await;
    let is_alive = controllers.image().is_alive(1);
    assert!(code == 0 && (behind == [1] || !is_alive), "{behind:?}");
    brokers[1].resume();
    eventually("it is alive", || controllers.image().is_alive(1)).await;
    let mut answer = delete().await;
    // It is alive again before it has told how far it is.
    for _ in 0..20 {
        if answer.1.is_empty() {
            break;
        }
        answer = delete().await;
    }
    assert_eq!(answer, (100, vec![]));
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}
