//! Partitions move, brokers get nothing new, and are forgotten.

use foz_api::v1;
use foz_api::v1::alter_partition_reassignments_request::Reassignment;
use foz_api::v1::cluster_event::Event;
use foz_api::v1::{AlterPartitionReassignmentsRequest, Assignment, CordonBrokersRequest};
use tonic::{Code, Status};

use crate::controllers::{Controllers, eventually};
use crate::support::{
    acquire_operator_epoch, admin, assigned_topic, change_isr, create_this, new_topic, with_brokers,
};
use crate::watcher::Watcher;

fn to(index: i32, target: Option<&[i32]>) -> Reassignment {
    Reassignment {
        topic: "t".to_owned(),
        index,
        target: target.map(|replicas| Assignment {
            replicas: replicas.to_vec(),
        }),
    }
}

async fn reassign(
    controllers: &Controllers,
    partitions: Vec<Reassignment>,
    operator_epoch: i64,
) -> Result<Vec<(i32, i32)>, Status> {
    let request = AlterPartitionReassignmentsRequest {
        partitions,
        allow_replication_factor_change: false,
        operator_epoch,
    };
    let mut admin = admin(controllers).await;
    let answer = admin.alter_partition_reassignments(request).await?;
    let results = answer.into_inner().results.into_iter();
    Ok(results
        .map(|result| (result.index, result.outcome.unwrap().kafka_code))
        .collect())
}

/// Replicas, adding, removing, as a watcher is told of partition 0 of the topic.
fn moving(event: Event) -> Option<[Vec<i32>; 3]> {
    let Event::TopicChanged(topic) = event else {
        return None;
    };
    let partition = topic.partitions.into_iter().next()?;
    Some([
        partition.replicas,
        partition.adding_replicas,
        partition.removing_replicas,
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_and_those_who_watch_are_told() {
    let (controllers, brokers) = with_brokers::<4>(Controllers::start(1).await).await;
    let [zero, one, two, three] = &brokers;
    let wanted = assigned_topic("t", &[&[0, 1, 2], &[0, 1, 2], &[0, 1, 2]]);
    create_this(&controllers, wanted).await;
    let (mut watcher, _) = Watcher::start(&controllers).await;
    let results = reassign(
        &controllers,
        vec![
            to(0, Some(&[1, 2, 3])),
            to(1, Some(&[1, 2])),
            to(1, Some(&[1, 2, 9])),
            to(2, None),
            to(9, Some(&[1, 2, 3])),
        ],
        0,
    );
    // Partition 1 is named twice.
    let expected = [(0, 0), (1, 42), (1, 42), (2, 85), (9, 3)];
    assert_eq!(results.await.unwrap(), expected);
    let told = watcher.next_that(moving).await;
    assert_eq!(told, [vec![1, 2, 3, 0], vec![3], vec![0]]);
    let wrong = [(to(1, Some(&[1, 2])), 38), (to(1, Some(&[1, 2, 9])), 39)];
    for (wanted, code) in wrong {
        let results = reassign(&controllers, vec![wanted], 0).await.unwrap();
        assert_eq!(results, [(1, code)]);
    }

    change_isr(&controllers, ("t", 0), zero, &[zero, one, two, three]).await;
    let told = watcher.next_that(moving).await;
    assert_eq!(told, [vec![1, 2, 3], vec![], vec![]]);
    let leader = controllers.image().partition("t", 0).unwrap().leader;
    assert!([1, 2, 3].contains(&leader));

    // Another way and back again; an operator that was replaced has no say in it.
    let old = acquire_operator_epoch(&controllers, "old").await;
    let new = acquire_operator_epoch(&controllers, "new").await;
    let there = || vec![to(2, Some(&[3, 1, 2]))];
    let refused = reassign(&controllers, there(), old).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let results = reassign(&controllers, there(), new).await.unwrap();
    assert_eq!(results, [(2, 0)]);
    assert_eq!(controllers.image().reassigning_partitions().count(), 1);
    let results = reassign(&controllers, vec![to(2, None)], new)
        .await
        .unwrap();
    assert_eq!(results, [(2, 0)]);
    let image = controllers.image();
    assert_eq!(image.reassigning_partitions().count(), 0);
    let mut replicas = image.partition("t", 2).unwrap().replicas.clone();
    replicas.sort_unstable();
    assert_eq!(replicas, [0, 1, 2]);
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}

async fn cordon(
    controllers: &Controllers,
    node_ids: &[i32],
    cordoned: bool,
    operator_epoch: i64,
) -> Result<(), Status> {
    let request = CordonBrokersRequest {
        node_ids: node_ids.to_vec(),
        cordoned,
        operator_epoch,
    };
    let mut admin = admin(controllers).await;
    admin.cordon_brokers(request).await.map(|_| ())
}

async fn unregister(
    controllers: &Controllers,
    node_id: i32,
    operator_epoch: i64,
) -> Result<v1::Outcome, Status> {
    let request = v1::UnregisterBrokerRequest {
        node_id,
        operator_epoch,
    };
    let answer = admin(controllers).await.unregister_broker(request).await?;
    Ok(answer.into_inner().outcome.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordoned_broker_gets_nothing_new_and_one_that_is_empty_and_gone_is_forgotten() {
    let (controllers, brokers) = with_brokers::<2>(Controllers::start(1).await).await;
    let [zero, one] = brokers;
    let old = acquire_operator_epoch(&controllers, "old").await;
    let new = acquire_operator_epoch(&controllers, "new").await;
    let (mut watcher, _) = Watcher::start(&controllers).await;
    let refused = cordon(&controllers, &[1], true, old).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    // All or none.
    let refused = cordon(&controllers, &[1, -1], true, new).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(!controllers.image().is_cordoned(1));
    cordon(&controllers, &[1, 1, 7], true, new).await.unwrap();
    let is_cordoned = |event| match event {
        Event::BrokerChanged(broker) => Some((broker.node_id, broker.cordoned)),
        _ => None,
    };
    assert_eq!(watcher.next_that(is_cordoned).await, (1, true));
    let topic = create_this(&controllers, new_topic("t", 6)).await;
    assert!(topic.partitions.iter().all(|it| it.replicas == [0]));

    let refused = unregister(&controllers, 1, old).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let alive = unregister(&controllers, 1, new).await.unwrap();
    assert_eq!(alive.kafka_code, 42);
    assert!(alive.message.contains("alive"), "{}", alive.message);
    one.kill().await;
    eventually("1 is fenced", || !controllers.image().is_alive(1)).await;
    assert_eq!(
        unregister(&controllers, 1, new).await.unwrap().kafka_code,
        0
    );
    let removed = watcher.next_that(|event| match event {
        Event::BrokerRemoved(node_id) => Some(node_id),
        _ => None,
    });
    assert_eq!(removed.await, 1);
    assert!(!controllers.image().is_cordoned(1));
    let again = unregister(&controllers, 1, new).await.unwrap();
    assert_eq!(again.kafka_code, 102);

    cordon(&controllers, &[7], false, 0).await.unwrap();
    assert!(!controllers.image().is_cordoned(7));
    zero.kill().await;
    eventually("0 is fenced", || !controllers.image().is_alive(0)).await;
    let holds = unregister(&controllers, 0, 0).await.unwrap();
    assert_eq!(holds.kafka_code, 42);
    assert!(holds.message.contains("6 replicas"), "{}", holds.message);
    controllers.stop().await;
}
