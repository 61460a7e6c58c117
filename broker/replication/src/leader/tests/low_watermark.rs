use super::*;

fn fetch_from(node_id: i32, log_start_offset: i64) -> FollowerFetch {
    FollowerFetch {
        log_start_offset,
        ..fetch(node_id, 100)
    }
}

#[test]
fn deletion_has_come_as_far_as_the_last_of_those_that_are_alive() {
    let mut case = Case::new(&[1, 2, 3]);
    let fetched = |case: &mut Case, node_id, start| {
        let taken = case
            .leader
            .fetched(fetch_from(node_id, start), log(100), &case.nodes, 0);
        let _ = taken.unwrap();
        assert_eq!(case.leader.follower_start_offset(node_id), start);
    };
    assert_eq!(
        case.leader.low_watermark(50, &case.nodes),
        -1,
        "nobody was heard of"
    );
    fetched(&mut case, 2, 50);
    assert_eq!(case.leader.follower_start_offset(3), -1);
    assert_eq!(case.leader.low_watermark(50, &case.nodes), -1);
    fetched(&mut case, 3, 20);
    assert_eq!(case.leader.low_watermark(50, &case.nodes), 20);
    fetched(&mut case, 3, 70);
    assert_eq!(case.leader.low_watermark(50, &case.nodes), 50);
    // It comes back with an older disk.
    fetched(&mut case, 2, 10);
    assert_eq!(case.leader.low_watermark(50, &case.nodes), 10);
    case.nodes.0.remove(&2);
    assert_eq!(
        case.leader.low_watermark(50, &case.nodes),
        50,
        "it is not alive"
    );
    case.nodes.0.clear();
    assert_eq!(
        case.leader.low_watermark(50, &case.nodes),
        50,
        "nor is anybody else"
    );
}

#[test]
fn what_followers_told_an_earlier_leader_epoch_does_not_count() {
    let mut case = Case::new(&[1, 2, 3]);
    let nodes = nodes();
    for node_id in [2, 3] {
        let taken = case
            .leader
            .fetched(fetch_from(node_id, 50), log(100), &nodes, 0);
        let _ = taken.unwrap();
    }
    assert_eq!(case.leader.low_watermark(50, &nodes), 50);
    let next = Assignment {
        leader_epoch: 6,
        ..assignment(&[1, 2, 3], 8)
    };
    let leader = Leader::new(1, &next, SETTINGS, log(100), 60, 0);
    assert_eq!(leader.low_watermark(50, &nodes), -1);
}
