//! Controllers that are added and removed while the quorum works.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use foz_quorum::{ChangeVotersError, ProposeError, Quorum, QuorumFailure, TransferError};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Group, PATIENCE, batches, reaches};

/// Five controllers of which the first is configured alone, two more with three, and the rest with five.
fn grows_to_five() -> Group {
    let mut group = Group::new(5);
    let first = |count: usize| group.voters[..count].to_vec();
    group.routes = vec![first(1), first(3), first(3), first(5), first(5)];
    group
}

/// Waits until exactly these positions vote, as all of them see it.
async fn vote(group: &Group, positions: &[usize]) {
    let wanted: BTreeSet<i32> = positions
        .iter()
        .map(|position| group.voters[*position].node_id)
        .collect();
    for position in positions {
        reaches(group.node(*position).quorum.status(), |status| {
            let voters = status.members.iter().filter(|member| member.is_voter);
            let voters: BTreeSet<i32> = voters.map(|member| member.member.node_id).collect();
            voters == wanted && status.members.len() == wanted.len() && status.is_voter
        })
        .await;
    }
}

/// The one that leads, when there is one.
fn leading(quorums: &[Quorum]) -> Option<(Quorum, u64)> {
    quorums.iter().find_map(|quorum| {
        let leadership = quorum.leadership().borrow().clone();
        leadership
            .is_self
            .then(|| (quorum.clone(), leadership.term))
    })
}

/// As soon as one leads.
async fn some_leader(group: &Group) -> Quorum {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some((quorum, _)) = leading(&running(group)) {
            return quorum;
        }
        assert!(Instant::now() < deadline, "nobody leads");
        sleep(Duration::from_millis(5)).await;
    }
}

fn running(group: &Group) -> Vec<Quorum> {
    let nodes = group.nodes.iter().flatten();
    nodes.map(|node| node.quorum.clone()).collect()
}

