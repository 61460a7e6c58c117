//! Rebalances begin, go on, and end: by themselves, by request, by another.

use foz_metadata::image::{Image, Rebalance, RebalanceGoal, RebalanceProgress, RebalanceState};
use foz_metadata::rules::{
    ErrorCode, PlannedRebalance, ProgressRebalance, RebalanceEnd, RebalanceMove, RebalanceStep,
    StartRebalance, StartedRebalance, acquire_operator_epoch, cancel_rebalance, progress_rebalance,
    start_rebalance,
};

use crate::support::*;

fn drain(ids: &[i32]) -> RebalanceGoal {
    RebalanceGoal::DrainBrokers(ids.iter().copied().collect())
}

fn added(ids: &[i32]) -> RebalanceGoal {
    RebalanceGoal::AddedBrokers(ids.iter().copied().collect())
}

fn request(goal: RebalanceGoal) -> StartRebalance {
    StartRebalance {
        goal,
        planned: PlannedRebalance::Moves {
            moves: 3,
            bytes: 300,
        },
        threshold_percent: 25,
        operator_epoch: 0,
    }
}

fn start(image: &mut Image, request: &StartRebalance) -> StartedRebalance {
    let decision = start_rebalance(image, request).unwrap();
    commit(image, decision)
}

fn started(image: &mut Image, goal: RebalanceGoal) -> i64 {
    match start(image, &request(goal)) {
        StartedRebalance::Started { rebalance_id, .. } => rebalance_id,
        other => panic!("{other:?}"),
    }
}

fn refused(image: &mut Image, request: &StartRebalance) -> String {
    let before = image.clone();
    match start(image, request) {
        StartedRebalance::Refused(why) => {
            assert_eq!(*image, before, "a refusal writes nothing");
            why
        }
        other => panic!("{other:?}"),
    }
}

fn progress(image: &mut Image, request: &ProgressRebalance) -> RebalanceStep {
    let decision = progress_rebalance(image, request).unwrap();
    commit(image, decision)
}

/// Begins the move of the one partition.
fn begin(image: &mut Image, rebalance_id: i64, to: &[i32]) -> RebalanceStep {
    let wanted = RebalanceMove {
        topic_id: image.topic("t").unwrap().id,
        index: 0,
        from: partition(image).replicas.clone(),
        to: to.to_vec(),
    };
    let step = ProgressRebalance {
        rebalance_id,
        begin: vec![wanted],
        ..ProgressRebalance::default()
    };
    progress(image, &step)
}

fn end(image: &mut Image, rebalance_id: i64, end: RebalanceEnd) -> bool {
    let step = ProgressRebalance {
        rebalance_id,
        end: Some(end),
        ..ProgressRebalance::default()
    };
    progress(image, &step).has_ended
}

fn cancel(image: &mut Image, rebalance_id: i64) -> bool {
    let decision = cancel_rebalance(image, rebalance_id, 0).unwrap();
    commit(image, decision)
}

fn newest(image: &Image) -> &Rebalance {
    image.rebalance().unwrap()
}

const BEGUN: RebalanceStep = RebalanceStep {
    begun: 1,
    called_off: 0,
    has_ended: false,
};

#[test]
fn a_rebalance_begins_once_and_is_kept() {
    let mut image = partition_on(5, &[0, 1, 2], "2");
    let id = image.offset() + 1;
    let expected = StartedRebalance::Started {
        rebalance_id: id,
        moves: 3,
        bytes: 300,
    };
    assert_eq!(start(&mut image, &request(RebalanceGoal::Full)), expected);
    let before = image.clone();
    // Asked again, whatever a plan says by now: the answer was lost.
    let again = StartRebalance {
        planned: PlannedRebalance::Nothing,
        ..request(RebalanceGoal::Full)
    };
    assert_eq!(start(&mut image, &again), expected);
    assert_eq!(image, before);
    assert_eq!(newest(&image).state, RebalanceState::Running);
    assert_eq!(begin(&mut image, id, &[3, 1, 2]), BEGUN);
    let restored = Image::decode(&image.encode()).unwrap();
    assert_eq!(restored, image);
    assert_eq!(restored.partitions_moved_by(id).count(), 1);
    // The next one has another id.
    assert!(cancel(&mut image, id));
    assert!(started(&mut image, RebalanceGoal::Full) > id);
}

