use proptest::prelude::*;

use super::*;

fn at(partition: i32) -> TopicIdPartition {
    TopicIdPartition {
        topic_id: Uuid::from_u128(1),
        partition,
    }
}

fn how(fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition: 0,
        current_leader_epoch: 3,
        fetch_offset,
        last_fetched_epoch: -1,
        log_start_offset: 0,
        partition_max_bytes: 1_000,
        replica_directory_id: Uuid::nil(),
        high_watermark: i64::MAX,
    }
}

fn client(partitions: &[i32]) -> SessionClient {
    let mut client = SessionClient::new();
    for &partition in partitions {
        client.want(at(partition), how(0));
    }
    client
}

/// With session 9 open, and its next epoch 1.
fn in_session(partitions: &[i32]) -> SessionClient {
    let mut client = client(partitions);
    client.request();
    let all: Vec<_> = partitions.iter().map(|&it| at(it)).collect();
    client.answered(ErrorCode::None, 9, all, 0).expect("opened");
    client
}

fn ids(request: &SessionRequest) -> (i32, i32) {
    (request.session_id, request.session_epoch)
}

fn sent(request: &SessionRequest) -> Vec<i32> {
    request.to_send.iter().map(|(it, _)| it.partition).collect()
}

#[test]
fn the_first_request_has_everything_and_later_ones_what_changed() {
    let mut client = client(&[0, 1, 2]);
    let first = client.request();
    assert_eq!((ids(&first), sent(&first)), ((0, 0), vec![0, 1, 2]));
    client
        .answered(ErrorCode::None, 9, [at(0), at(1), at(2)], 0)
        .expect("opened");
    let second = client.request();
    assert_eq!((ids(&second), sent(&second)), ((9, 1), vec![]));
    client
        .answered(ErrorCode::None, 9, [at(1)], 0)
        .expect("continued");
    client.want(at(0), how(0));
    client.want(at(1), how(50));
    client.want(at(3), how(0));
    client.forget(&at(2));
    client.forget(&at(7));
    let third = client.request();
    assert_eq!((ids(&third), sent(&third)), ((9, 2), vec![1, 3]));
    assert_eq!(third.forgotten, [at(2)]);
}

#[test]
fn what_was_forgotten_and_is_wanted_again_is_sent_again() {
    let mut client = in_session(&[0, 1]);
    client.forget(&at(1));
    assert_eq!(client.request().forgotten, [at(1)]);
    client
        .answered(ErrorCode::None, 9, [], 0)
        .expect("continued");
    client.want(at(1), how(0));
    let request = client.request();
    assert_eq!((sent(&request), request.forgotten.len()), (vec![1], 0));
}

/// Else a partition whose answer could not be used would not hear of its high watermark again.
#[test]
fn forgotten_and_wanted_between_two_requests_is_told_anew_too() {
    let mut client = in_session(&[0, 1]);
    client.forget(&at(1));
    client.want(at(1), how(0));
    let request = client.request();
    assert_eq!((sent(&request), request.forgotten), (vec![], vec![at(1)]));
    assert!(client.has_more(), "nobody should wait for this answer");
    client
        .answered(ErrorCode::None, 9, [], 0)
        .expect("continued");
    let request = client.request();
    assert_eq!((sent(&request), request.forgotten.len()), (vec![1], 0));
    assert!(!client.has_more());
}

#[test]
fn a_lost_answer_ends_the_session_and_begins_another() {
    let mut client = in_session(&[0, 1]);
    client.want(at(1), how(50));
    client.request();
    client.failed();
    let request = client.request();
    assert_eq!((ids(&request), sent(&request).len()), ((9, 0), 2));
}

#[test]
fn errors_of_the_session_begin_it_anew() {
    for (error, next) in [
        (ErrorCode::FetchSessionIdNotFound, (0, 0)),
        (ErrorCode::InvalidFetchSessionEpoch, (9, 0)),
        (ErrorCode::FetchSessionTopicIdError, (9, 0)),
        (ErrorCode::UnknownServerError, (9, 0)),
    ] {
        let mut client = in_session(&[0]);
        client.request();
        let problem = client.answered(error, 0, [], 0);
        assert_eq!(problem, Err(SessionProblem::Refused(error)));
        let request = client.request();
        assert_eq!((ids(&request), sent(&request)), (next, vec![0]));
    }
}

#[test]
fn a_leader_without_room_gets_full_requests_that_begin_elsewhere_each_time() {
    let mut client = client(&[0, 1, 2]);
    let mut orders = Vec::new();
    for _ in 0..4 {
        let request = client.request();
        assert_eq!(ids(&request), (0, 0));
        orders.push(sent(&request));
        let all = [at(0), at(1), at(2)];
        client
            .answered(ErrorCode::None, NO_SESSION, all, 0)
            .expect("sessionless");
    }
    assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
}

#[test]
fn a_leader_may_end_the_session() {
    let mut client = in_session(&[0]);
    client.request();
    client
        .answered(ErrorCode::None, NO_SESSION, [], 0)
        .expect("usable");
    assert_eq!(ids(&client.request()), (0, 0));
}

