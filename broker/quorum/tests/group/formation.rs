//! How a quorum comes to be, and what does not belong to it.

use std::fs;
use std::time::Duration;

use foz_quorum::{MetaProperties, QuorumFailure, StartError};

use crate::harness::{Batches, Group, batches, copy_directory, reaches, start};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_founds_before_all_are_there() {
    let mut group = Group::new(3);
    group.start(0).await;
    group.start(2).await;
    // Several rounds of asking; the absence of an event can only be waited for by time.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for position in [0, 2] {
        assert_eq!(*group.node(position).quorum.cluster_id().borrow(), None);
        assert_eq!(group.node(position).quorum.voters(), group.voters);
    }
    group.start(1).await;
    group.leader().await;
    for position in 0..3 {
        let cluster_id = group.node(0).quorum.cluster_id().borrow().clone();
        let known = reaches(group.node(position).quorum.cluster_id(), Option::is_some).await;
        assert_eq!(known, cluster_id);
        let meta = MetaProperties::read(&group.data_dir(position))
            .unwrap()
            .unwrap();
        assert_eq!(
            (meta.cluster_id, meta.node_id),
            (cluster_id, group.voters[position].node_id)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn founders_that_were_interrupted_are_told_by_those_that_were_not() {
    const MINTED: usize = 10;
    const FOUNDED: usize = 20;
    let mut group = Group::new(3);
    // Each one mints its directory id and then waits for the others.
    for position in 0..3 {
        group.start(position).await;
        group.kill(position).await;
        copy_directory(
            &group.data_dir(position),
            &group.data_dir(MINTED + position),
        )
        .unwrap();
    }
    group.start_all().await;
    group.leader().await;
    let cluster_id = group.node(0).quorum.cluster_id().borrow().clone();
    for position in 0..3 {
        group.kill(position).await;
        fs::rename(group.data_dir(position), group.data_dir(FOUNDED + position)).unwrap();
    }
    for founded in 0..3 {
        for position in 0..3 {
            copy_directory(
                &group.data_dir(MINTED + position),
                &group.data_dir(position),
            )
            .unwrap();
        }
        // The crash came as soon as this one had written the founding snapshot, and nothing else.
        let quorum = group.data_dir(founded).join("quorum");
        for file in fs::read_dir(group.data_dir(FOUNDED + founded).join("quorum")).unwrap() {
            let file = file.unwrap();
            if file.path().extension().is_some_and(|end| end == "snapshot") {
                fs::copy(file.path(), quorum.join(file.file_name())).unwrap();
            }
        }
        group.start_all().await;
        group.propose(batches(0..10)).await;
        group.all_have(&batches(0..10)).await;
        for position in 0..3 {
            let known = group.node(position).quorum.cluster_id().borrow().clone();
            assert_eq!(known, cluster_id, "only {founded} had written the founding");
            group.kill(position).await;
            fs::remove_dir_all(group.data_dir(position)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_another_cluster_refuses_and_the_others_go_on() {
    let mut foreign = Group::started(1).await;
    foreign.leader().await;
    let foreign_id = foreign
        .node(0)
        .quorum
        .cluster_id()
        .borrow()
        .clone()
        .unwrap();
    foreign.kill(0).await;

    let mut group = Group::started(3).await;
    group.propose(batches(0..10)).await;
    let cluster_id = group.node(0).quorum.cluster_id().borrow().clone().unwrap();
    group.kill(0).await;
    fs::rename(group.data_dir(0), group.data_dir(10)).unwrap();
    copy_directory(&foreign.data_dir(0), &group.data_dir(0)).unwrap();
    group.start(0).await;
    let failure = reaches(group.node(0).quorum.failure(), Option::is_some)
        .await
        .unwrap();
    let text = failure.to_string();
    assert!(
        matches!(failure, QuorumFailure::WrongCluster { .. }),
        "{text}"
    );
    assert!(
        text.contains(&foreign_id) && text.contains(&cluster_id),
        "{text}"
    );

    group.kill(0).await;
    group.propose(batches(10..20)).await;
    fs::remove_dir_all(group.data_dir(0)).unwrap();
    fs::rename(group.data_dir(10), group.data_dir(0)).unwrap();
    group.start(0).await;
    group.all_have(&batches(0..20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_another_node_is_refused_at_once() {
    let mut group = Group::started(3).await;
    group.leader().await;
    for position in 0..3 {
        group.kill(position).await;
    }
    fs::rename(group.data_dir(0), group.data_dir(10)).unwrap();
    fs::rename(group.data_dir(1), group.data_dir(0)).unwrap();
    let Err(error) = start(group.config(0)).await else {
        panic!("it started")
    };
    assert!(
        matches!(
            error,
            StartError::WrongNode {
                found: 1001,
                expected: 1000,
                ..
            }
        ),
        "{error}"
    );
    let mut config = group.config(2);
    config.voters.truncate(2);
    let error = foz_quorum::start(config, Batches::default())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("node.id: 1002 is not in"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn why_there_is_no_leader_is_told_until_there_is_one() {
    let mut group = Group::new(3);
    group.start(0).await;
    let obstacle = |group: &Group| group.node(0).quorum.obstacle();
    let says =
        |told: &Option<String>, what: &str| told.as_ref().is_some_and(|it| it.contains(what));
    reaches(obstacle(&group), |told| {
        says(told, "[1001, 1002] have not answered yet")
    })
    .await;
    group.start_all().await;
    group.propose(batches(0..1)).await;
    reaches(obstacle(&group), Option::is_none).await;
    for position in [1, 2] {
        group.kill(position).await;
    }
    reaches(obstacle(&group), |told| {
        says(told, "of 3 voters [1001, 1002] do not answer")
    })
    .await;
    // As when one was configured alone that is not: it waits, and says for whom.
    group.kill(0).await;
    group.routes = vec![group.voters[..1].to_vec()];
    group.start(0).await;
    reaches(obstacle(&group), |told| {
        says(told, "of 3 voters [1001, 1002] do not answer")
    })
    .await;
    group.start(1).await;
    reaches(obstacle(&group), Option::is_none).await;
}