#[test]
fn what_cannot_be_started_is_refused_in_words() {
    let mut image = partition_on(5, &[0, 1, 2], "2");
    let refusals = [
        (added(&[]), "broker_ids is empty: name at least one broker"),
        (
            added(&[3, 7]),
            "broker_ids names 7, which is not registered",
        ),
        (
            drain(&[1]),
            "broker 1 is not cordoned, so it would get new replicas while it is drained: cordon it first",
        ),
    ];
    for (goal, text) in refusals {
        assert_eq!(refused(&mut image, &request(goal)), text);
    }
    let impossible = StartRebalance {
        planned: PlannedRebalance::Impossible("no room".to_owned()),
        ..request(RebalanceGoal::Full)
    };
    assert_eq!(refused(&mut image, &impossible), "no room");
    let nothing = StartRebalance {
        planned: PlannedRebalance::Nothing,
        ..request(RebalanceGoal::Full)
    };
    assert_eq!(start(&mut image, &nothing), StartedRebalance::NothingToDo);
    assert_eq!(image.rebalance(), None);

    cordon_brokers(&mut image, &[1, 4], true);
    let id = started(&mut image, drain(&[1]));
    let text = refused(&mut image, &request(RebalanceGoal::Full));
    let expected = format!(
        "the drain of broker 1 is under way as rebalance {id}: wait for its end, or cancel it"
    );
    assert_eq!(text, expected);
    assert!(refused(&mut image, &request(added(&[3]))).contains("drain of broker 1"));
}

#[test]
fn only_the_newest_operator_starts_and_cancels() {
    let mut image = partition_on(5, &[0, 1, 2], "2");
    for holder in ["one", "two"] {
        let decision = acquire_operator_epoch(&image, holder).unwrap();
        commit(&mut image, decision);
    }
    let newest = image.operator_epoch();
    let by = |operator_epoch| StartRebalance {
        operator_epoch,
        ..request(RebalanceGoal::Full)
    };
    let stale = start_rebalance(&image, &by(newest - 1)).unwrap_err();
    assert_eq!(stale.code, ErrorCode::StaleOperatorEpoch);
    start(&mut image, &by(newest));
    let rebalance = image.rebalance().unwrap();
    assert_eq!(rebalance.operator_epoch, newest);
    let stale = cancel_rebalance(&image, rebalance.id, newest - 1).unwrap_err();
    assert_eq!(stale.code, ErrorCode::StaleOperatorEpoch);
}

#[test]
fn a_move_runs_to_its_end_and_its_preferred_leader_leads() {
    let mut image = partition_on(5, &[0, 1, 2], "2");
    let id = started(&mut image, RebalanceGoal::Full);
    assert_eq!(begin(&mut image, id, &[3, 1, 2]), BEGUN);
    let under_way: (&[i32], &[i32], &[i32]) = (&[3, 1, 2, 0], &[3], &[0]);
    assert_eq!(moving(&image), under_way);
    assert_eq!(partition(&image).rebalance_id, id);
    // It does not begin twice, and the rebalance does not end before it.
    assert_eq!(begin(&mut image, id, &[3, 1, 4]), RebalanceStep::default());
    assert!(!end(&mut image, id, RebalanceEnd::Completed));
    // Once 0 is away 1 leads; 3 takes over when it is in sync.
    fence(&mut image, 0);
    assert_eq!(partition(&image).leader, 1);
    propose(&mut image, &[1, 2, 3]).unwrap();
    assert_eq!(moving(&image), (&[3, 1, 2][..], &[][..], &[][..]));
    assert_eq!(
        (partition(&image).leader, partition(&image).rebalance_id),
        (3, 0)
    );
    assert!(end(&mut image, id, RebalanceEnd::Completed));
    assert_eq!(newest(&image).state, RebalanceState::Completed);
    assert_eq!(newest(&image).progress.seconds_left, Some(0));
    // It is over: nothing of it begins or ends any more.
    assert_eq!(begin(&mut image, id, &[4, 1, 2]), RebalanceStep::default());
    assert!(!end(
        &mut image,
        id,
        RebalanceEnd::Failed("late".to_owned())
    ));
    assert!(!cancel(&mut image, id));
}

#[test]
fn a_new_order_is_done_at_once() {
    let mut image = partition_on(5, &[0, 1, 2], "2");
    let id = started(&mut image, RebalanceGoal::Full);
    assert_eq!(begin(&mut image, id, &[2, 1, 0]), BEGUN);
    assert_eq!(moving(&image), (&[2, 1, 0][..], &[][..], &[][..]));
    assert_eq!(
        (partition(&image).leader, partition(&image).rebalance_id),
        (2, 0)
    );
}