/// As whoever is told that the node leads: it hands over, and the next one is asked.
async fn remove(group: &Group, position: usize) {
    let node_id = group.voters[position].node_id;
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "node {node_id} is not removed");
        let Some((quorum, _)) = leading(&running(group)) else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        match quorum.remove_voter(node_id).await {
            Ok(()) => return,
            Err(ChangeVotersError::IsLeader { .. }) => match quorum.transfer_leadership(None).await
            {
                Ok(()) | Err(TransferError::NotLeader) => {}
                Err(error) => panic!("{error}"),
            },
            Err(ChangeVotersError::Busy) => panic!("busy"),
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Somebody leads for two seconds on end. On a machine that is busy with something else an election may take place, so
/// there are some attempts.
async fn stays_led(group: &Group) {
    for _ in 0..5 {
        let before = leading(&running(group)).map(|(_, term)| term);
        sleep(Duration::from_secs(2)).await;
        let after = leading(&running(group)).map(|(_, term)| term);
        if before.is_some() && before == after {
            return;
        }
    }
    panic!("the removed ones disturb elections");
}

/// Proposes one batch after the other, whoever leads, until it is told to stop.
struct Proposer {
    quorums: Arc<Mutex<Vec<Quorum>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Proposed>,
}

#[derive(Debug, Default)]
struct Proposed {
    acknowledged: Vec<String>,
    /// Leadership went before the outcome was known.
    in_doubt: usize,
    longest: Duration,
}

impl Proposer {
    fn start() -> Self {
        let quorums: Arc<Mutex<Vec<Quorum>>> = Arc::default();
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(propose(Arc::clone(&quorums), stopping));
        Self {
            quorums,
            stop,
            task,
        }
    }

    /// From now on to these.
    fn to(&self, group: &Group) {
        *self.quorums.lock() = running(group);
    }

    async fn stop(self) -> Proposed {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

async fn propose(quorums: Arc<Mutex<Vec<Quorum>>>, stopping: watch::Receiver<bool>) -> Proposed {
    let mut proposed = Proposed::default();
    let (mut number, mut since) = (0, Instant::now());
    while !*stopping.borrow() {
        let found = leading(&quorums.lock());
        let Some((quorum, term)) = found else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        let batch = format!("batch {number}");
        match quorum.propose(term, batch.clone()).await {
            Ok(_) => {
                proposed.acknowledged.push(batch);
                proposed.longest = proposed.longest.max(since.elapsed());
                (number, since) = (number + 1, Instant::now());
            }
            // Nothing was written.
            Err(ProposeError::NotLeader { .. } | ProposeError::Superseded) => {
                sleep(Duration::from_millis(1)).await;
            }
            Err(_) => {
                proposed.in_doubt += 1;
                number += 1;
            }
        }
    }
    proposed
}

#[tokio::test(flavor = "multi_thread")]
async fn one_becomes_three_then_five_then_three_under_proposals() {
    let mut group = grows_to_five();
    group.snapshot_every_entries = 200;
    let proposer = Proposer::start();
    group.start(0).await;
    vote(&group, &[0]).await;
    proposer.to(&group);
    for (new, all) in [([1, 2], 3), ([3, 4], 5)] {
        for position in new {
            group.start(position).await;
        }
        proposer.to(&group);
        vote(&group, &(0..all).collect::<Vec<_>>()).await;
    }
    // The one that goes first leads.
    let leader = some_leader(&group).await;
    match leader.transfer_leadership(Some(1004)).await {
        Ok(()) | Err(TransferError::NotLeader) => {}
        Err(error) => panic!("{error}"),
    }
    for position in [4, 3] {
        remove(&group, position).await;
        vote(&group, &(0..position).collect::<Vec<_>>()).await;
        let sentence = reaches(group.node(position).quorum.removal(), Option::is_some).await;
        assert!(
            sentence
                .unwrap()
                .contains(&format!("node 100{position} was removed"))
        );
    }
    // Those that were removed run still, and say nothing that anybody heeds.
    stays_led(&group).await;
    let leader = some_leader(&group).await;
    assert_eq!(leader.status().borrow().retired, [1003, 1004]);
    let proposed = proposer.stop().await;
    for position in [3, 4] {
        group.kill(position).await;
    }
    eprintln!(
        "{} acknowledged, {} in doubt, the longest wait {:?}",
        proposed.acknowledged.len(),
        proposed.in_doubt,
        proposed.longest
    );
    assert!(proposed.acknowledged.len() > 100);
    let (leader, _) = group.leader().await;
    let all = group.node(leader).batches.0.lock().clone();
    let mut found = all.iter();
    for batch in &proposed.acknowledged {
        assert!(found.any(|it| it == batch), "{batch} is lost");
    }
    group.all_have(&all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_comes_back_only_when_it_is_let_in() {
    let mut group = Group::started(3).await;
    group.propose(batches(0..10)).await;
    let old = 2;
    remove(&group, old).await;
    reaches(group.node(old).quorum.removal(), Option::is_some).await;
    // Started again, with its volume or an empty one, configured as ever.
    group.kill(old).await;
    group.start(old).await;
    reaches(group.node(old).quorum.removal(), Option::is_some).await;
    group.kill(old).await;
    fs::rename(group.data_dir(old), group.data_dir(10)).unwrap();
    group.start(old).await;
    let is_member = |group: &Group| {
        let status = group.node(0).quorum.status();
        let count = status.borrow().members.len();
        count == 3
    };
    sleep(Duration::from_secs(1)).await;
    assert!(!is_member(&group));
    group.kill(old).await;
    fs::remove_dir_all(group.data_dir(old)).unwrap();
    fs::rename(group.data_dir(10), group.data_dir(old)).unwrap();
    group.propose(batches(10..20)).await;

    group.start(old).await;
    let deadline = Instant::now() + PATIENCE;
    let failure = loop {
        assert!(Instant::now() < deadline);
        // As often as it takes, since another leader knows nothing of it.
        if let Some((quorum, _)) = leading(&running(&group)) {
            let _ = quorum.add_voter(1002).await;
        }
        let mut failure = group.node(old).quorum.failure();
        let failed = failure.wait_for(Option::is_some);
        if let Ok(failed) = timeout(Duration::from_millis(100), failed).await {
            break failed.unwrap().clone().unwrap();
        }
    };
    assert!(
        matches!(failure, QuorumFailure::Renewed { .. }),
        "{failure}"
    );
    group.kill(old).await;
    assert!(group.data_dir(old).join("quorum.removed").is_dir());
    group.start(old).await;
    while !is_member(&group) {
        assert!(Instant::now() < deadline);
        if let Some((quorum, _)) = leading(&running(&group)) {
            let _ = quorum.add_voter(1002).await;
        }
        sleep(Duration::from_millis(20)).await;
    }
    vote(&group, &[0, 1, 2]).await;
    group.propose(batches(20..30)).await;
    group.all_have(&batches(0..30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_removed_before_it_joins_does_not_join() {
    let mut group = grows_to_five();
    group.start(0).await;
    vote(&group, &[0]).await;
    for position in [2, 1] {
        remove(&group, position).await;
    }
    for position in [1, 2] {
        group.start(position).await;
    }
    sleep(Duration::from_secs(1)).await;
    vote(&group, &[0]).await;
    let quorum = group.node(0).quorum.clone();
    assert_eq!(quorum.status().borrow().retired, [1001, 1002]);
    for node_id in [1001, 1002] {
        quorum.add_voter(node_id).await.unwrap();
    }
    // Changed one's mind: it is out again, whether it has come in between or not.
    quorum.remove_voter(1002).await.unwrap();
    reaches(quorum.status(), |status| status.retired == [1002]).await;
    quorum.add_voter(1002).await.unwrap();
    vote(&group, &[0, 1, 2]).await;
    assert_eq!(quorum.status().borrow().retired, [0_i32; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_may_be_killed_and_wiped_in_the_middle() {
    let mut group = grows_to_five();
    group.snapshot_every_entries = 40;
    for position in 0..3 {
        group.start(position).await;
    }
    vote(&group, &[0, 1, 2]).await;
    group.propose(batches(0..100)).await;
    // Alone it stays a learner: four voters would survive no more than three.
    group.start(3).await;
    reaches(group.node(0).quorum.status(), |status| {
        status.members.len() == 4
    })
    .await;
    sleep(Duration::from_millis(500)).await;
    vote_count(&group, 3);
    group.kill(3).await;
    fs::remove_dir_all(group.data_dir(3)).unwrap();
    group.start(4).await;
    group.start(3).await;
    group.kill(4).await;
    group.start(4).await;
    vote(&group, &[0, 1, 2, 3, 4]).await;
    group.propose(batches(100..110)).await;
    group.all_have(&batches(0..110)).await;
}

fn vote_count(group: &Group, count: usize) {
    let status = group.node(0).quorum.status();
    let status = status.borrow();
    let voters = status.members.iter().filter(|member| member.is_voter);
    assert_eq!(voters.count(), count, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_to_become_three_may_restart_with_either_configuration() {
    let mut group = grows_to_five();
    group.start(0).await;
    group.propose(batches(0..10)).await;
    let cluster_id = group.node(0).quorum.cluster_id().borrow().clone();
    group.start(1).await;
    for names in [3, 1] {
        group.kill(0).await;
        group.routes[0] = group.voters[..names].to_vec();
        group.start(0).await;
        reaches(group.node(0).quorum.leadership(), |it| it.is_self).await;
        assert_eq!(*group.node(0).quorum.cluster_id().borrow(), cluster_id);
        vote_count(&group, 1);
    }
    group.start(2).await;
    vote(&group, &[0, 1, 2]).await;
    group.propose(batches(10..20)).await;
    // The one that is configured alone finds the others by what it knows of the group.
    group.kill(0).await;
    group.start(0).await;
    group.propose(batches(20..30)).await;
    group.all_have(&batches(0..30)).await;
    for position in 0..3 {
        assert_eq!(
            *group.node(position).quorum.cluster_id().borrow(),
            cluster_id
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_removed_when_too_few_would_be_left() {
    let mut group = Group::started(3).await;
    group.propose(batches(0..10)).await;
    let (leader, _) = group.leader().await;
    let (dead, other) = ((leader + 1) % 3, (leader + 2) % 3);
    group.kill(dead).await;
    let quorum = group.node(leader).quorum.clone();
    // Raft asks itself once in an election timeout who has answered.
    sleep(Duration::from_secs(1)).await;
    let refused = quorum.remove_voter(group.voters[other].node_id).await;
    assert!(
        matches!(&refused, Err(ChangeVotersError::Refused(why)) if why.contains("no majority")),
        "{refused:?}"
    );
    let leads = quorum.remove_voter(group.voters[leader].node_id).await;
    assert!(
        matches!(&leads, Err(ChangeVotersError::Refused(_))),
        "{leads:?}"
    );
    let not_leading = &group.node(other).quorum;
    assert_eq!(
        not_leading.remove_voter(group.voters[dead].node_id).await,
        Err(ChangeVotersError::NotLeader)
    );
    // The dead one may go, and asked again it is gone.
    for _ in 0..2 {
        let gone = quorum.remove_voter(group.voters[dead].node_id).await;
        assert_eq!(gone, Ok(()));
    }
    group.propose(batches(10..20)).await;
    group.all_have(&batches(0..20)).await;
    let only = {
        group.kill(other).await;
        quorum.remove_voter(group.voters[leader].node_id).await
    };
    assert!(only.is_err(), "{only:?}");
}
