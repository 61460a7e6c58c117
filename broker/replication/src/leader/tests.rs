mod confirmation;
mod low_watermark;
mod proposals;
mod rest;

use super::*;

const LAG_MS: i64 = 30_000;
const SETTINGS: Settings = Settings {
    min_insync: 2,
    lag_time_max_ms: LAG_MS,
};

/// Broker epochs and racks by node; who is not named may not join.
#[derive(Default)]
struct Nodes(BTreeMap<i32, (i64, &'static str)>);

impl Cluster for Nodes {
    fn may_join(&self, node_id: i32) -> Option<i64> {
        self.0.get(&node_id).map(|&(epoch, _)| epoch)
    }

    fn is_alive(&self, node_id: i32) -> bool {
        self.0.contains_key(&node_id)
    }

    fn living_rack(&self, node_id: i32) -> Option<&str> {
        self.0.get(&node_id).map(|&(_, rack)| rack)
    }
}

fn nodes() -> Nodes {
    Nodes([(1, (11, "a")), (2, (12, "b")), (3, (13, "c"))].into())
}

fn log(end_offset: i64) -> LocalLog {
    LocalLog {
        start_offset: 0,
        end_offset,
        durable_offset: end_offset,
    }
}

fn assignment(isr: &[i32], partition_epoch: i32) -> Assignment {
    Assignment {
        replicas: vec![1, 2, 3],
        isr: isr.to_vec(),
        leader: 1,
        leader_epoch: 5,
        partition_epoch,
    }
}

fn fetch(node_id: i32, fetch_offset: i64) -> FollowerFetch {
    FollowerFetch {
        node_id,
        broker_epoch: i64::from(10 + node_id),
        fetch_offset,
        log_start_offset: 0,
    }
}

/// Node 1 leads with a log that ends at 100; 60 is known to be committed.
struct Case {
    leader: Leader,
    end: i64,
    now_ms: i64,
    nodes: Nodes,
}

impl Case {
    fn new(isr: &[i32]) -> Self {
        Self {
            leader: Leader::new(1, &assignment(isr, 7), SETTINGS, log(100), 60, 0),
            end: 100,
            now_ms: 0,
            nodes: nodes(),
        }
    }

    fn fetched(&mut self, node_id: i32, offset: i64) -> Effects {
        self.try_fetched(fetch(node_id, offset)).expect("served")
    }

    fn try_fetched(&mut self, fetch: FollowerFetch) -> Result<Effects, FetchRefused> {
        self.leader
            .fetched(fetch, log(self.end), &self.nodes, self.now_ms)
    }

    fn appended(&mut self, end: i64) -> Effects {
        self.end = end;
        self.leader.appended(log(end))
    }

    fn tick(&mut self, passed_ms: i64) -> Effects {
        self.now_ms += passed_ms;
        self.leader.tick(log(self.end), &self.nodes, self.now_ms)
    }

    fn answered(&mut self, proposal: &IsrProposal, outcome: ProposalOutcome) -> Effects {
        self.leader
            .answered(proposal, outcome, log(self.end), self.now_ms)
    }

    fn assigned(&mut self, isr: &[i32], partition_epoch: i32) -> Effects {
        self.leader.assignment_changed(
            &assignment(isr, partition_epoch),
            SETTINGS,
            log(self.end),
            self.now_ms,
        )
    }

    fn isr(&self) -> Vec<i32> {
        self.leader.isr().iter().copied().collect()
    }

    fn maximal_isr(&self) -> Vec<i32> {
        self.leader.maximal_isr().into_iter().collect()
    }
}

fn committed(isr: &[i32], partition_epoch: i32) -> ProposalOutcome {
    ProposalOutcome::Committed {
        leader_epoch: 5,
        partition_epoch,
        isr: isr.to_vec(),
    }
}

fn members(proposal: &IsrProposal) -> Vec<i32> {
    proposal
        .new_isr
        .iter()
        .map(|&(node_id, _)| node_id)
        .collect()
}

#[test]
fn the_high_watermark_is_the_least_of_the_isr() {
    let mut case = Case::new(&[1, 2, 3]);
    assert_eq!(
        case.fetched(2, 100).high_watermark,
        None,
        "3 is not heard of"
    );
    assert_eq!(case.fetched(3, 80).high_watermark, Some(80));
    assert_eq!(case.appended(120).high_watermark, None);
    assert_eq!(case.fetched(3, 120).high_watermark, Some(100));
    assert_eq!(case.leader.high_watermark(), 100);
}

#[test]
fn a_new_leader_trusts_nothing_that_was_told_to_an_earlier_epoch() {
    let mut case = Case::new(&[1, 2]);
    assert_eq!(case.leader.high_watermark(), 60);
    assert_eq!(case.appended(110).high_watermark, None);
    assert_eq!(case.tick(1_000), Effects::default());
    assert!(
        case.leader
            .followers()
            .all(|it| it.log_end_offset.is_none())
    );
}

#[test]
fn alone_the_leader_commits_what_is_durable() {
    let alone = Assignment {
        replicas: vec![1],
        isr: vec![1],
        ..assignment(&[], 0)
    };
    let settings = Settings {
        min_insync: 1,
        ..SETTINGS
    };
    let flushed = |durable_offset| LocalLog {
        durable_offset,
        ..log(100)
    };
    let mut leader = Leader::new(1, &alone, settings, flushed(70), 60, 0);
    assert_eq!(leader.high_watermark(), 70);
    assert_eq!(leader.appended(flushed(70)).high_watermark, None);
    assert_eq!(leader.appended(flushed(95)).high_watermark, Some(95));
}

#[test]
fn the_leader_counts_with_what_is_durable_beside_followers_too() {
    let mut case = Case::new(&[1, 2]);
    let local = LocalLog {
        durable_offset: 90,
        ..log(100)
    };
    let effects = case.leader.fetched(fetch(2, 100), local, &case.nodes, 0);
    assert_eq!(effects.expect("served").high_watermark, Some(90));
}

#[test]
fn below_min_insync_nothing_is_committed_until_the_isr_is_back() {
    let mut case = Case::new(&[1]);
    assert!(!case.leader.has_min_insync());
    assert_eq!(case.appended(110).high_watermark, None);
    let effects = case.fetched(2, 110);
    assert_eq!(effects.high_watermark, None);
    let proposal = effects.propose.expect("2 joins");
    assert!(!case.leader.has_min_insync(), "a proposal is not an ISR");
    let effects = case.answered(&proposal, committed(&[1, 2], 8));
    assert_eq!(effects.high_watermark, Some(110));
    assert!(case.leader.has_min_insync());
}

#[test]
fn a_lower_min_insync_lets_the_high_watermark_go_on() {
    let mut case = Case::new(&[1]);
    let settings = Settings {
        min_insync: 1,
        ..SETTINGS
    };
    let effects = case
        .leader
        .assignment_changed(&assignment(&[1], 7), settings, log(100), 0);
    assert_eq!(effects.high_watermark, Some(100));
}

#[test]
fn a_follower_joins_at_the_high_watermark_and_past_the_start_of_the_epoch() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.appended(130);
    assert_eq!(case.fetched(2, 130).high_watermark, Some(130));
    let _ = case.appended(150);
    assert_eq!(case.fetched(3, 129).propose, None);
    let proposal = case.fetched(3, 130).propose.expect("as far as committed");
    assert_eq!(proposal.new_isr, [(1, 11), (2, 12), (3, 13)]);
    assert_eq!((proposal.leader_epoch, proposal.partition_epoch), (5, 7));

    let mut case = Case::new(&[1, 2]);
    // Committed as far as this leader knows, but an earlier epoch may have committed up to 100.
    assert_eq!(case.fetched(3, 99).propose, None);
    assert!(case.fetched(3, 100).propose.is_some());
}

#[test]
fn who_is_dead_stopping_or_of_another_broker_epoch_does_not_join() {
    let mut case = Case::new(&[1, 2]);
    case.nodes.0.remove(&3);
    assert_eq!(case.fetched(3, 100).propose, None);
    case.nodes.0.insert(3, (13, "c"));
    let newer = FollowerFetch {
        broker_epoch: 14,
        ..fetch(3, 100)
    };
    // The leader's metadata is behind: served, but not taken in.
    assert_eq!(case.try_fetched(newer).expect("served").propose, None);
    case.nodes.0.insert(3, (14, "c"));
    let proposal = case.try_fetched(newer).expect("served").propose;
    assert_eq!(proposal.expect("joins").new_isr[2], (3, 14));
}

#[test]
fn a_stale_incarnation_is_refused() {
    let mut case = Case::new(&[1, 2, 3]);
    case.nodes.0.insert(3, (20, "c"));
    let refused = case.try_fetched(fetch(3, 100)).expect_err("stale");
    let (given, current) = (13, 20);
    let expected = FetchRefused::StaleBrokerEpoch {
        node_id: 3,
        given,
        current,
    };
    assert_eq!(refused, expected);
    assert_eq!(refused.code(), ErrorCode::NotLeaderOrFollower);
    // Also when it is the fetch that told of the newer one, and where no epoch is given.
    case.nodes.0.remove(&3);
    let newer = FollowerFetch {
        broker_epoch: 20,
        ..fetch(3, 100)
    };
    assert!(case.try_fetched(newer).is_ok());
    assert!(case.try_fetched(fetch(3, 100)).is_err());
    let nameless = FollowerFetch {
        broker_epoch: -1,
        ..fetch(3, 100)
    };
    assert!(case.try_fetched(nameless).is_err());
}

#[test]
fn who_is_no_replica_is_refused() {
    let mut case = Case::new(&[1, 2]);
    for node_id in [1, 9, -1] {
        let refused = case.try_fetched(fetch(node_id, 100)).expect_err("stranger");
        assert_eq!(refused, FetchRefused::NotReplica { node_id });
        assert_eq!(refused.code(), ErrorCode::UnknownLeaderEpoch);
    }
}

#[test]
fn offsets_that_the_log_does_not_have_do_not_count() {
    let mut case = Case::new(&[1, 2]);
    for offset in [101, -1, i64::MAX] {
        let refused = case
            .try_fetched(fetch(2, offset))
            .expect_err("out of range");
        assert_eq!(refused.code(), ErrorCode::OffsetOutOfRange);
    }
    assert_eq!(case.leader.high_watermark(), 60);
}

#[test]
fn a_member_that_fetches_from_before_the_log_is_removed_at_the_next_tick() {
    let mut case = Case::new(&[1, 2, 3]);
    let _ = case.fetched(2, 100);
    let _ = case.fetched(3, 100);
    let local = LocalLog {
        start_offset: 50,
        ..log(100)
    };
    let refused = case.leader.fetched(fetch(3, 10), local, &case.nodes, 0);
    assert!(refused.is_err());
    let proposal = case.tick(1).propose.expect("3 leaves");
    assert_eq!(members(&proposal), [1, 2]);
}

#[test]
fn a_member_that_fetches_below_the_high_watermark_leaves_at_once() {
    let mut case = Case::new(&[1, 2, 3]);
    let _ = case.fetched(2, 100);
    let _ = case.fetched(3, 100);
    assert_eq!(case.leader.high_watermark(), 100);
    let proposal = case.fetched(3, 70).propose.expect("an older disk");
    assert_eq!(members(&proposal), [1, 2]);
    // The controller could still elect it: nothing more is committed until it cannot.
    let _ = case.appended(110);
    assert_eq!(case.fetched(2, 110).high_watermark, None);
    // The proposal fails: again at the next tick, not with each fetch.
    assert_eq!(
        case.answered(&proposal, ProposalOutcome::Unknown),
        Effects::default()
    );
    assert_eq!(case.fetched(3, 71).propose, None);
    let proposal = case.tick(1).propose.expect("again");
    assert_eq!(members(&proposal), [1, 2]);
    let effects = case.answered(&proposal, committed(&[1, 2], 8));
    assert_eq!(effects.high_watermark, Some(110));
}

#[test]
fn a_member_whose_first_fetch_is_below_the_high_watermark_leaves_at_once() {
    let mut case = Case::new(&[1, 2, 3]);
    let proposal = case.fetched(3, 59).propose.expect("60 is committed");
    assert_eq!(members(&proposal), [1, 2]);
    let mut case = Case::new(&[1, 2, 3]);
    assert_eq!(case.fetched(3, 60).propose, None);
}

#[test]
fn a_follower_that_lags_leaves_after_the_lag_time() {
    let mut case = Case::new(&[1, 2, 3]);
    let _ = case.fetched(2, 100);
    let _ = case.fetched(3, 100);
    let _ = case.appended(200);
    assert_eq!(case.tick(LAG_MS).propose, None);
    let _ = case.fetched(2, 200);
    let proposal = case.tick(1).propose.expect("3 lags");
    assert_eq!(members(&proposal), [1, 2]);
    // It counts until its removal is committed.
    assert_eq!(case.maximal_isr(), [1, 2, 3]);
    assert_eq!(case.leader.high_watermark(), 100);
    let effects = case.answered(&proposal, committed(&[1, 2], 8));
    assert_eq!(effects.high_watermark, Some(200));
    assert_eq!(case.isr(), [1, 2]);
}

#[test]
fn a_member_that_is_never_heard_of_has_the_lag_time_too() {
    let mut case = Case::new(&[1, 2, 3]);
    assert_eq!(case.tick(LAG_MS).propose, None);
    assert_eq!(members(&case.tick(1).propose.expect("both lag")), [1]);
}

#[test]
fn at_the_end_of_the_log_nobody_lags() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    assert_eq!(case.tick(10 * LAG_MS), Effects::default());
}