#[test]
fn who_is_about_to_stop_does_not_get_to_lead_and_who_leads_goes_on() {
    // In a new order.
    let mut image = partition_on(5, &[0, 1, 2], "2");
    let id = started(&mut image, RebalanceGoal::Full);
    begin(&mut image, id, &[1, 0, 2]);
    assert_eq!(partition(&image).leader, 1);
    grant(&mut image, 2);
    begin(&mut image, id, &[2, 0, 1]);
    assert_eq!(moving(&image).0, [2, 0, 1]);
    assert_eq!(partition(&image).leader, 1);

    // At the end of a move.
    let mut image = partition_on(5, &[0, 1, 2], "1");
    let id = started(&mut image, RebalanceGoal::Full);
    begin(&mut image, id, &[1, 2, 3]);
    fence(&mut image, 0);
    assert_eq!(partition(&image).leader, 1);
    grant(&mut image, 1);
    assert_eq!(partition(&image).leader, 2);
    propose(&mut image, &[1, 2, 3]).unwrap();
    assert_eq!(moving(&image).0, [1, 2, 3]);
    assert_eq!(partition(&image).leader, 2);
}

#[test]
fn a_move_that_does_not_fit_any_more_does_not_begin() {
    let mut image = partition_on(6, &[0, 1, 2], "2");
    let id = started(&mut image, RebalanceGoal::Full);
    let none = RebalanceStep::default();
    assert_eq!(
        begin(&mut image, id + 1, &[3, 1, 2]),
        none,
        "another rebalance"
    );
    assert_eq!(begin(&mut image, id, &[3, 1]), none, "fewer replicas");
    assert_eq!(begin(&mut image, id, &[7, 1, 2]), none, "not registered");
    cordon_brokers(&mut image, &[3], true);
    assert_eq!(begin(&mut image, id, &[3, 1, 2]), none, "cordoned");
    fence(&mut image, 4);
    assert_eq!(begin(&mut image, id, &[4, 1, 2]), none, "away");
    let planned_for_others = RebalanceMove {
        topic_id: image.topic("t").unwrap().id,
        index: 0,
        from: vec![1, 0, 2],
        to: vec![5, 1, 2],
    };
    let gone = RebalanceMove {
        index: 9,
        ..planned_for_others.clone()
    };
    let step = ProgressRebalance {
        rebalance_id: id,
        begin: vec![planned_for_others, gone],
        ..ProgressRebalance::default()
    };
    assert_eq!(progress(&mut image, &step), none);
    fence(&mut image, 1);
    fence(&mut image, 2);
    assert_eq!(begin(&mut image, id, &[5, 1, 2]), none, "below the minimum");
    unfence(&mut image, 1);
    propose(&mut image, &[0, 1]).unwrap();
    assert_eq!(begin(&mut image, id, &[5, 1, 2]), BEGUN);
}

#[test]
fn what_somebody_else_moves_is_theirs() {
    let mut image = partition_on(6, &[0, 1, 2], "2");
    let id = started(&mut image, RebalanceGoal::Full);
    begin(&mut image, id, &[3, 1, 2]);
    // Even to where the rebalance moves it.
    reassign(&mut image, Some(&[3, 1, 2])).unwrap();
    assert_eq!(partition(&image).rebalance_id, 0);
    let theirs = (&[3, 1, 2, 0][..], &[3][..], &[0][..]);
    assert_eq!(moving(&image), theirs);
    let call_off = ProgressRebalance {
        rebalance_id: id,
        call_off: vec![(image.topic("t").unwrap().id, 0)],
        ..ProgressRebalance::default()
    };
    assert_eq!(progress(&mut image, &call_off), RebalanceStep::default());
    assert_eq!(moving(&image), theirs);
    assert!(
        end(&mut image, id, RebalanceEnd::Completed),
        "theirs goes on without it"
    );
    assert_eq!(moving(&image), theirs);
}

#[test]
fn a_move_that_cannot_end_is_called_off() {
    let mut image = partition_on(5, &[0, 1, 2], "2");
    let id = started(&mut image, RebalanceGoal::Full);
    begin(&mut image, id, &[3, 1, 2]);
    fence(&mut image, 3);
    let step = ProgressRebalance {
        rebalance_id: id,
        call_off: vec![(image.topic("t").unwrap().id, 0)],
        ..ProgressRebalance::default()
    };
    let called_off = RebalanceStep {
        called_off: 1,
        ..RebalanceStep::default()
    };
    assert_eq!(progress(&mut image, &step), called_off);
    assert_eq!(moving(&image), (&[1, 2, 0][..], &[][..], &[][..]));
    assert_eq!(partition(&image).rebalance_id, 0);
}

#[test]
fn a_cancellation_takes_its_moves_back() {
    let mut image = partition_on(5, &[0, 1, 2], "2");
    let id = started(&mut image, RebalanceGoal::Full);
    begin(&mut image, id, &[3, 1, 2]);
    assert!(!cancel(&mut image, id + 1));
    assert!(cancel(&mut image, id));
    assert_eq!(moving(&image), (&[1, 2, 0][..], &[][..], &[][..]));
    assert_eq!(newest(&image).state, RebalanceState::Cancelled);
    assert!(!cancel(&mut image, id), "it does not run any more");
}

