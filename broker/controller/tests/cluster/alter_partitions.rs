//! Leaders change their ISRs.

use std::time::Instant;

use foz_api::v1;
use foz_api::v1::alter_partitions_response::result::Result as Answered;
use foz_api::v1::{AlterPartitionsRequest, IsrChange};
use tonic::{Code, Status};

use crate::controllers::Controllers;
use crate::fake_broker::FakeBroker;
use crate::support::{assigned_topic, create_this, with_brokers};

fn change(topic: &v1::Topic, index: i32, partition_epoch: i32, isr: &[&FakeBroker]) -> IsrChange {
    IsrChange {
        topic_id: topic.id.clone(),
        index,
        leader_epoch: 0,
        partition_epoch,
        new_isr: isr
            .iter()
            .map(|broker| v1::isr_change::Member {
                node_id: broker.node_id(),
                broker_epoch: broker.epoch(),
            })
            .collect(),
    }
}

async fn alter(
    controllers: &Controllers,
    leader: &FakeBroker,
    partitions: Vec<IsrChange>,
) -> Result<Vec<Answered>, Status> {
    let request = AlterPartitionsRequest {
        node_id: leader.node_id(),
        broker_epoch: leader.epoch(),
        partitions,
    };
    let answer = controllers.node().await.alter_partitions(request).await?;
    let answer = answer.into_inner();
    assert!(answer.metadata_offset <= controllers.image().offset());
    let results = answer.results.into_iter();
    Ok(results.map(|result| result.result.unwrap()).collect())
}

fn code(result: &Answered) -> i32 {
    match result {
        Answered::State(_) => 0,
        Answered::Error(error) => error.code,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_shrinks_and_grows_its_isr_and_what_is_not_its_own_is_refused() {
    let (controllers, brokers) = with_brokers::<3>(Controllers::start(1).await).await;
    let [zero, one, two] = &brokers;
    let wanted = assigned_topic("t", &[&[0, 1, 2], &[1, 2, 0]]);
    let topic = create_this(&controllers, wanted).await;

    let results = alter(
        &controllers,
        zero,
        vec![
            change(&topic, 0, 0, &[zero, one]),
            change(&topic, 0, 0, &[zero]),
            change(&topic, 1, 0, &[one]),
            change(&topic, 9, 0, &[zero]),
            IsrChange {
                topic_id: vec![7; 16],
                ..change(&topic, 0, 0, &[zero])
            },
            IsrChange {
                leader_epoch: -1,
                ..change(&topic, 0, 1, &[zero])
            },
        ],
    )
    .await
    .unwrap();
    let codes: Vec<_> = results.iter().map(code).collect();
    assert_eq!(codes, [0, 95, 42, 3, 100, 74], "{results:?}");
    let Answered::State(state) = &results[0] else {
        panic!("{results:?}");
    };
    assert_eq!(
        (state.leader, state.leader_epoch, &*state.isr),
        (0, 0, &[0, 1][..])
    );
    let image = controllers.image();
    let partition = image.partition("t", 0).unwrap();
    assert_eq!(
        (&*partition.isr, partition.partition_epoch),
        (&[0, 1][..], state.partition_epoch)
    );
    let scraped = controllers.metrics();
    assert!(scraped.contains("\nfoz_under_replicated_partitions 1\n"));

    // The same again: its answer may have been lost. Whatever was proposed before is over with that.
    let epoch = state.partition_epoch + 1;
    let again = vec![change(&topic, 0, state.partition_epoch, &[zero, one])];
    let again = alter(&controllers, zero, again).await.unwrap();
    let settled = v1::alter_partitions_response::State {
        partition_epoch: epoch,
        ..state.clone()
    };
    assert_eq!(again[0], Answered::State(settled));
    let late = vec![change(&topic, 0, epoch - 1, &[zero])];
    let late = alter(&controllers, zero, late).await.unwrap();
    assert_eq!(code(&late[0]), 95);
    let grown = vec![change(&topic, 0, epoch, &[zero, one, two])];
    let grown = alter(&controllers, zero, grown).await.unwrap();
    assert_eq!(code(&grown[0]), 0);
    let scraped = controllers.metrics();
    assert!(scraped.contains("\nfoz_under_replicated_partitions 0\n"));

    // A member of an earlier process.
    let mut stale = change(&topic, 0, epoch + 1, &[zero, one]);
    stale.new_isr[1].broker_epoch -= 1;
    let stale = alter(&controllers, zero, vec![stale]).await.unwrap();
    assert_eq!(code(&stale[0]), 107);
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_stale_or_malformed_or_too_large_changes_nothing() {
    let (controllers, brokers) = with_brokers::<2>(Controllers::start(1).await).await;
    let [zero, one] = &brokers;
    let topic = create_this(&controllers, assigned_topic("t", &[&[0, 1]])).await;
    let before = controllers.image().offset();
    let mut node = controllers.node().await;
    let wanted = change(&topic, 0, 0, &[zero]);
    let request = |broker_epoch, partitions| AlterPartitionsRequest {
        node_id: zero.node_id(),
        broker_epoch,
        partitions,
    };
    let short_id = IsrChange {
        topic_id: vec![1; 15],
        ..wanted.clone()
    };
    for (request, expected) in [
        (request(one.epoch(), vec![wanted.clone()]), Code::Aborted),
        (request(-1, vec![wanted.clone()]), Code::Aborted),
        (request(zero.epoch(), vec![short_id]), Code::InvalidArgument),
        (
            request(zero.epoch(), vec![wanted.clone(); 10_001]),
            Code::InvalidArgument,
        ),
    ] {
        let refused = node.alter_partitions(request).await.unwrap_err();
        assert_eq!(refused.code(), expected, "{refused}");
    }
    assert_eq!(controllers.image().offset(), before);
    let most = vec![wanted; 10_000];
    let results = alter(&controllers, zero, most).await.unwrap();
    assert_eq!(results.iter().filter(|it| code(it) == 0).count(), 1);
    let nothing = alter(&controllers, zero, vec![]).await.unwrap();
    assert_eq!(nothing, []);
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_leaders_change_many_isrs_at_once() {
    const EACH: usize = 200;
    let (controllers, brokers) = with_brokers::<3>(Controllers::start(3).await).await;
    let assignments: Vec<&[i32]> = (0..EACH)
        .flat_map(|_| [&[0, 1, 2][..], &[1, 2, 0], &[2, 0, 1]])
        .collect();
    let topic = create_this(&controllers, assigned_topic("t", &assignments)).await;
    let began = Instant::now();
    let calls = brokers.iter().enumerate().map(|(at, leader)| {
        let (controllers, topic) = (&controllers, &topic);
        async move {
            let mine = (0..EACH).map(|number| i32::try_from(3 * number + at).unwrap());
            for index in mine.clone().take(20) {
                let one = vec![change(topic, index, 0, &[leader])];
                let results = alter(controllers, leader, one).await.unwrap();
                assert_eq!(code(&results[0]), 0);
            }
            let rest = mine
                .skip(20)
                .map(|index| change(topic, index, 0, &[leader]));
            let results = alter(controllers, leader, rest.collect()).await.unwrap();
            assert!(results.iter().all(|result| code(result) == 0));
        }
    });
    futures::future::join_all(calls).await;
    eprintln!("63 calls, {} partitions: {:?}", 3 * EACH, began.elapsed());
    let image = controllers.image();
    assert!(image.partitions().all(|(_, _, it)| it.isr == [it.leader]));
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}