#[test]
fn replicas_come_and_go_with_metadata() {
    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let moved = Assignment {
        replicas: vec![1, 2, 4],
        ..assignment(&[1, 2], 8)
    };
    let _ = case
        .leader
        .assignment_changed(&moved, SETTINGS, log(100), 0);
    assert!(case.try_fetched(fetch(3, 100)).is_err());
    assert!(case.try_fetched(fetch(4, 10)).is_ok());
    let known: Vec<_> = case
        .leader
        .followers()
        .map(|it| (it.node_id, it.log_end_offset))
        .collect();
    assert_eq!(known, [(2, Some(100)), (4, Some(10))]);
}

#[test]
fn a_consumer_is_sent_to_the_most_caught_up_replica_of_its_rack() {
    let mut case = Case::new(&[1, 2]);
    case.nodes = Nodes([(1, (11, "a")), (2, (12, "b")), (3, (13, "b"))].into());
    let _ = case.fetched(2, 100);
    let _ = case.fetched(3, 90);
    let rack_aware = |case: &Case, rack: &str, offset| {
        case.leader
            .preferred_read_replica(ReplicaSelector::RackAware, rack, offset, &case.nodes)
    };
    assert_eq!(rack_aware(&case, "b", 80), Some(2));
    assert_eq!(rack_aware(&case, "b", 100), Some(2));
    assert_eq!(rack_aware(&case, "b", 101), None, "nobody there has it");
    assert_eq!(rack_aware(&case, "a", 80), None, "the leader itself");
    assert_eq!(rack_aware(&case, "", 80), None);
    assert_eq!(rack_aware(&case, "z", 80), None);
    case.nodes.0.remove(&2);
    assert_eq!(rack_aware(&case, "b", 80), Some(3), "2 is dead");
    assert_eq!(rack_aware(&case, "b", 95), None);
    let deleted = FollowerFetch {
        log_start_offset: 85,
        ..fetch(3, 90)
    };
    assert!(case.try_fetched(deleted).is_ok());
    assert_eq!(rack_aware(&case, "b", 84), None);
    assert_eq!(rack_aware(&case, "b", 85), Some(3));
    let off = ReplicaSelector::Leader;
    assert_eq!(
        case.leader
            .preferred_read_replica(off, "b", 85, &case.nodes),
        None
    );
}

