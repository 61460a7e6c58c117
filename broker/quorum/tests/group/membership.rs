//! A controller whose disk was wiped, and one whose disk was replaced.

use std::fs;

use foz_quorum::{MetaProperties, QuorumFailure};

use crate::harness::{Group, batches, reaches};

/// Waits until everyone knows the controller as a voter with the volume it has now, and the group has
/// one member for each node.
async fn votes(group: &Group, position: usize) {
    let meta = MetaProperties::read(&group.data_dir(position))
        .unwrap()
        .unwrap();
    for node in group.nodes.iter().flatten() {
        reaches(node.quorum.status(), |status| {
            let members = &status.members;
            members.len() == 3
                && members.iter().all(|member| member.is_voter)
                && members[position].member.directory_id == meta.directory_id
        })
        .await;
    }
    reaches(group.node(position).quorum.status(), |status| {
        status.is_voter
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_controller_joins_as_a_new_voter_and_its_old_volume_stays_out() {
    let mut group = Group::new(3);
    group.snapshot_every_entries = 40;
    group.start_all().await;
    group.propose(batches(0..100)).await;
    let (leader, _) = group.leader().await;
    let cluster_id = group.node(0).quorum.cluster_id().borrow().clone();
    let wiped = (leader + 1) % 3;
    group.kill(wiped).await;
    fs::rename(group.data_dir(wiped), group.data_dir(10)).unwrap();
    group.start(wiped).await;
    votes(&group, wiped).await;
    assert_eq!(*group.node(wiped).quorum.cluster_id().borrow(), cluster_id);
    group.all_have(&batches(0..100)).await;

    // Its vote counts: without it there is no majority.
    let other = (leader + 2) % 3;
    group.kill(other).await;
    group.propose(batches(100..110)).await;
    group.start(other).await;
    group.all_have(&batches(0..110)).await;

    group.kill(wiped).await;
    fs::rename(group.data_dir(wiped), group.data_dir(11)).unwrap();
    fs::rename(group.data_dir(10), group.data_dir(wiped)).unwrap();
    group.start(wiped).await;
    let failure = reaches(group.node(wiped).quorum.failure(), Option::is_some)
        .await
        .unwrap();
    assert!(
        matches!(failure, QuorumFailure::Removed { .. }),
        "{failure}"
    );
    group.kill(wiped).await;
    fs::remove_dir_all(group.data_dir(wiped)).unwrap();
    fs::rename(group.data_dir(11), group.data_dir(wiped)).unwrap();
    group.start(wiped).await;
    group.all_have(&batches(0..110)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lost_only_the_quorums_files_gets_another_name_in_raft() {
    let mut group = Group::started(3).await;
    group.propose(batches(0..10)).await;
    let wiped = group.leader().await.0;
    group.kill(wiped).await;
    let before = MetaProperties::read(&group.data_dir(wiped))
        .unwrap()
        .unwrap();
    fs::remove_dir_all(group.data_dir(wiped).join("quorum")).unwrap();
    group.start(wiped).await;
    votes(&group, wiped).await;
    let after = MetaProperties::read(&group.data_dir(wiped))
        .unwrap()
        .unwrap();
    assert_ne!(before.directory_id, after.directory_id);
    assert_eq!(before.cluster_id, after.cluster_id);
    group.all_have(&batches(0..10)).await;
}
