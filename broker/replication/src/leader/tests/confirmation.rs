use super::*;

/// A fetch at the end of the log, by somebody who knew an answer of this time.
fn fetched_after(case: &mut Case, node_id: i32, moment_ms: i64) {
    let _ = case.fetched(node_id, case.end);
    let _ = case.leader.fetch_was_made_after(node_id, moment_ms);
}

#[test]
fn every_member_that_could_be_elected_has_to_confirm() {
    let mut case = Case::new(&[1, 2, 3]);
    assert!(!case.leader.led_at(0));
    // However late it comes: nobody knows when it was made.
    case.now_ms = 100;
    let _ = case.fetched(2, 100);
    let _ = case.fetched(3, 100);
    assert!(!case.leader.led_at(0));
    fetched_after(&mut case, 2, 60);
    assert!(!case.leader.led_at(0), "3 may lead");
    fetched_after(&mut case, 3, 40);
    assert!(case.leader.led_at(39));
    assert!(
        !case.leader.led_at(40),
        "in the same millisecond, or before"
    );
    // An older one that comes late takes nothing back.
    fetched_after(&mut case, 3, 20);
    assert!(case.leader.led_at(39));
}

#[test]
fn who_is_out_of_sync_is_not_asked_while_the_isr_has_its_minimum() {
    let mut case = Case::new(&[1, 2]);
    fetched_after(&mut case, 2, 10);
    assert!(case.leader.led_at(9));
    // It joins: from the proposal on it may be elected.
    let proposal = case.fetched(3, 100).propose.expect("3 joins");
    assert!(!case.leader.led_at(9));
    let _ = case.answered(&proposal, ProposalOutcome::Unknown);
    assert!(!case.leader.led_at(9));
    let _ = case.leader.fetch_was_made_after(3, 10);
    assert!(case.leader.led_at(9));
}

#[test]
fn who_leaves_has_to_confirm_until_that_is_committed() {
    let mut case = Case::new(&[1, 2, 3]);
    fetched_after(&mut case, 2, 10);
    let _ = case.fetched(3, 100);
    let _ = case.appended(200);
    case.now_ms = LAG_MS;
    fetched_after(&mut case, 2, 20);
    let proposal = case.tick(1).propose.expect("3 lags");
    assert!(!case.leader.led_at(9));
    let _ = case.answered(&proposal, committed(&[1, 2], 8));
    assert!(case.leader.led_at(9));
}

#[test]
fn alone_a_leader_needs_nobody_unless_others_are_eligible() {
    let mut case = Case::new(&[1]);
    assert!(!case.leader.led_at(0), "2 and 3 may be in the ELR");
    fetched_after(&mut case, 2, 10);
    assert!(!case.leader.led_at(9));
    fetched_after(&mut case, 3, 10);
    assert!(case.leader.led_at(9));

    let settings = Settings {
        min_insync: 1,
        ..SETTINGS
    };
    let leader = Leader::new(1, &assignment(&[1], 7), settings, log(100), 60, 0);
    assert!(leader.led_at(i64::MAX - 1));
}

#[test]
fn another_epoch_and_another_disk_begin_anew() {
    let mut case = Case::new(&[1, 2]);
    fetched_after(&mut case, 2, 10);
    let next = Assignment {
        leader_epoch: 6,
        ..assignment(&[1, 2], 8)
    };
    let leader = Leader::new(1, &next, SETTINGS, log(100), 60, 0);
    assert!(!leader.led_at(9));
    // A replica that went and came back.
    let without = Assignment {
        replicas: vec![1, 3],
        ..assignment(&[1, 3], 8)
    };
    let _ = case
        .leader
        .assignment_changed(&without, SETTINGS, log(100), 0);
    let _ = case.assigned(&[1, 2], 9);
    assert!(!case.leader.led_at(9));
    // No replica at all.
    let _ = case.leader.fetch_was_made_after(9, 10);
    assert!(!case.leader.led_at(9));
}

#[test]
fn fetches_that_could_not_confirm_are_answered_for_those_that_can() {
    let mut case = Case::new(&[1, 2]);
    assert!(!case.leader.waits_for_later_than(0), "nobody asks");
    case.leader.ask(50);
    case.leader.ask(40);
    assert!(case.leader.waits_for_later_than(49));
    assert!(case.leader.waits_for_later_than(50));
    assert!(!case.leader.waits_for_later_than(51));
}

#[test]
fn those_who_ask_are_woken_when_it_may_help() {
    let mut case = Case::new(&[1, 2, 3]);
    let wakes = |leader: &mut Leader, node_id, moment_ms| {
        let _ = leader.fetched(fetch(node_id, 100), log(100), &case.nodes, 0);
        leader.fetch_was_made_after(node_id, moment_ms)
    };
    let leader = &mut case.leader;
    assert!(!wakes(leader, 2, 10));
    assert!(!wakes(leader, 3, 10), "nobody asks");
    leader.ask(20);
    leader.ask(50);
    assert!(!wakes(leader, 2, 30), "3 is missing");
    assert!(wakes(leader, 3, 30), "for whoever asked at 20");
    assert!(!wakes(leader, 2, 60));
    assert!(wakes(leader, 3, 60), "for whoever asked at 50");
    assert!(!wakes(leader, 2, 70));
    assert!(!wakes(leader, 3, 70), "all have their answer");
}

#[test]
fn a_later_look_at_a_fetch_says_nothing_about_the_follower() {
    let mut case = Case::new(&[1, 2, 3]);
    let old = fetch(3, 70);
    let _ = case.fetched(3, 70);
    let _ = case.fetched(2, 100);
    let _ = case.fetched(3, 100);
    assert_eq!(case.leader.high_watermark(), 100);
    let before = case.leader.clone();
    let checked = case.leader.check_fetch(old, log(100), &case.nodes);
    assert_eq!(checked, Ok(()));
    let effects = case.leader.tick(log(100), &case.nodes, 0);
    assert_eq!(effects, Effects::default(), "it is not taken for lagging");
    let states = |leader: &Leader| leader.followers().collect::<Vec<_>>();
    assert_eq!(states(&case.leader), states(&before));
}

#[test]
fn a_later_look_refuses_what_a_first_one_would() {
    let case = Case::new(&[1, 2, 3]);
    let check = |fetch| case.leader.check_fetch(fetch, log(100), &case.nodes);
    let stale = FollowerFetch {
        broker_epoch: 11,
        ..fetch(2, 100)
    };
    assert!(matches!(
        check(stale),
        Err(FetchRefused::StaleBrokerEpoch { .. })
    ));
    assert!(matches!(
        check(fetch(2, 101)),
        Err(FetchRefused::OffsetOutOfRange { .. })
    ));
    assert_eq!(
        check(fetch(9, 100)),
        Err(FetchRefused::NotReplica { node_id: 9 })
    );
}
