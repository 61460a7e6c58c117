//! Another program fills the disks of controllers to the last byte. Needs root, for small tmpfs.

use std::time::Duration;

use crate::harness::{Group, PATIENCE, batches};
use crate::small_disk::SmallDisk;

async fn on_small_disks(count: i32) -> (Group, Vec<SmallDisk>) {
    let mut group = Group::new(count);
    let disks = (0..group.nodes.len()).map(|at| SmallDisk::on(&group.data_dir(at)));
    let disks: Vec<_> = disks.collect();
    group.start_all().await;
    (group, disks)
}

/// More than what is left of a page.
fn large(number: u32) -> String {
    format!("{number} {}", "x".repeat(6_000))
}

/// Asks whoever leads until one takes it.
async fn propose(group: &Group, batch: &str) {
    let proposing = async {
        loop {
            let leads = group
                .nodes
                .iter()
                .flatten()
                .find(|node| node.quorum.leadership().borrow().is_self);
            if let Some(node) = leads {
                let term = node.quorum.leadership().borrow().term;
                let proposed = node.quorum.propose(term, batch.to_owned().into_bytes());
                // An answer that never comes is that of a leader that stands still.
                let answered = tokio::time::timeout(Duration::from_secs(3), proposed).await;
                if matches!(answered, Ok(Ok(_))) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let proposed = tokio::time::timeout(PATIENCE, proposing).await;
    proposed.unwrap_or_else(|_| panic!("nobody takes {:?}", &batch[..8]));
}

/// Without what was proposed again because nobody answered.
fn applied(group: &Group, position: usize) -> Vec<String> {
    let mut applied = group.node(position).batches.0.lock().clone();
    applied.dedup();
    applied
}

async fn all_have(group: &Group, expected: &[String]) {
    let having = async {
        while (0..group.nodes.len()).any(|at| applied(group, at) != expected) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, having).await;
    outcome.expect("all have the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_room_is_replaced_and_follows_once_it_has() {
    let (mut group, disks) = on_small_disks(3).await;
    let mut expected = batches(0..5);
    group.propose(expected.clone()).await;
    let (leader, _) = group.leader().await;
    disks[leader].fill();
    for number in 0..5 {
        propose(&group, &large(number)).await;
        expected.push(large(number));
    }
    let is_leader = group.node(leader).quorum.leadership().borrow().is_self;
    assert!(!is_leader, "it stands aside");
    assert_eq!(applied(&group, leader).len(), 5, "and still");
    let stand_still = |group: &Group| {
        let stands = |at| group.node(at).quorum.status().borrow().stands_still;
        (0..3).filter(|at| stands(*at)).collect::<Vec<_>>()
    };
    assert_eq!(stand_still(&group), [leader]);
    assert!(group.node(leader).quorum.failure().borrow().is_none());
    // Also a process that starts on a full disk has all that it had.
    group.kill(leader).await;
    group.start(leader).await;
    propose(&group, &large(5)).await;
    expected.push(large(5));
    disks[leader].free();
    all_have(&group, &expected).await;
    let on_their_feet = async {
        while !stand_still(&group).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, on_their_feet).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_anywhere_nothing_is_taken_and_nothing_is_lost() {
    for count in [1, 3] {
        let (group, disks) = on_small_disks(count).await;
        let mut expected = batches(0..5);
        group.propose(expected.clone()).await;
        disks.iter().for_each(SmallDisk::fill);
        let (leader, term) = group.leader().await;
        let quorum = &group.node(leader).quorum;
        let proposed = quorum.propose(term, large(0).into_bytes());
        let answered = tokio::time::timeout(Duration::from_secs(1), proposed).await;
        assert!(!matches!(answered, Ok(Ok(_))), "{answered:?}");
        // It is in the log of its leader, perhaps, so it may come in the end.
        disks.iter().for_each(SmallDisk::free);
        propose(&group, &large(1)).await;
        expected.push(large(1));
        let having = async {
            for position in 0..group.nodes.len() {
                while !applied(&group, position).ends_with(&expected[5..]) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                assert!(applied(&group, position).starts_with(&expected[..5]));
            }
        };
        tokio::time::timeout(PATIENCE, having).await.unwrap();
    }
}
