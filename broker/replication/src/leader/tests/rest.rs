use super::*;

/// No tick does anything, however late, and whoever is gone by then.
fn assert_rests(case: &Case) {
    assert!(case.leader.rests(log(case.end)));
    for nodes in [nodes(), Nodes::default()] {
        let mut later = case.leader.clone();
        let effects = later.tick(log(case.end), &nodes, case.now_ms + 100 * LAG_MS);
        assert_eq!(effects, Effects::default());
        assert_eq!(later.high_watermark(), case.end);
        assert!(later.rests(log(case.end)));
    }
}

fn assert_is_awake(case: &Case) {
    assert!(!case.leader.rests(log(case.end)));
}

#[test]
fn it_rests_when_everybody_has_all_until_something_happens() {
    let mut case = Case::new(&[1, 2, 3]);
    assert_is_awake(&case);
    let _ = case.fetched(2, 100);
    assert_is_awake(&case);
    let _ = case.fetched(3, 100);
    assert_rests(&case);
    let _ = case.appended(110);
    assert_is_awake(&case);
    let _ = case.fetched(2, 110);
    assert_is_awake(&case);
    let _ = case.fetched(3, 110);
    assert_rests(&case);
    // With an older disk.
    let _ = case.fetched(3, 90);
    assert_is_awake(&case);
    let _ = case.tick(0);
    assert_is_awake(&case);
}

#[test]
fn it_does_not_rest_without_all_replicas_or_while_something_is_proposed() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    assert_is_awake(&case);
    let proposal = case.fetched(3, 100).propose.expect("it joins");
    assert_is_awake(&case);
    let _ = case.answered(&proposal, committed(&[1, 2, 3], 8));
    assert_rests(&case);
    let _ = case.assigned(&[1, 2], 9);
    assert_is_awake(&case);
    let _ = case.assigned(&[1, 2, 3], 10);
    assert_rests(&case);
    let unknown = Settings {
        min_insync: 4,
        ..SETTINGS
    };
    let assignment = assignment(&[1, 2, 3], 10);
    let _ = (case.leader).assignment_changed(&assignment, unknown, log(100), case.now_ms);
    assert_is_awake(&case);
}

#[test]
fn an_outcome_that_nobody_knows_keeps_it_awake() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let proposal = case.fetched(3, 100).propose.expect("it joins");
    let _ = case.answered(&proposal, ProposalOutcome::Unknown);
    assert_is_awake(&case);
    let _ = case.assigned(&[1, 2, 3], 8);
    assert_rests(&case);
}

#[test]
fn who_is_alone_rests_when_its_log_is_on_the_disk() {
    let assignment = Assignment {
        replicas: vec![1],
        ..assignment(&[1], 7)
    };
    let settings = Settings {
        min_insync: 1,
        ..SETTINGS
    };
    let unflushed = LocalLog {
        durable_offset: 90,
        ..log(100)
    };
    let mut leader = Leader::new(1, &assignment, settings, unflushed, 60, 0);
    assert!(!leader.rests(unflushed));
    let _ = leader.appended(log(100));
    assert!(leader.rests(log(100)));
}