#[test]
fn the_only_copy_of_what_was_acknowledged_is_not_taken_back() {
    let mut image = partition_on(4, &[0, 1], "1");
    let id = started(&mut image, RebalanceGoal::Full);
    begin(&mut image, id, &[2, 3]);
    // 2 has caught up, 3 has not; then the disks of 0 and 1 are lost.
    propose(&mut image, &[0, 1, 2]).unwrap();
    for node_id in [0, 1] {
        fence(&mut image, node_id);
        let empty = registration(node_id, 99);
        let decision = foz_metadata::rules::register_broker(&image, &empty).unwrap();
        commit(&mut image, decision);
    }
    assert_eq!(partition(&image).isr, [2]);
    let failed = RebalanceEnd::Failed("broker 1 was cordoned".to_owned());
    assert!(end(&mut image, id, failed));
    assert_eq!(newest(&image).state, RebalanceState::Failed);
    assert_eq!(newest(&image).message, "broker 1 was cordoned");
    let it = partition(&image);
    assert_eq!((it.rebalance_id, it.is_reassigning()), (0, true));
}

#[test]
fn a_drain_takes_the_place_of_another_and_the_moves_that_it_wants() {
    let mut image = cluster(6);
    let topic = foz_metadata::rules::NewTopic {
        assignments: vec![vec![0, 1, 2], vec![1, 2, 0], vec![0, 1, 2]],
        ..new_topic("t")
    };
    create(&mut image, topic);
    let id = started(&mut image, RebalanceGoal::Full);
    let topic_id = image.topic("t").unwrap().id;
    let wanted = |index, from: &[i32], to: &[i32]| RebalanceMove {
        topic_id,
        index,
        from: from.to_vec(),
        to: to.to_vec(),
    };
    let step = ProgressRebalance {
        rebalance_id: id,
        begin: vec![
            wanted(0, &[0, 1, 2], &[5, 1, 2]),
            wanted(1, &[1, 2, 0], &[5, 2, 0]),
            wanted(2, &[0, 1, 2], &[4, 1, 2]),
        ],
        ..ProgressRebalance::default()
    };
    assert_eq!(progress(&mut image, &step).begun, 3);
    cordon_brokers(&mut image, &[0, 4], true);
    let next = started(&mut image, drain(&[0, 4]));
    assert!(next > id);
    let moved_by = |index| image.partition("t", index).unwrap().rebalance_id;
    // The first leaves 0; the second does not, and the third goes to 4, which is to be empty.
    assert_eq!([0, 1, 2].map(moved_by), [next, 0, 0]);
    assert_eq!(image.reassigning_partitions().count(), 1);
    assert_eq!(newest(&image).id, next);
    // Another drain takes its place in turn.
    cordon_brokers(&mut image, &[1], true);
    assert!(started(&mut image, drain(&[1])) > next);
    assert_eq!(image.reassigning_partitions().count(), 0);
}

#[test]
fn a_drain_ends_when_its_brokers_are_empty() {
    let mut image = partition_on(5, &[0, 1, 2], "2");
    cordon_brokers(&mut image, &[0], true);
    // Somebody moves the last replica already.
    reassign(&mut image, Some(&[3, 1, 2])).unwrap();
    let nothing = StartRebalance {
        planned: PlannedRebalance::Nothing,
        ..request(drain(&[0]))
    };
    let StartedRebalance::Started {
        rebalance_id,
        moves: 0,
        ..
    } = start(&mut image, &nothing)
    else {
        panic!("it has to wait for that one");
    };
    assert!(!end(&mut image, rebalance_id, RebalanceEnd::Completed));
    propose(&mut image, &[0, 1, 2, 3]).unwrap();
    assert!(end(&mut image, rebalance_id, RebalanceEnd::Completed));
    assert_eq!(start(&mut image, &nothing), StartedRebalance::NothingToDo);
}

#[test]
fn how_far_it_is_is_written_when_it_differs() {
    let mut image = partition_on(5, &[0, 1, 2], "2");
    let rebalance_id = started(&mut image, RebalanceGoal::Full);
    let now = RebalanceProgress {
        moves_total: 5,
        moves_done: 2,
        bytes_total: 500,
        bytes_done: 250,
        seconds_left: Some(9),
    };
    let step = ProgressRebalance {
        rebalance_id,
        told: Some((now, "t-0 has 1 replica in sync and needs 2".to_owned())),
        ..ProgressRebalance::default()
    };
    progress(&mut image, &step);
    assert_eq!(newest(&image).progress, now);
    assert_eq!(
        newest(&image).message,
        "t-0 has 1 replica in sync and needs 2"
    );
    let again = progress_rebalance(&image, &step).unwrap();
    assert_eq!(again.records, []);
    let silent = ProgressRebalance { told: None, ..step };
    assert_eq!(progress_rebalance(&image, &silent).unwrap().records, []);
}
