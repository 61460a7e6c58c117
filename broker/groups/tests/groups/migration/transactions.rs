//! Offsets of transactions that are open while their group changes its protocol.

use foz_groups::{AppendError, Request, WaiterId};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::TxnOffsetCommitRequest;

use super::members::*;
use crate::harness::*;
use crate::transactional_commits::{error, fetch_request, marker, told, txn_commit};

const NONE: i16 = 0;
const ILLEGAL_GENERATION: i16 = ResponseError::IllegalGeneration.code();
const LOADING: i16 = ResponseError::CoordinatorLoadInProgress.code();
const NOT_AVAILABLE: i16 = ResponseError::CoordinatorNotAvailable.code();
const UNKNOWN_MEMBER: i16 = ResponseError::UnknownMemberId.code();
const UNSTABLE: i16 = ResponseError::UnstableOffsetCommit.code();
const ONE: i64 = 4_001;
const OTHER: i64 = 4_002;

/// A member and its generation; nobody where the group is empty.
type Committer = (String, i32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToConsumer,
    ToClassic,
    /// Nobody is in it but who joins.
    EmptyToConsumer,
    EmptyToClassic,
}

impl Way {
    const ALL: [Self; 4] = [
        Self::ToConsumer,
        Self::ToClassic,
        Self::EmptyToConsumer,
        Self::EmptyToClassic,
    ];

    /// A group as it is before, with an offset of 5 in force.
    fn begin(self) -> (Harness, Committer) {
        let mut harness = harness();
        let nobody = || (String::new(), -1);
        let committer = match self {
            Self::ToConsumer => (classic_group(&mut harness).remove(0), 1),
            Self::ToClassic => {
                let (mut ids, _, generation) = mixed_group(&mut harness);
                (ids.remove(0), generation)
            }
            Self::EmptyToConsumer => {
                for id in classic_group(&mut harness) {
                    assert_eq!(harness.leave(&id), NONE);
                }
                nobody()
            }
            Self::EmptyToClassic => {
                assert_eq!(beat(&mut harness, native_join("new")).error_code, NONE);
                assert_eq!(beat(&mut harness, heartbeat("new", -1)).error_code, NONE);
                nobody()
            }
        };
        let (id, generation) = &committer;
        assert_eq!(harness.commit(id, *generation, "orders", 5), NONE);
        assert_eq!(group_type(&mut harness), [self.before()]);
        (harness, committer)
    }

    fn before(self) -> &'static str {
        match self {
            Self::ToConsumer | Self::EmptyToConsumer => "classic",
            Self::ToClassic | Self::EmptyToClassic => "consumer",
        }
    }

    fn after(self) -> &'static str {
        match self {
            Self::ToConsumer | Self::EmptyToConsumer => "consumer",
            Self::ToClassic | Self::EmptyToClassic => "classic",
        }
    }

    fn change(self, harness: &mut Harness) -> WaiterId {
        match self {
            Self::ToConsumer | Self::EmptyToConsumer => send_beat(harness, native_join("new")),
            Self::ToClassic => send_beat(harness, heartbeat("new", -1)),
            Self::EmptyToClassic => {
                let id = harness.member_id(classic_join("", &[]));
                harness.join(classic_join(&id, &[]))
            }
        }
    }
}

fn of((id, generation): &Committer, producer_id: i64, offset: i64) -> TxnOffsetCommitRequest {
    txn_commit(producer_id, "orders", offset)
        .with_member_id(text(id))
        .with_generation_id(*generation)
}

fn send_commit(harness: &mut Harness, request: TxnOffsetCommitRequest) -> WaiterId {
    harness.send(5, Request::TxnOffsetCommit(request))
}

fn commit(harness: &mut Harness, request: TxnOffsetCommitRequest) -> i16 {
    let waiter = send_commit(harness, request);
    error(&harness.take(waiter))
}

fn end(harness: &mut Harness, producer_id: i64, is_commit: bool) -> i16 {
    error(&harness.call(2, marker(producer_id, is_commit)))
}

fn fetch(harness: &mut Harness, require_stable: bool) -> Result<i64, i16> {
    told(&harness.call(9, fetch_request("orders", require_stable)))
}

/// The commit, the change of protocol and the marker, of which some are committed, and some more in the log, when another
/// coordinator takes over.
#[test]
fn what_a_transaction_commits_counts_with_its_marker_whatever_its_group_has_become() {
    for way in Way::ALL {
        for is_commit in [true, false] {
            for confirmed in 0..=3 {
                for kept in 0..=3 - confirmed {
                    fail_over(way, is_commit, confirmed, kept);
                }
            }
        }
    }
}