#[test]
fn answers_that_do_not_fit_are_not_used() {
    let mut full = client(&[0, 1]);
    full.request();
    let problem = full.answered(ErrorCode::None, 9, [at(0)], 0);
    assert_eq!(problem, Err(SessionProblem::NotAnswered(at(1))));
    assert_eq!(
        ids(&full.request()),
        (9, 0),
        "the session it began is closed"
    );

    let mut full = client(&[0, 1]);
    full.request();
    let problem = full.answered(ErrorCode::None, 0, [], 100);
    assert_eq!(problem, Err(SessionProblem::Throttled));

    let mut incremental = in_session(&[0, 1]);
    incremental.request();
    let problem = incremental.answered(ErrorCode::None, 9, [at(2)], 0);
    assert_eq!(problem, Err(SessionProblem::NotAskedFor(at(2))));
    assert_eq!(ids(&incremental.request()), (9, 0));
}

#[test]
fn closing_tells_the_leader_once() {
    let mut client = in_session(&[0]);
    let last = client.close().expect("open");
    assert_eq!((ids(&last), sent(&last)), ((9, FINAL_EPOCH), vec![]));
    assert_eq!(client.close(), None);
    assert_eq!(ids(&client.request()), (0, 0));
}

#[test]
fn epochs_wrap_on_both_sides_alike() {
    let mut client = in_session(&[0]);
    client.session_epoch = i32::MAX;
    client.request();
    client
        .answered(ErrorCode::None, 9, [], 0)
        .expect("continued");
    assert_eq!(client.request().session_epoch, 1);
}

/// Both sides with a network that loses requests and answers, and sessions that come and go: what is
/// fetched is what is wanted, and what a follower was told last is what the leader has.
mod together {
    use std::collections::BTreeMap;

    use foz_protocol::fetch::{
        FetchPartitionResponse, FetchRequest, FetchTopic, ForgottenTopic, IsolationLevel,
    };
    use foz_protocol::topic::TopicRef;
    use kafka_protocol::protocol::StrBytes;

    use super::*;
    use crate::session::{SessionCache, SessionLimits};

    fn wire(request: &SessionRequest) -> FetchRequest {
        let topic = |it: &TopicIdPartition| TopicRef::Id(it.topic_id);
        FetchRequest {
            replica_id: 1,
            replica_epoch: 1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 0,
            isolation_level: IsolationLevel::ReadUncommitted,
            session_id: request.session_id,
            session_epoch: request.session_epoch,
            topics: request
                .to_send
                .iter()
                .map(|(it, how)| FetchTopic {
                    topic: topic(it),
                    partitions: vec![FetchPartition {
                        partition: it.partition,
                        ..*how
                    }],
                })
                .collect(),
            forgotten_topics: request
                .forgotten
                .iter()
                .map(|it| ForgottenTopic {
                    topic: topic(it),
                    partitions: vec![it.partition],
                })
                .collect(),
            rack_id: StrBytes::new(),
            cluster_id: None,
        }
    }

    proptest! {
        #[test]
        fn both_sides_agree(steps in proptest::collection::vec((0..8_u8, 0..6_i32), 1..200)) {
            let limits = SessionLimits { slots_max: 1, ..SessionLimits::default() };
            let mut cache = SessionCache::new(limits);
            let mut client = SessionClient::new();
            let mut leader: BTreeMap<i32, i64> = (0..6).map(|it| (it, 0)).collect();
            let mut told: BTreeMap<i32, i64> = BTreeMap::new();
            for (step, (what, which)) in steps.into_iter().enumerate() {
                let now_ms = i64::try_from(step).expect("small");
                match what {
                    0 => client.want(at(which), how(now_ms)),
                    1 => {
                        client.forget(&at(which));
                        told.remove(&which);
                    }
                    2 => *leader.get_mut(&which).expect("one of six") += 1,
                    3 if which == 0 => cache = SessionCache::new(limits),
                    _ if client.is_empty() => {}
                    3 => {
                        // The request is lost, or its answer.
                        let request = client.request();
                        if which % 2 == 0 {
                            let _ = cache.begin(&wire(&request), true, true, now_ms);
                        }
                        client.failed();
                    }
                    _ => {
                        let begun = cache.begin(&wire(&client.request()), true, true, now_ms);
                        let begun = match begun {
                            Ok(begun) => begun,
                            Err(error) => {
                                prop_assert!(client.answered(error, 0, [], 0).is_err());
                                continue;
                            }
                        };
                        let fetched: BTreeMap<i32, i64> = begun
                            .partitions
                            .iter()
                            .map(|(_, it)| (it.partition, it.fetch_offset))
                            .collect();
                        let sent: BTreeMap<i32, i64> = client
                            .sent
                            .iter()
                            .map(|(it, how)| (it.partition, how.fetch_offset))
                            .collect();
                        prop_assert_eq!(fetched, sent);
                        // Only what was forgotten and is wanted again waits for the next request.
                        if client.touched.is_empty() {
                            prop_assert_eq!(&client.sent, &client.wanted);
                        }
                        let mut answers = begun
                            .partitions
                            .iter()
                            .map(|(topic, it)| {
                                let high_watermark = leader[&it.partition];
                                let answer = FetchPartitionResponse::read(it.partition, high_watermark, 0, Vec::new());
                                (topic.clone(), answer)
                            })
                            .collect();
                        let random = u32::try_from(step).expect("small");
                        let session_id = cache.finish(&begun, &mut answers, random, now_ms).expect("in turn");
                        let named: Vec<_> = answers.iter().map(|(_, it)| at(it.partition)).collect();
                        prop_assert_eq!(client.answered(ErrorCode::None, session_id, named, 0), Ok(()));
                        told.extend(answers.iter().map(|(_, it)| (it.partition, it.high_watermark)));
                        for it in client.sent.keys() {
                            prop_assert_eq!(told.get(&it.partition), leader.get(&it.partition));
                        }
                    }
                }
            }
        }
    }
}
