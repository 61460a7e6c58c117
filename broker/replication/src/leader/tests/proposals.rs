use super::*;

#[test]
fn a_joining_follower_counts_from_the_proposal_on() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    assert!(case.fetched(3, 100).propose.is_some());
    assert_eq!(case.maximal_isr(), [1, 2, 3]);
    let _ = case.appended(120);
    assert_eq!(case.fetched(2, 120).high_watermark, None);
    assert_eq!(case.fetched(3, 110).high_watermark, Some(110));
}

#[test]
fn one_proposal_at_a_time() {
    let mut case = Case::new(&[1]);
    let first = case.fetched(2, 100).propose.expect("2 joins");
    assert_eq!(case.fetched(3, 100).propose, None);
    assert_eq!(case.tick(1).propose, None);
    assert_eq!(case.leader.proposal_in_flight(), Some(&first));
    let _ = case.answered(&first, committed(&[1, 2], 8));
    let second = case.fetched(3, 100).propose.expect("now 3");
    assert_eq!(
        (second.partition_epoch, members(&second)),
        (8, vec![1, 2, 3])
    );
}

#[test]
fn an_unknown_outcome_counts_as_both_until_it_is_settled() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let first = case.fetched(3, 100).propose.expect("3 joins");
    let _ = case.answered(&first, ProposalOutcome::Unknown);
    assert_eq!(
        (case.isr(), case.maximal_isr()),
        (vec![1, 2], vec![1, 2, 3])
    );
    // It is gone, and wanted no more; but it may be in the ISR.
    case.nodes.0.remove(&3);
    let _ = case.appended(120);
    assert_eq!(case.fetched(2, 120).high_watermark, None);
    // Asked again by a proposal that changes nothing. Refused, but the first one may be on its way yet.
    let second = case.tick(1).propose.expect("settles");
    assert_eq!(members(&second), [1, 2]);
    assert_eq!(
        case.answered(&second, committed(&[1, 2], 7)),
        Effects::default()
    );
    assert_eq!(case.maximal_isr(), [1, 2, 3]);
    // Not after the lag time.
    let third = case.tick(LAG_MS).propose.expect("settles");
    let effects = case.answered(&third, committed(&[1, 2], 7));
    assert_eq!(case.maximal_isr(), [1, 2]);
    assert_eq!(effects.high_watermark, Some(120));
}

#[test]
fn an_unknown_outcome_is_settled_by_the_next_answer_with_a_newer_epoch() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let first = case.fetched(3, 100).propose.expect("3 joins");
    let _ = case.answered(&first, ProposalOutcome::Unknown);
    case.nodes.0.remove(&3);
    let _ = case.appended(120);
    assert_eq!(case.fetched(2, 120).high_watermark, None);
    let second = case.tick(1).propose.expect("settles");
    assert_eq!((second.partition_epoch, members(&second)), (7, vec![1, 2]));
    // The first one was made against 7, and comes to nothing from here on.
    let effects = case.answered(&second, committed(&[1, 2], 8));
    assert_eq!(case.maximal_isr(), [1, 2]);
    assert_eq!(effects.high_watermark, Some(120));
    assert_eq!(case.tick(1).propose, None, "nothing is left to settle");
}

#[test]
fn a_controller_that_is_behind_has_not_applied_a_proposal() {
    let behind = || ProposalOutcome::refused(ErrorCode::NotController);
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let first = case.fetched(3, 100).propose.expect("3 joins");
    let _ = case.answered(&first, behind());
    assert_eq!(case.maximal_isr(), [1, 2]);
    assert_eq!(case.fetched(3, 100).propose, None, "not with each fetch");
    // Of an earlier one it knows nothing, however long ago that was.
    let second = case.tick(1).propose.expect("again");
    let _ = case.answered(&second, ProposalOutcome::Unknown);
    let third = case.tick(LAG_MS).propose.expect("again");
    let _ = case.answered(&third, behind());
    assert_eq!(case.maximal_isr(), [1, 2, 3]);
}

#[test]
fn newer_metadata_settles_an_unknown_outcome_at_once() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let proposal = case.fetched(3, 100).propose.expect("3 joins");
    let _ = case.answered(&proposal, ProposalOutcome::Unknown);
    let _ = case.appended(120);
    let _ = case.fetched(2, 120);
    case.nodes.0.remove(&3);
    assert_eq!(case.tick(1).high_watermark, None);
    assert_eq!(case.assigned(&[1, 2], 8).high_watermark, Some(120));
    assert_eq!(case.maximal_isr(), [1, 2]);
}

#[test]
fn what_was_surely_not_applied_is_dropped() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let proposal = case.fetched(3, 100).propose.expect("3 joins");
    let _ = case.appended(120);
    case.nodes.0.remove(&3);
    let _ = case.fetched(2, 120);
    // It was about to join, and holds the high watermark: while it is alive and caught up.
    let refused = ProposalOutcome::refused(ErrorCode::IneligibleReplica);
    assert_eq!(case.answered(&proposal, refused).high_watermark, None);
    assert_eq!(case.maximal_isr(), [1, 2]);
    assert_eq!(case.tick(1).high_watermark, Some(120));
}

