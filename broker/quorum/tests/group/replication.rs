//! What is acknowledged is on every controller, in order, whatever happens to the leader.

use foz_quorum::{ProposeError, TransferError};

use crate::harness::{Group, PATIENCE, batches, reaches};

#[tokio::test(flavor = "multi_thread")]
async fn three_controllers_elect_and_replicate_in_order() {
    let group = Group::started(3).await;
    let (leader, term) = group.leader().await;
    group.propose(batches(0..500)).await;
    group.all_have(&batches(0..500)).await;

    let cluster_id = group.node(0).quorum.cluster_id().borrow().clone().unwrap();
    for node in group.nodes.iter().flatten() {
        assert_eq!(
            node.quorum.cluster_id().borrow().as_ref(),
            Some(&cluster_id)
        );
        assert_eq!(node.quorum.voters(), group.voters);
    }

    let quorum = &group.node(leader).quorum;
    let rejected = quorum.propose(term, "no");
    let accepted = quorum.propose(term, "batch 500");
    assert_eq!(rejected.await, Err(ProposeError::Superseded));
    assert!(accepted.await.unwrap() > 500);
    assert!(matches!(
        quorum.propose(term - 1, "x").await,
        Err(ProposeError::NotLeader { .. })
    ));
    assert!(matches!(
        quorum.propose(term, vec![0; (4 << 20) + 1]).await,
        Err(ProposeError::TooLarge { .. })
    ));
    // The largest batch fits through the transport.
    let largest = "x".repeat(4 << 20);
    quorum.propose(term, largest.clone()).await.unwrap();
    let mut expected = batches(0..501);
    expected.push(largest);
    group.all_have(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_proposes_and_confirms() {
    let group = Group::started(3).await;
    let (leader, term) = group.leader().await;
    let follower = &group.node((leader + 1) % 3).quorum;
    let named = Some(group.voters[leader].clone());
    assert_eq!(
        follower.propose(term, "x").await,
        Err(ProposeError::NotLeader { leader: named })
    );
    assert!(!follower.confirm_leadership().await);
    assert_eq!(
        follower.transfer_leadership(None).await,
        Err(TransferError::NotLeader)
    );

    let quorum = &group.node(leader).quorum;
    let mut rounds = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let quorum = quorum.clone();
        rounds.spawn(async move { quorum.confirm_leadership().await });
    }
    assert!(
        rounds
            .join_all()
            .await
            .into_iter()
            .all(|confirmed| confirmed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over() {
    let group = Group::started(3).await;
    let (leader, _) = group.leader().await;
    let unknown = group.node(leader).quorum.transfer_leadership(Some(7)).await;
    assert_eq!(unknown, Err(TransferError::UnknownVoter { node_id: 7 }));
    let to = (leader + 2) % 3;
    hand_over(&group, Some(to)).await;
    assert_eq!(group.leader().await.0, to);
    hand_over(&group, None).await;
}

/// A transfer may lose to an election that a slow machine brings about; then it is asked for again.
async fn hand_over(group: &Group, to: Option<usize>) {
    let (before, _) = group.leader().await;
    for _ in 0..10 {
        let (leader, _) = group.leader().await;
        if to.map_or(leader != before, |to| leader == to) {
            return;
        }
        let node_id = to.map(|to| group.voters[to].node_id);
        // What matters is who leads afterwards.
        let _ = group.node(leader).quorum.transfer_leadership(node_id).await;
    }
    panic!("{before} still leads, or a third one");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leads_when_the_leader_vanishes_and_it_catches_up_when_it_is_back() {
    let mut group = Group::started(3).await;
    group.propose(batches(0..100)).await;
    let (leader, _) = group.leader().await;
    group.kill(leader).await;
    let (next, _) = group.leader().await;
    assert_ne!(next, leader);
    group.propose(batches(100..200)).await;
    group.start(leader).await;
    group.all_have(&batches(0..200)).await;
    group.propose(batches(200..300)).await;
    group.all_have(&batches(0..300)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_far_behind_is_sent_a_snapshot_and_all_survive_a_restart() {
    let mut group = Group::new(3);
    group.snapshot_every_entries = 50;
    group.start_all().await;
    // The snapshot is sent in many chunks.
    let large = "x".repeat(3 << 20);
    group.propose([large.clone()]).await;
    let expected = |last| [vec![large.clone()], batches(0..last)].concat();
    group.propose(batches(0..20)).await;
    let behind = (group.leader().await.0 + 1) % 3;
    group.kill(behind).await;
    let mut last = 20;
    // The log is cut only when a snapshot was written, which happens beside the proposals.
    while group
        .node((behind + 1) % 3)
        .quorum
        .status()
        .borrow()
        .first_index
        < 100
        || group
            .node((behind + 2) % 3)
            .quorum
            .status()
            .borrow()
            .first_index
            < 100
    {
        group.propose(batches(last..last + 60)).await;
        last += 60;
        assert!(last < 10_000, "snapshots cut the log");
    }
    group.start(behind).await;
    group.all_have(&expected(last)).await;
    let status = group.node(behind).quorum.status();
    assert!(status.borrow().snapshot_index >= 50);

    for position in 0..3 {
        group.kill(position).await;
    }
    group.start_all().await;
    group.all_have(&expected(last)).await;
    group.propose(batches(last..last + 10)).await;
    group.all_have(&expected(last + 10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_alone_stops_leading_and_confirms_nothing() {
    let mut group = Group::started(3).await;
    let (leader, term) = group.leader().await;
    group.kill((leader + 1) % 3).await;
    group.kill((leader + 2) % 3).await;
    let quorum = &group.node(leader).quorum;
    let lost = quorum.propose(term, "batch 0");
    let confirmed = tokio::time::timeout(PATIENCE, quorum.confirm_leadership()).await;
    assert_eq!(confirmed, Ok(false));
    let lost = tokio::time::timeout(PATIENCE, lost).await;
    assert_eq!(lost, Ok(Err(ProposeError::LeadershipLost)));
    reaches(quorum.leadership(), |leadership| !leadership.is_self).await;
    // It was written here, so it may take effect: it does, since nobody contradicts it.
    group.start((leader + 1) % 3).await;
    group.all_have(&batches(0..1)).await;
}