fn fail_over(way: Way, is_commit: bool, confirmed: usize, kept: usize) {
    let case = format!("{way:?}, commit {is_commit}, {confirmed} + {kept}");
    let (mut harness, committer) = way.begin();
    harness.confirms = false;
    send_commit(&mut harness, of(&committer, ONE, 8));
    way.change(&mut harness);
    harness.send(2, marker(ONE, is_commit));
    assert_eq!(harness.pending.len(), 3, "{case}");
    for _ in 0..confirmed {
        harness.confirm();
    }
    harness.restart_with_tail(kept);
    if kept > 0 {
        assert_eq!(fetch(&mut harness, false), Err(LOADING), "{case}");
        harness.confirm();
    }
    harness.confirms = true;
    let [has_commit, has_change, has_marker] = [1, 2, 3].map(|count| confirmed + kept >= count);
    let expected = if has_change {
        way.after()
    } else {
        way.before()
    };
    assert_eq!(group_type(&mut harness), [expected], "{case}");
    let expected = if has_marker && is_commit { 8 } else { 5 };
    assert_eq!(fetch(&mut harness, false), Ok(expected), "{case}");
    let stable = if has_commit && !has_marker {
        Err(UNSTABLE)
    } else {
        Ok(expected)
    };
    assert_eq!(fetch(&mut harness, true), stable, "{case}");
    // A transaction's coordinator that has not heard sends its marker again.
    assert_eq!(end(&mut harness, ONE, is_commit), NONE);
    let expected = if has_commit && is_commit { 8 } else { 5 };
    for restarts in [false, true] {
        if restarts {
            harness.restart();
        }
        assert_eq!(fetch(&mut harness, true), Ok(expected), "{case}");
        assert_eq!(fetch(&mut harness, false), Ok(expected), "{case}");
    }
    assert_eq!(harness.reloads, 0);
}

/// The change comes to nothing, or the commit that was on its way before it.
#[test]
fn a_change_of_protocol_that_cannot_be_written_leaves_transactions_as_they_are() {
    for way in Way::ALL {
        for is_commit in [true, false] {
            for fails_commit in [true, false] {
                let case = format!("{way:?}, commit {is_commit}, fails commit {fails_commit}");
                let (mut harness, committer) = way.begin();
                assert_eq!(commit(&mut harness, of(&committer, OTHER, 7)), NONE);
                harness.confirms = false;
                let committed = send_commit(&mut harness, of(&committer, ONE, 8));
                way.change(&mut harness);
                if fails_commit {
                    assert!(harness.fail(AppendError::NotAvailable), "{case}");
                } else {
                    harness.fail_newest(AppendError::NotAvailable);
                }
                harness.confirms = true;
                harness.confirm();
                let told = if fails_commit { NOT_AVAILABLE } else { NONE };
                assert_eq!(error(&harness.take(committed)), told, "{case}");
                let (expected, in_force) = if fails_commit {
                    (way.after(), 7)
                } else {
                    (way.before(), 8)
                };
                assert_eq!(group_type(&mut harness), [expected], "{case}");
                assert_eq!(fetch(&mut harness, false), Ok(5), "{case}");
                assert_eq!(fetch(&mut harness, true), Err(UNSTABLE), "{case}");
                for producer_id in [OTHER, ONE] {
                    assert_eq!(end(&mut harness, producer_id, is_commit), NONE);
                }
                let expected = if is_commit { in_force } else { 5 };
                assert_eq!(fetch(&mut harness, true), Ok(expected), "{case}");
                assert_eq!(harness.confirmed_offsets(), harness.offsets(), "{case}");
                assert_eq!(harness.reloads, 0);
            }
        }
    }
}