#[test]
fn a_superseded_proposal_waits_for_metadata() {
    for code in [
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::InvalidUpdateVersion,
    ] {
        let mut case = Case::new(&[1, 2]);
        let _ = case.fetched(2, 100);
        let proposal = case.fetched(3, 100).propose.expect("3 joins");
        let _ = case.answered(&proposal, ProposalOutcome::refused(code));
        assert_eq!(
            case.maximal_isr(),
            [1, 2, 3],
            "an earlier attempt may have won"
        );
        assert_eq!(case.tick(1).propose, None);
        assert_eq!(case.fetched(3, 100).propose, None);
        let _ = case.assigned(&[1, 2], 9);
        let again = case.fetched(3, 100).propose.expect("3 joins");
        assert_eq!(again.partition_epoch, 9);
    }
}

#[test]
fn metadata_that_never_comes_does_not_hold_a_partition_for_ever() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let proposal = case.fetched(3, 100).propose.expect("3 joins");
    let _ = case.answered(&proposal, ProposalOutcome::Superseded);
    assert_eq!(case.tick(LAG_MS - 1).propose, None);
    assert!(case.tick(1).propose.is_some());
}

#[test]
fn metadata_may_come_before_the_answer() {
    let mut case = Case::new(&[1]);
    let proposal = case.fetched(2, 100).propose.expect("2 joins");
    let _ = case.assigned(&[1, 2], 8);
    assert_eq!(case.isr(), [1, 2]);
    assert_eq!(
        case.answered(&proposal, committed(&[1, 2], 8)),
        Effects::default()
    );
    assert_eq!(case.isr(), [1, 2]);
    // Metadata has moved on: the answer is old.
    let _ = case.assigned(&[1], 9);
    let _ = case.answered(&proposal, committed(&[1, 2], 8));
    assert_eq!((case.isr(), case.leader.partition_epoch()), (vec![1], 9));
}

#[test]
fn metadata_may_come_after_the_answer() {
    let mut case = Case::new(&[1]);
    let proposal = case.fetched(2, 100).propose.expect("2 joins");
    let _ = case.answered(&proposal, committed(&[1, 2], 8));
    for old in [6, 7, 8] {
        let _ = case.assigned(&[1], old);
        assert_eq!(case.isr(), [1, 2], "partition epoch {old} is not newer");
    }
    let other_epoch = Assignment {
        leader_epoch: 6,
        ..assignment(&[1], 9)
    };
    let _ = case
        .leader
        .assignment_changed(&other_epoch, SETTINGS, log(100), 0);
    assert_eq!(case.isr(), [1, 2], "another leader epoch is another leader");
}

#[test]
fn the_answer_to_an_earlier_attempt_is_not_that_to_a_later_one() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let first = case.fetched(3, 100).propose.expect("3 joins");
    // No answer at all: given up after the lag time.
    let _ = case.fetched(2, 100);
    let second = case.tick(LAG_MS).propose.expect("again");
    assert_eq!(first.new_isr, second.new_isr);
    let _ = case.answered(&first, ProposalOutcome::NotApplied);
    assert_eq!(case.leader.proposal_in_flight(), Some(&second));
    assert_eq!(case.maximal_isr(), [1, 2, 3]);
}

#[test]
fn an_answer_that_names_a_newer_leader_changes_nothing() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let proposal = case.fetched(3, 100).propose.expect("3 joins");
    let elsewhere = ProposalOutcome::Committed {
        leader_epoch: 6,
        partition_epoch: 8,
        isr: vec![2, 3],
    };
    assert_eq!(case.answered(&proposal, elsewhere), Effects::default());
    assert_eq!(
        (case.isr(), case.maximal_isr()),
        (vec![1, 2], vec![1, 2, 3])
    );
}

#[test]
fn under_load_the_high_watermark_waits_for_who_is_about_to_join() {
    let alone = Settings {
        min_insync: 1,
        ..SETTINGS
    };
    let mut case = Case::new(&[1]);
    let _ = case
        .leader
        .assignment_changed(&assignment(&[1], 7), alone, log(100), 0);
    assert_eq!(case.leader.high_watermark(), 100);
    let _ = case.fetched(2, 90);
    let _ = case.appended(110);
    case.now_ms = 10;
    // As far as the end was at its last fetch: caught up, though the end has moved on.
    let _ = case.fetched(2, 100);
    assert_eq!(case.appended(120).high_watermark, None, "it waits");
    let effects = case.fetched(2, 110);
    assert!(effects.propose.is_some() || case.leader.proposal_in_flight().is_some());
}

#[test]
fn who_was_about_to_join_and_went_silent_is_waited_for_no_longer_than_the_lag_time() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let proposal = case.fetched(3, 100).propose.expect("3 joins");
    let _ = case.answered(&proposal, ProposalOutcome::NotApplied);
    let _ = case.appended(120);
    case.now_ms = LAG_MS;
    assert_eq!(case.fetched(2, 120).high_watermark, None);
    case.now_ms += 1;
    let effects = case.leader.tick(log(120), &case.nodes, case.now_ms);
    assert_eq!(effects.high_watermark, Some(120));
}
