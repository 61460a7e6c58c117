//! A quorum of one.

use std::fs;

use foz_quorum::{ProposeError, QuorumFailure, StartError, StorageError};

use crate::harness::{Batches, Group, batches, copy_directory, reaches, start};

#[tokio::test(flavor = "multi_thread")]
async fn it_forms_by_itself_and_keeps_everything() {
    let mut group = Group::new(1);
    group.snapshot_every_entries = 30;
    let mut cluster_id = None;
    for round in 0..4 {
        group.start_all().await;
        group.propose(batches(round * 25..(round + 1) * 25)).await;
        group.all_have(&batches(0..(round + 1) * 25)).await;
        assert!(group.node(0).quorum.confirm_leadership().await);
        let known = group.node(0).quorum.cluster_id().borrow().clone();
        assert!(known.is_some() && (cluster_id.is_none() || cluster_id == known));
        cluster_id = known;
        group.kill(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_on_the_disk_at_any_moment() {
    let mut group = Group::new(1);
    group.snapshot_every_entries = 20;
    group.start_all().await;
    let mut acknowledged = 0;
    for copy in 10..20 {
        group
            .propose(batches(acknowledged..acknowledged + 13))
            .await;
        acknowledged += 13;
        // As the disk is when the process is killed now, perhaps while it writes a snapshot; more is
        // under way.
        let (_, term) = group.leader().await;
        let quorum = &group.node(0).quorum;
        let next = batches(acknowledged..acknowledged + 13);
        let under_way: Vec<_> = next
            .into_iter()
            .map(|batch| quorum.propose(term, batch))
            .collect();
        consistent_copy(&group, copy);
        for proposal in under_way {
            proposal.await.unwrap();
        }
        let mut config = group.config(0);
        config.data_dir = group.data_dir(copy);
        // Another port: the first one still runs.
        config.voters[0].address = Group::new(1).voters[0].address.clone();
        let restarted = start(config).await.unwrap();
        let applied = reaches(restarted.quorum.leadership(), |l| l.is_self);
        applied.await;
        let found = restarted.batches.0.lock().clone();
        assert!(
            found.len() >= acknowledged as usize,
            "{} of {acknowledged}",
            found.len()
        );
        assert_eq!(found, batches(0..u32::try_from(found.len()).unwrap()));
        restarted.kill().await;
        acknowledged += 13;
    }
}

/// Files are copied one after the other; a snapshot may be renamed or a segment removed in between, as
/// it cannot be on a disk that stops. Then the copy is made again.
fn consistent_copy(group: &Group, copy: usize) {
    let listing = || {
        let files = fs::read_dir(group.data_dir(0).join("quorum")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    loop {
        let before = listing();
        let copied = copy_directory(&group.data_dir(0), &group.data_dir(copy));
        if copied.is_ok() && before == listing() {
            return;
        }
        fs::remove_dir_all(group.data_dir(copy)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_begin_anew_over_lost_or_damaged_state() {
    let mut group = Group::started(1).await;
    group.propose(batches(0..10)).await;
    let second = foz_quorum::start(group.config(0), Batches::default()).await;
    assert!(
        matches!(
            second,
            Err(StartError::Storage(StorageError::Locked { .. }))
        ),
        "{second:?}"
    );
    let cluster_id = group.node(0).quorum.cluster_id().borrow().clone().unwrap();
    group.kill(0).await;

    let quorum = group.data_dir(0).join("quorum");
    let mut log = fs::read_dir(&quorum)
        .unwrap()
        .map(|file| file.unwrap().path());
    let log = log
        .find(|path| path.extension().is_some_and(|end| end == "log"))
        .unwrap();
    let whole = fs::read(&log).unwrap();
    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    fs::write(&log, damaged).unwrap();
    let error = start(group.config(0)).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("damaged at byte"), "{error}");
    fs::write(&log, whole).unwrap();

    fs::remove_dir_all(&quorum).unwrap();
    let error = start(group.config(0)).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StartError::StateLost { .. }), "{error}");
    assert!(error.to_string().contains(&cluster_id), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_ends_the_quorum_and_nothing_is_acknowledged_after() {
    let mut group = Group::new(1);
    group.snapshot_every_entries = 10;
    group.start_all().await;
    let (_, term) = group.leader().await;
    // The open segment can still be written; the next snapshot cannot.
    fs::remove_dir_all(group.data_dir(0).join("quorum")).unwrap();
    let quorum = &group.node(0).quorum;
    let failed = loop {
        if let Err(error) = quorum.propose(term, "batch").await {
            break error;
        }
    };
    assert!(
        matches!(
            failed,
            ProposeError::Stopped | ProposeError::NotLeader { .. }
        ),
        "{failed}"
    );
    let failure = reaches(quorum.failure(), Option::is_some).await.unwrap();
    assert!(matches!(failure, QuorumFailure::Storage(_)), "{failure}");
    assert!(!quorum.leadership().borrow().is_self);
    assert!(!quorum.confirm_leadership().await);
    assert!(matches!(
        quorum.propose(term, "batch").await,
        Err(ProposeError::NotLeader { .. })
    ));
}