#[test]
fn only_who_is_not_waited_for_catches_up_at_leisure() {
    let mut case = Case::new(&[1, 2]);
    let at_leisure = |case: &Case, node_id, offset| {
        let local = log(case.end);
        case.leader.catches_up(node_id, offset, local)
    };
    let _ = case.fetched(2, 70);
    let _ = case.fetched(3, 10);
    assert!(at_leisure(&case, 3, 10));
    assert!(!at_leisure(&case, 2, 70), "the high watermark waits for 2");
    assert!(!at_leisure(&case, 3, 100), "nothing is missing");
    assert!(!at_leisure(&case, 9, 10), "no replica");
    // All that there was at its last fetch: by the next it may be in sync.
    let _ = case.appended(120);
    let _ = case.fetched(3, 100);
    assert!(!at_leisure(&case, 3, 100), "awaited");

    let mut case = Case::new(&[1, 2]);
    let _ = case.fetched(2, 100);
    let _ = case.appended(110);
    let proposal = case.fetched(3, 100).propose.expect("3 joins");
    let _ = case.answered(&proposal, ProposalOutcome::Unknown);
    assert!(!at_leisure(&case, 3, 100), "it may have joined");

    let mut case = Case::new(&[1]);
    let _ = case.fetched(3, 10);
    assert!(!at_leisure(&case, 3, 10), "producers wait for a second one");
}

#[test]
fn a_high_watermark_outside_the_log_is_brought_into_it() {
    let begin = |high_watermark| {
        let local = LocalLog {
            start_offset: 40,
            ..log(100)
        };
        Leader::new(
            1,
            &assignment(&[1, 2], 7),
            SETTINGS,
            local,
            high_watermark,
            0,
        )
        .high_watermark()
    };
    assert_eq!((begin(10), begin(50), begin(1_000)), (40, 50, 100));
}
