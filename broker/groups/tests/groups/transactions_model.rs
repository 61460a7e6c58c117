//! Random commits, transactions, deletions, failures and restarts, against what the log says to somebody who reads it slowly
//! and from its beginning.

use std::collections::{BTreeMap, BTreeSet};

use foz_groups::{AppendError, Request};
use foz_records::{GroupCoordinatorKey, Message, OffsetCommitValue};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::DeleteGroupsRequest;
use proptest::prelude::*;

use crate::harness::*;
use crate::transactional_commits::{fetch_request, marker, told, txn_commit};

const TOPICS: [&str; 2] = ["orders", "other"];
const UNSTABLE: i16 = ResponseError::UnstableOffsetCommit.code();

#[derive(Debug, Clone)]
enum Step {
    Commit {
        topic: usize,
    },
    CommitInTransaction {
        producer_id: i64,
        topic: usize,
    },
    End {
        producer_id: i64,
        is_commit: bool,
    },
    DeleteGroup,
    DeleteTopic {
        topic: usize,
    },
    Expire,
    Advance {
        duration_ms: i64,
    },
    Confirm,
    Fail,
    Compact,
    /// So many of the appends under way are in the log, and not committed yet.
    Restart {
        kept: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let topic = || 0..TOPICS.len();
    let producer = || 1..4i64;
    let step = prop_oneof![
        3 => topic().prop_map(|topic| Step::Commit { topic }),
        8 => (producer(), topic())
            .prop_map(|(producer_id, topic)| Step::CommitInTransaction { producer_id, topic }),
        5 => (producer(), any::<bool>())
            .prop_map(|(producer_id, is_commit)| Step::End { producer_id, is_commit }),
        1 => Just(Step::DeleteGroup),
        1 => topic().prop_map(|topic| Step::DeleteTopic { topic }),
        1 => Just(Step::Expire),
        2 => prop_oneof![1..6_000i64, Just(8 * 24 * 60 * 60 * 1_000)]
            .prop_map(|duration_ms| Step::Advance { duration_ms }),
        10 => Just(Step::Confirm),
        1 => Just(Step::Fail),
        2 => Just(Step::Compact),
        2 => (0..6usize).prop_map(|kept| Step::Restart { kept }),
    ];
    prop::collection::vec(step, 1..100)
}

/// What the log says: the offset of each topic, and which topics are in transactions that are open.
#[derive(Debug, Default, PartialEq)]
struct Said {
    /// With the place of the record.
    offsets: BTreeMap<String, (usize, i64)>,
    open: BTreeMap<(i64, String), (usize, i64)>,
}

/// Offsets by topic, and those in transactions by producer and topic.
type Told<'a> = (Vec<(&'a str, i64)>, Vec<(i64, &'a str, i64)>);

impl Said {
    fn by(log: &[Logged]) -> Self {
        let mut said = Self::default();
        for (place, logged) in log.iter().enumerate() {
            if let (Some(producer_id), Some(is_commit)) = (logged.producer_id, logged.is_commit) {
                said.end(producer_id, is_commit);
                continue;
            }
            let Ok(Some(GroupCoordinatorKey::OffsetCommit(key))) =
                GroupCoordinatorKey::decode(&logged.key)
            else {
                continue;
            };
            let topic = key.topic.to_string();
            let value = logged.value.as_deref();
            let value = value.map(|value| {
                OffsetCommitValue::decode_prefixed(value).expect("it was encoded here")
            });
            match (value, logged.producer_id) {
                (None, _) => {
                    said.open.retain(|(_, open), _| *open != topic);
                    said.offsets.remove(&topic);
                }
                (Some(value), None) => {
                    said.offsets.insert(topic, (place, value.offset));
                }
                (Some(value), Some(producer_id)) => {
                    said.open
                        .insert((producer_id, topic), (place, value.offset));
                }
            }
        }
        said
    }

    fn end(&mut self, producer_id: i64, is_commit: bool) {
        let mut ended = Vec::new();
        self.open.retain(|(id, topic), value| {
            let is_ended = *id == producer_id;
            if is_ended {
                ended.push((topic.clone(), *value));
            }
            !is_ended
        });
        for (topic, (place, offset)) in ended {
            let known = self.offsets.get(&topic);
            if is_commit && known.is_none_or(|known| known.0 < place) {
                self.offsets.insert(topic, (place, offset));
            }
        }
    }

    fn without_places(&self) -> Told<'_> {
        let offsets = self.offsets.iter();
        let open = self.open.iter();
        (
            offsets.map(|(topic, it)| (topic.as_str(), it.1)).collect(),
            open.map(|((id, topic), it)| (*id, topic.as_str(), it.1))
                .collect(),
        )
    }

    fn open_topics(&self) -> BTreeSet<&str> {
        self.open.keys().map(|(_, topic)| topic.as_str()).collect()
    }
}