/// There and back: who speaks the classic protocol goes on in its transaction with the generation that it knows.
#[test]
fn members_go_on_in_their_transactions_while_their_group_changes_its_protocol() {
    for fails_over in [false, true] {
        let mut harness = harness();
        let restart = |harness: &mut Harness| {
            if fails_over {
                harness.restart();
            }
        };
        let ids = classic_group(&mut harness);
        let member = |id: &str, generation: i32| (id.to_owned(), generation);
        let [first, second] = [0, 1].map(|index| &*ids[index]);
        assert_eq!(commit(&mut harness, of(&member(first, 1), ONE, 6)), NONE);
        assert_eq!(commit(&mut harness, of(&member(first, 1), OTHER, 60)), NONE);

        assert_eq!(beat(&mut harness, native_join("new")).error_code, NONE);
        restart(&mut harness);
        assert_eq!(group_type(&mut harness), ["consumer"]);
        for ((id, generation), expected) in [
            (member(first, 1), NONE),
            (member(first, 2), ILLEGAL_GENERATION),
            (member("nobody", 1), UNKNOWN_MEMBER),
            (member("", -1), NONE),
        ] {
            let told = commit(&mut harness, of(&(id.clone(), generation), ONE, 7));
            assert_eq!(told, expected, "{id} at {generation}");
        }
        let mut has = [vec![0, 1], vec![2, 3]];
        for _ in 0..3 {
            for (id, has) in ids.iter().zip(&mut has) {
                let generation = rejoined(&mut harness, id, has);
                *has = synced(&mut harness, id, generation).expect("an assignment");
            }
        }
        assert!(has[0].contains(&0));
        assert_eq!(beat(&mut harness, owning("new", 2, &[])).member_epoch, 2);
        for ((id, generation), expected) in [
            (member(first, 2), NONE),
            // It has had the partition since then, and the other has not.
            (member(first, 1), NONE),
            (member(second, 1), ILLEGAL_GENERATION),
        ] {
            let told = commit(&mut harness, of(&(id.clone(), generation), ONE, 8));
            assert_eq!(told, expected, "{id} at {generation}");
        }
        assert_eq!(fetch(&mut harness, true), Err(UNSTABLE));

        assert_eq!(beat(&mut harness, heartbeat("new", -1)).error_code, NONE);
        restart(&mut harness);
        assert_eq!(group_type(&mut harness), ["classic"]);
        for ((id, generation), expected) in [
            (member("new", 2), UNKNOWN_MEMBER),
            (member(first, 1), ILLEGAL_GENERATION),
            (member(first, 2), NONE),
        ] {
            let told = commit(&mut harness, of(&(id.clone(), generation), ONE, 9));
            assert_eq!(told, expected, "{id} at {generation}");
        }
        let waiting = [0, 1].map(|index| harness.join(classic_join(&ids[index], &has[index])));
        for waiter in waiting {
            assert_eq!(harness.joined(waiter).generation_id, 3);
        }
        assert_eq!(
            commit(&mut harness, of(&member(first, 2), ONE, 10)),
            ILLEGAL_GENERATION
        );
        assert_eq!(commit(&mut harness, of(&member(first, 3), ONE, 11)), NONE);
        assert_eq!(fetch(&mut harness, false), Ok(-1));

        assert_eq!(end(&mut harness, OTHER, false), NONE);
        assert_eq!(fetch(&mut harness, true), Err(UNSTABLE));
        restart(&mut harness);
        assert_eq!(end(&mut harness, ONE, true), NONE);
        assert_eq!(fetch(&mut harness, true), Ok(11));
        assert_eq!(harness.confirmed_offsets(), harness.offsets());
        assert_eq!(harness.reloads, 0);
    }
}

/// The group began with them, and has them alone once its members have gone.
#[test]
fn a_group_of_either_protocol_outlives_offsets_that_are_aborted_as_long_as_it_has_members() {
    for fails_over in [false, true] {
        for joins_consumer in [true, false] {
            for leaves in [true, false] {
                let mut harness = harness();
                let nobody = (String::new(), -1);
                assert_eq!(commit(&mut harness, of(&nobody, ONE, 8)), NONE);
                assert_eq!(group_type(&mut harness), ["classic"]);
                let classic = if joins_consumer {
                    assert_eq!(beat(&mut harness, native_join("new")).error_code, NONE);
                    String::new()
                } else {
                    // It has gone to KIP-848 and back.
                    assert_eq!(beat(&mut harness, native_join("old")).error_code, NONE);
                    assert_eq!(beat(&mut harness, heartbeat("old", -1)).error_code, NONE);
                    let id = harness.member_id(classic_join("", &[]));
                    let waiter = harness.join(classic_join(&id, &[]));
                    harness.advance(3_000);
                    assert_eq!(harness.joined(waiter).error_code, NONE);
                    assign(&mut harness, &id, 1, &[(&id, &[0, 1, 2, 3])]);
                    id
                };
                let expected = if joins_consumer {
                    "consumer"
                } else {
                    "classic"
                };
                if leaves && joins_consumer {
                    assert_eq!(beat(&mut harness, heartbeat("new", -1)).error_code, NONE);
                } else if leaves {
                    assert_eq!(harness.leave(&classic), NONE);
                }
                if fails_over {
                    harness.restart();
                }
                assert_eq!(group_type(&mut harness), [expected]);
                assert_eq!(fetch(&mut harness, true), Err(UNSTABLE));
                assert_eq!(end(&mut harness, ONE, false), NONE);
                assert_eq!(group_type(&mut harness), [expected], "{leaves}");
                assert_eq!(fetch(&mut harness, true), Ok(-1));
                if !leaves && joins_consumer {
                    assert_eq!(beat(&mut harness, heartbeat("new", 1)).error_code, NONE);
                } else if !leaves {
                    assert_eq!(harness.heartbeat(&classic, 1), NONE);
                }
            }
        }
    }
}
