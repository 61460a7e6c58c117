//! Another coordinator takes over.

use super::*;

/// So many of the appends under way are in the log when another takes over.
fn loaded_with(kept: usize, appended: impl FnOnce(&mut Harness) -> Vec<WaiterId>) -> Harness {
    let mut harness = Harness::new();
    harness.commit("", -1, "orders", 5);
    commit(&mut harness, VERSION, txn_commit(ONE, "orders", 8));
    harness.confirms = false;
    appended(&mut harness);
    harness.restart_with_tail(kept);
    harness
}

/// A former coordinator may have told of it, or may not.
#[test]
fn a_marker_above_the_high_watermark_is_neither_told_nor_passed_over() {
    for (is_commit, expected) in [(true, 8), (false, 5)] {
        let mut harness = loaded_with(1, |harness| vec![harness.send(2, marker(ONE, is_commit))]);
        assert_eq!(any(&mut harness), Err(LOADING));
        assert_eq!(stable(&mut harness), Err(LOADING));
        let request = txn_commit(ONE, "orders", 9);
        for (version, told) in [(5, LOADING), (2, LOADING), (1, NOT_AVAILABLE)] {
            // KAFKA-7296
            assert_eq!(commit(&mut harness, version, request.clone()), told);
        }
        // Markers are taken all the time.
        let ended = harness.send(2, marker(ONE, true));
        while harness.confirm() {}
        assert_eq!(error(&harness.take(ended)), NONE);
        assert_eq!(stable(&mut harness), Ok(expected));
        harness.restart();
        assert_eq!(stable(&mut harness), Ok(expected));
    }
}

#[test]
fn what_is_above_the_high_watermark_is_in_its_transactions_when_it_is_committed() {
    let mut harness = loaded_with(4, |harness| {
        vec![
            harness.send(2, marker(ONE, true)),
            harness.send(
                VERSION,
                Request::TxnOffsetCommit(txn_commit(ONE, "orders", 9)),
            ),
            harness.send(
                VERSION,
                Request::TxnOffsetCommit(txn_commit(OTHER, "orders", 10)),
            ),
            harness.send(2, marker(OTHER, false)),
        ]
    });
    assert_eq!(any(&mut harness), Err(LOADING));
    while harness.confirm() {}
    harness.confirms = true;
    assert_eq!(any(&mut harness), Ok(8));
    assert_eq!(stable(&mut harness), Err(UNSTABLE));
    end(&mut harness, ONE, true);
    assert_eq!(stable(&mut harness), Ok(9));
}

#[test]
fn everybody_is_answered_when_the_coordinator_resigns() {
    let mut harness = Harness::new();
    harness.confirms = false;
    let commit = Request::TxnOffsetCommit(txn_commit(ONE, "orders", 8));
    let committed = harness.send(VERSION, commit);
    let ended = harness.send(2, marker(ONE, true));
    harness.restart();
    let not_coordinator = ResponseError::NotCoordinator.code();
    assert_eq!(error(&harness.take(committed)), not_coordinator);
    assert_eq!(error(&harness.take(ended)), not_coordinator);
}
