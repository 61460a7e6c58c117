//! The quorum grows and shrinks, as the operator asks.

use std::time::{Duration, Instant};

use foz_api::v1;
use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::cluster_event::{Event, Voters};
use foz_api::{ActiveController, CallError};
use tonic::Code;

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{acquire_operator_epoch, admin, create_one};
use crate::watcher::Watcher;

/// The first one is configured alone, two know of three, the last two of five.
async fn grown() -> Controllers {
    Controllers::start_as(5, |config| {
        let known = match config.node_id {
            1000 => 1,
            1001 | 1002 => 3,
            _ => 5,
        };
        config.voters.truncate(known);
    })
    .await
}

/// As often as it takes: on a machine that is busy with something else, a controller may take longer to answer than an
/// election timeout.
async fn removed(client: &ActiveController, node_id: i32, operator_epoch: i64) {
    let mut last = String::new();
    for _ in 0..20 {
        match remove(client, node_id, operator_epoch).await {
            Ok(outcome) if outcome.kafka_code == 0 => return,
            Ok(outcome) => last = outcome.message,
            Err(CallError::Answered(status)) if status.code() == Code::Unavailable => {
                last = status.message().to_owned();
            }
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{last}");
}

async fn remove(
    client: &ActiveController,
    node_id: i32,
    operator_epoch: i64,
) -> Result<v1::Outcome, CallError> {
    let request = v1::RemoveVoterRequest {
        node_id,
        operator_epoch,
        directory_id: Vec::new(),
    };
    remove_as(client, &request).await
}

async fn remove_as(
    client: &ActiveController,
    request: &v1::RemoveVoterRequest,
) -> Result<v1::Outcome, CallError> {
    let call = |channel| {
        let request = request.clone();
        async move { AdminClient::new(channel).remove_voter(request).await }
    };
    let answer = client.call(call).await?;
    Ok(answer.into_inner().outcome.unwrap())
}

fn voters(event: Event, wanted: &[i32]) -> Option<Voters> {
    match event {
        Event::VotersChanged(voters) => (voters.voters == wanted).then_some(voters),
        _ => None,
    }
}

/// As the active controller knows it.
async fn described(controllers: &Controllers) -> v1::DescribeQuorumResponse {
    let request = v1::DescribeQuorumRequest {};
    let described = admin(controllers).await.describe_quorum(request).await;
    described.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_join_by_themselves_and_leave_when_they_are_told_to() {
    let controllers = grown().await;
    eventually("five vote", || controllers.quorum_of(0).voters().len() == 5).await;
    let broker = FakeBroker::start(&controllers, 0).await;
    eventually("it is unfenced", || controllers.image().is_alive(0)).await;
    create_one(&controllers, "before", 4).await;
    let (_, told) = Watcher::start(&controllers).await;
    let all = [1000, 1001, 1002, 1003, 1004];
    assert!(told.into_iter().any(|event| voters(event, &all).is_some()));

    let (older, epoch) = (
        acquire_operator_epoch(&controllers, "one").await,
        acquire_operator_epoch(&controllers, "two").await,
    );
    let refused = remove(&controllers.client, 1004, older).await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Answered(status) if status.code() == Code::Aborted),
        "{refused}"
    );
    // With the directory of another one nobody is meant; nor is who does not vote, whatever it may have.
    let quorum = described(&controllers).await;
    let of = |node_id: i32| {
        let mut voters = quorum.voters.iter();
        let voter = voters.find(|it| it.node_id == node_id).unwrap();
        voter.directory_id.clone()
    };
    for (node_id, directory_id) in [(1004, of(1003)), (1009, of(1003)), (1004, vec![1, 2])] {
        let request = v1::RemoveVoterRequest {
            node_id,
            operator_epoch: epoch,
            directory_id,
        };
        let refused = remove_as(&controllers.client, &request).await.unwrap();
        assert_eq!(refused.kafka_code, 127, "{refused:?}");
        assert!(refused.message.contains(&node_id.to_string()));
    }
    assert_eq!(controllers.quorum_of(0).voters().len(), 5);

    // The one that is to leave is active: it hands over to the one that stays longest.
    let active = controllers.active().await;
    if active != 4 {
        let quorum = controllers.quorum_of(active);
        quorum.transfer_leadership(Some(1004)).await.unwrap();
    }
    removed(&controllers.client, 1004, epoch).await;
    assert_ne!(controllers.active().await, 4);
    // Asked again, as when the answer was lost.
    let (mut watcher, _) = Watcher::start(&controllers).await;
    for node_id in [1004, 1003] {
        removed(&controllers.client, node_id, epoch).await;
    }
    let told = watcher.next_that(|event| voters(event, &all[..3])).await;
    assert_eq!(told.removed, [1003, 1004]);
    let quorum = described(&controllers).await;
    let node_ids: Vec<i32> = quorum.voters.iter().map(|it| it.node_id).collect();
    assert_eq!(node_ids, all[..3]);
    assert_eq!(quorum.removed, [1003, 1004]);
    assert!(quorum.learners.is_empty() && quorum.removal.is_empty());
    let topic = create_one(&controllers, "after", 1).await;
    assert_eq!(topic.partitions.len(), 1);
    eventually("the removed ones know it", || {
        [3, 4]
            .into_iter()
            .all(|at| controllers.quorum_of(at).removal().borrow().is_some())
    })
    .await;
    let mut removed = AdminClient::new(controllers.channel_to(4).await);
    let quorum = removed.describe_quorum(v1::DescribeQuorumRequest {}).await;
    let removal = quorum.unwrap().into_inner().removal;
    assert!(removal.contains("node 1004 was removed"), "{removal}");
    broker.kill().await;
    controllers.stop().await;
}

/// An operator, or a person, hears it from any of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_without_a_majority_says_whom_it_misses() {
    let mut controllers = Controllers::start(3).await;
    for at in [1, 2] {
        controllers.stop_one(at, true).await;
    }
    let mut admin = AdminClient::new(controllers.channel_to(0).await);
    let deadline = Instant::now() + Duration::from_secs(10);
    let misses = "of 3 voters [1001, 1002] do not answer";
    loop {
        // The one that led does not know at once that it leads no more.
        let told = match admin.watch_cluster(v1::WatchClusterRequest {}).await {
            Ok(_) => String::new(),
            Err(refusal) => refusal.message().to_owned(),
        };
        if told.contains(misses) {
            break;
        }
        assert!(Instant::now() < deadline, "{told}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    controllers.stop().await;
}