/// As the cleaner does below the first open transaction: of each key stays what is the newest and was not aborted. Markers
/// stay, too.
fn compact(log: &mut Vec<Logged>) {
    let before = Said::by(log);
    let mut ends = BTreeMap::new();
    let mut is_committed = vec![Some(true); log.len()];
    for (place, logged) in log.iter().enumerate().rev() {
        match (logged.producer_id, logged.is_commit) {
            (Some(producer_id), Some(is_commit)) => {
                ends.insert(producer_id, is_commit);
            }
            (Some(producer_id), None) => is_committed[place] = ends.get(&producer_id).copied(),
            (None, _) => {}
        }
    }
    let first_open = is_committed.iter().position(Option::is_none);
    let end = first_open.unwrap_or(log.len());
    let mut keys = BTreeSet::new();
    let mut stays = vec![true; log.len()];
    for place in (0..end).rev() {
        let logged = &log[place];
        stays[place] = logged.is_commit.is_some()
            || is_committed[place] == Some(true) && keys.insert(logged.key.clone());
    }
    let mut stays = stays.into_iter();
    log.retain(|_| stays.next().is_some_and(|stays| stays));
    assert_eq!(Said::by(log).without_places(), before.without_places());
}

fn take_step(harness: &mut Harness, step: &Step, offset: i64) {
    match *step {
        Step::Commit { topic } => {
            let request = commit_request("", -1, TOPICS[topic], offset);
            harness.send(9, Request::OffsetCommit(request));
        }
        Step::CommitInTransaction { producer_id, topic } => {
            let request = txn_commit(producer_id, TOPICS[topic], offset);
            harness.send(5, Request::TxnOffsetCommit(request));
        }
        Step::End {
            producer_id,
            is_commit,
        } => {
            harness.send(2, marker(producer_id, is_commit));
        }
        Step::DeleteGroup => {
            let names = vec![group_id(GROUP)];
            let request = DeleteGroupsRequest::default().with_groups_names(names);
            harness.send(2, Request::DeleteGroups(request));
        }
        Step::DeleteTopic { topic } => {
            let deleted = [TOPICS[topic]];
            let effects = harness.coordinator.on_topics_deleted(&deleted, harness.now);
            harness.absorb(effects);
        }
        Step::Expire => {
            let effects = harness.coordinator.expire_offsets(harness.now);
            harness.absorb(effects);
        }
        Step::Advance { duration_ms } => harness.advance(duration_ms),
        Step::Confirm => {
            harness.confirm();
        }
        Step::Fail => {
            harness.fail(AppendError::NotAvailable);
        }
        Step::Compact => compact(&mut harness.log),
        Step::Restart { kept } => harness.restart_with_tail(kept),
    }
}

/// The committed offsets; and, while nothing is under way, which of them are stable.
fn check(harness: &mut Harness) {
    if harness.is_loading() {
        return;
    }
    let log = harness.log.clone();
    let said = Said::by(&log);
    for topic in TOPICS {
        let expected = said.offsets.get(topic).map_or(-1, |(_, offset)| *offset);
        let any = told(&harness.call(9, fetch_request(topic, false)));
        assert_eq!(any, Ok(expected), "{topic}");
        if harness.pending.is_empty() {
            let stable = told(&harness.call(9, fetch_request(topic, true)));
            let expected = match said.open_topics().contains(topic) {
                true => Err(UNSTABLE),
                false => Ok(expected),
            };
            assert_eq!(stable, expected, "{topic}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_is_what_the_log_says(steps in steps()) {
        let mut harness = Harness::new();
        harness.confirms = false;
        for (index, step) in steps.iter().enumerate() {
            take_step(&mut harness, step, index as i64);
            harness.replies.clear();
            check(&mut harness);
        }
        while harness.confirm() {}
        assert!(harness.open.is_empty(), "never answered: {:?}", harness.open);
        check(&mut harness);
        harness.restart();
        check(&mut harness);
        // Without offsets, in force or in transactions, there is no group.
        let has_offsets = Said::by(&harness.log) != Said::default();
        let state = harness.state();
        assert_eq!(state == "Empty", has_offsets, "{state}");
    }
}
