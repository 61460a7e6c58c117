use foz_protocol::fetch::{EpochEndOffset, FetchTopic, ForgottenTopic, IsolationLevel};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::*;
use crate::session::INITIAL_EPOCH;

const NOW_MS: i64 = 1_000;
const LIMITS: SessionLimits = SessionLimits {
    slots_max: 2,
    partitions_max: 100,
    eviction_ms: 1_000,
};

fn topic() -> TopicRef {
    TopicRef::Id(Uuid::from_u128(1))
}

fn wanted(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        current_leader_epoch: 0,
        fetch_offset,
        last_fetched_epoch: -1,
        log_start_offset: 0,
        partition_max_bytes: 1_000,
        replica_directory_id: Uuid::nil(),
        high_watermark: i64::MAX,
    }
}

fn request(session_id: i32, session_epoch: i32, partitions: &[i32]) -> FetchRequest {
    let topics = vec![FetchTopic {
        topic: topic(),
        partitions: partitions.iter().map(|&it| wanted(it, 0)).collect(),
    }];
    FetchRequest {
        replica_id: 1,
        replica_epoch: 1,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1_000_000,
        isolation_level: IsolationLevel::ReadUncommitted,
        session_id,
        session_epoch,
        topics,
        forgotten_topics: Vec::new(),
        rack_id: StrBytes::new(),
        cluster_id: None,
    }
}

fn forgetting(session_id: i32, session_epoch: i32, partitions: &[i32]) -> FetchRequest {
    FetchRequest {
        forgotten_topics: vec![ForgottenTopic {
            topic: topic(),
            partitions: partitions.to_vec(),
        }],
        ..request(session_id, session_epoch, &[])
    }
}

fn idle(partition: i32, high_watermark: i64) -> FetchPartitionResponse {
    FetchPartitionResponse::read(partition, high_watermark, 0, Vec::new())
}

fn with_records(partition: i32, high_watermark: i64) -> FetchPartitionResponse {
    let records = vec![b"records".to_vec().into()];
    FetchPartitionResponse::read(partition, high_watermark, 0, records)
}

/// Drives a cache as a broker does.
struct Case {
    cache: SessionCache,
    now_ms: i64,
    random: u32,
}

impl Case {
    fn new(limits: SessionLimits) -> Self {
        Self {
            cache: SessionCache::new(limits),
            now_ms: NOW_MS,
            random: 0,
        }
    }

    fn begin(&mut self, request: &FetchRequest) -> Result<Begun, ErrorCode> {
        self.cache.begin(request, true, true, self.now_ms)
    }

    /// The session id, and which partitions are sent.
    fn finish(
        &mut self,
        begun: &Begun,
        answers: Vec<FetchPartitionResponse>,
    ) -> (Result<i32, ErrorCode>, Vec<i32>) {
        let mut answers = answers.into_iter().map(|it| (topic(), it)).collect();
        self.random += 100;
        let result = self
            .cache
            .finish(begun, &mut answers, self.random, self.now_ms);
        let sent = answers.iter().map(|(_, it)| it.partition).collect();
        (result, sent)
    }

    /// Opens a session, or not.
    fn open(&mut self, is_follower: bool, partitions: &[i32]) -> i32 {
        let request = request(NO_SESSION, INITIAL_EPOCH, partitions);
        let begun = self
            .cache
            .begin(&request, is_follower, true, self.now_ms)
            .expect("full requests always begin");
        let answers = partitions.iter().map(|&it| idle(it, 5)).collect();
        let (session_id, sent) = self.finish(&begun, answers);
        assert_eq!(sent, partitions, "a full answer has everything");
        session_id.expect("full requests always end")
    }

    fn is_there(&self, session_id: i32) -> bool {
        lock(&self.cache.slots).contains(session_id)
    }
}

fn partitions(begun: &Begun) -> Vec<i32> {
    begun
        .partitions
        .iter()
        .map(|(_, it)| it.partition)
        .collect()
}

#[test]
fn an_incremental_answer_has_only_news() {
    let mut case = Case::new(LIMITS);
    let id = case.open(true, &[0, 1, 2, 3, 4, 5, 6]);
    assert!(id > 0);
    let begun = case.begin(&request(id, 1, &[])).expect("next epoch");
    assert_eq!(partitions(&begun), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(
        case.cache.last_sent_high_watermark(&begun, &topic(), 1),
        Some(5)
    );
    let answers = vec![
        idle(0, 5),
        idle(1, 6),
        with_records(2, 5),
        FetchPartitionResponse {
            log_start_offset: 1,
            ..idle(3, 5)
        },
        FetchPartitionResponse::failed(4, ErrorCode::NotLeaderOrFollower),
        FetchPartitionResponse {
            diverging_epoch: Some(EpochEndOffset {
                epoch: 1,
                end_offset: 1,
            }),
            ..idle(5, 5)
        },
        FetchPartitionResponse {
            preferred_read_replica: 2,
            ..idle(6, 5)
        },
    ];
    assert_eq!(
        case.finish(&begun, answers),
        (Ok(id), vec![1, 2, 3, 4, 5, 6])
    );
    let begun = case.begin(&request(id, 2, &[])).expect("next epoch");
    // What was told is told once; what failed is told again when it is well.
    let answers = vec![idle(0, 5), idle(1, 6), idle(4, 5)];
    assert_eq!(case.finish(&begun, answers), (Ok(id), vec![4]));
}

#[test]
fn who_got_records_is_served_last() {
    let mut case = Case::new(LIMITS);
    let id = case.open(true, &[0, 1, 2]);
    let begun = case.begin(&request(id, 1, &[])).expect("next epoch");
    let (_, sent) = case.finish(&begun, vec![with_records(0, 5), idle(1, 9), idle(2, 5)]);
    assert_eq!(sent, [0, 1]);
    let begun = case.begin(&request(id, 2, &[])).expect("next epoch");
    assert_eq!(partitions(&begun), [1, 2, 0]);
}

#[test]
fn partitions_come_change_and_go() {
    let mut case = Case::new(LIMITS);
    let id = case.open(true, &[0, 1]);
    let mut changes = forgetting(id, 1, &[1, 7]);
    changes.topics[0].partitions = vec![wanted(2, 0), wanted(0, 44)];
    let begun = case.begin(&changes).expect("next epoch");
    let offsets: Vec<_> = begun
        .partitions
        .iter()
        .map(|(_, it)| (it.partition, it.fetch_offset))
        .collect();
    assert_eq!(offsets, [(0, 44), (2, 0)]);
    assert_eq!(case.cache.partition_count(), 2);
    // 2 is new: everything about it is news. 1 is forgotten: nothing is.
    let answers = vec![idle(0, 5), idle(1, 6), idle(2, 0)];
    assert_eq!(case.finish(&begun, answers), (Ok(id), vec![2]));
}

#[test]
fn a_session_without_partitions_ends() {
    let mut case = Case::new(LIMITS);
    let id = case.open(true, &[0]);
    let begun = case.begin(&forgetting(id, 1, &[0])).expect("next epoch");
    assert_eq!(begun.kind, SessionKind::Sessionless);
    assert_eq!(
        case.finish(&begun, Vec::new()),
        (Ok(NO_SESSION), Vec::new())
    );
    assert_eq!(
        (case.cache.session_count(), case.cache.partition_count()),
        (0, 0)
    );
}

#[test]
fn epochs_and_ids_are_checked() {
    let mut case = Case::new(LIMITS);
    let id = case.open(true, &[0]);
    for epoch in [2, i32::MAX] {
        let wrong = case.begin(&request(id, epoch, &[]));
        assert_eq!(wrong, Err(ErrorCode::InvalidFetchSessionEpoch));
    }
    for (id, epoch) in [(id + 1, 1), (NO_SESSION, 1), (-5, 3), (id + 1, -2)] {
        let wrong = case.begin(&request(id, epoch, &[]));
        assert_eq!(wrong, Err(ErrorCode::FetchSessionIdNotFound));
    }
    let names = case.cache.begin(&request(id, 1, &[]), true, false, NOW_MS);
    assert_eq!(names, Err(ErrorCode::FetchSessionTopicIdError));
    assert!(
        case.begin(&request(id, 1, &[])).is_ok(),
        "none of them did harm"
    );
    let again = case.begin(&request(id, 1, &[]));
    assert_eq!(again, Err(ErrorCode::InvalidFetchSessionEpoch));
}

#[test]
fn the_epoch_after_the_largest_is_one() {
    let mut case = Case::new(LIMITS);
    let id = case.open(true, &[0]);
    let mut slots = lock(&case.cache.slots);
    slots.sessions.get_mut(&id).expect("open").epoch = i32::MAX;
    drop(slots);
    assert!(case.begin(&request(id, i32::MAX, &[])).is_ok());
    assert!(case.begin(&request(id, 1, &[])).is_ok());
}

#[test]
fn an_answer_that_a_newer_request_overtook_is_an_error() {
    let mut case = Case::new(LIMITS);
    let id = case.open(true, &[0]);
    let first = case.begin(&request(id, 1, &[])).expect("next epoch");
    let second = case.begin(&request(id, 2, &[])).expect("next epoch");
    let (result, sent) = case.finish(&first, vec![with_records(0, 9)]);
    assert_eq!(
        (result, sent),
        (Err(ErrorCode::InvalidFetchSessionEpoch), vec![])
    );
    let (result, sent) = case.finish(&second, vec![with_records(0, 9)]);
    assert_eq!((result, sent), (Ok(id), vec![0]));
}

#[test]
fn an_answer_of_a_session_that_made_room_is_an_error() {
    let mut case = Case::new(LIMITS);
    let id = case.open(true, &[0]);
    let begun = case.begin(&request(id, 1, &[])).expect("next epoch");
    lock(&case.cache.slots).remove(id);
    let (result, sent) = case.finish(&begun, vec![with_records(0, 9)]);
    assert_eq!(
        (result, sent),
        (Err(ErrorCode::FetchSessionIdNotFound), vec![])
    );
}

#[test]
fn full_requests_close_the_session_they_name() {
    for epoch in [INITIAL_EPOCH, FINAL_EPOCH] {
        let mut case = Case::new(LIMITS);
        let id = case.open(true, &[0]);
        let begun = case.begin(&request(id, epoch, &[0])).expect("full");
        assert!(!case.is_there(id));
        let (result, sent) = case.finish(&begun, vec![idle(0, 5)]);
        assert_eq!(sent, [0]);
        assert_eq!(result == Ok(NO_SESSION), epoch == FINAL_EPOCH);
    }
}

#[test]
fn consumers_cannot_touch_sessions_of_nodes() {
    let mut case = Case::new(LIMITS);
    let id = case.open(true, &[0]);
    let stolen = case.cache.begin(&request(id, 1, &[]), false, true, NOW_MS);
    assert_eq!(stolen, Err(ErrorCode::FetchSessionIdNotFound));
    for epoch in [INITIAL_EPOCH, FINAL_EPOCH] {
        assert!(
            case.cache
                .begin(&request(id, epoch, &[]), false, true, NOW_MS)
                .is_ok()
        );
        assert!(case.is_there(id));
    }
}

#[test]
fn a_session_that_takes_its_time_holds_up_no_other() {
    let mut case = Case::new(LIMITS);
    let (slow, other) = (case.open(true, &[0]), case.open(true, &[0]));
    let slow = lock(&case.cache.slots).partitions(slow).expect("open");
    let _busy = lock(&slow);
    let begun = case.begin(&request(other, 1, &[1])).expect("in turn");
    let (ended, sent) = case.finish(&begun, vec![idle(0, 6), idle(1, 6)]);
    assert_eq!((ended, sent), (Ok(other), vec![0, 1]));
}

#[test]
fn a_session_that_made_room_in_the_middle_of_a_request_is_not_found() {
    let mut case = Case::new(LIMITS);
    let id = case.open(true, &[0]);
    let turn = lock(&case.cache.slots).turn(id, 1, true, true);
    lock(&case.cache.slots).remove(id);
    let next_epoch = turn.expect("in turn").next_epoch;
    assert_eq!(lock(&case.cache.slots).used(id, 7, NOW_MS), Ok(()));
    assert_eq!(case.cache.partition_count(), 0, "nobody is counted");
    let answered = lock(&case.cache.slots).answered(id, next_epoch, NOW_MS);
    assert_eq!(answered.err(), Some(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn ids_are_positive_and_never_taken_twice() {
    let mut case = Case::new(SessionLimits {
        slots_max: 10,
        ..LIMITS
    });
    let mut ids = Vec::new();
    for random in [0, 1, 2, u32::MAX, u32::MAX - 1] {
        case.random = random.wrapping_sub(100);
        let begun = case
            .begin(&request(NO_SESSION, INITIAL_EPOCH, &[0]))
            .expect("full");
        let mut answers = vec![(topic(), idle(0, 5))];
        let id = case.cache.finish(&begun, &mut answers, random, NOW_MS);
        ids.push(id.expect("room"));
    }
    assert_eq!(ids, [1, 2, 3, i32::MAX, 4]);
}

#[test]
fn nobody_young_makes_room_for_its_equal() {
    let mut case = Case::new(LIMITS);
    let (first, second) = (case.open(false, &[0]), case.open(false, &[0]));
    assert_eq!(case.open(false, &[0, 1, 2]), NO_SESSION, "both are young");
    assert!(case.is_there(first) && case.is_there(second));
}

#[test]
fn a_follower_takes_the_place_of_a_consumer() {
    let mut case = Case::new(LIMITS);
    let (small, large) = (case.open(false, &[0]), case.open(false, &[0, 1]));
    let follower = case.open(true, &[0]);
    assert!(follower != NO_SESSION);
    assert!(
        !case.is_there(small) && case.is_there(large),
        "the smallest goes"
    );
    let other = case.open(true, &[0]);
    assert!(case.is_there(follower) && case.is_there(other) && !case.is_there(large));
    assert_eq!(
        case.open(true, &[0, 1, 2]),
        NO_SESSION,
        "followers are young"
    );
    assert_eq!(case.cache.eviction_count(), 2);
}

#[test]
fn the_old_and_small_make_room_for_the_larger() {
    let mut case = Case::new(LIMITS);
    let (small, large) = (case.open(false, &[0]), case.open(false, &[0, 1, 2]));
    // In use all the time, and old by now.
    for epoch in 1..=3 {
        case.now_ms += 600;
        for id in [small, large] {
            let kept = case
                .cache
                .begin(&request(id, epoch, &[]), false, true, case.now_ms);
            assert!(kept.is_ok());
        }
    }
    assert!(case.open(false, &[0, 1]) != NO_SESSION);
    assert!(!case.is_there(small) && case.is_there(large));
}

#[test]
fn the_idle_make_room_for_anyone() {
    let mut case = Case::new(LIMITS);
    let (first, second) = (case.open(true, &[0, 1, 2]), case.open(true, &[0, 1]));
    case.now_ms += LIMITS.eviction_ms;
    assert!(case.begin(&request(second, 1, &[])).is_ok());
    assert_eq!(case.open(false, &[0]), NO_SESSION);
    case.now_ms += 1;
    assert!(case.open(false, &[0]) != NO_SESSION);
    assert!(!case.is_there(first) && case.is_there(second));
}

#[test]
fn all_sessions_together_have_a_bound() {
    let mut case = Case::new(SessionLimits {
        partitions_max: 4,
        ..LIMITS
    });
    let first = case.open(true, &[0, 1, 2]);
    assert_eq!(case.open(true, &[0, 1]), NO_SESSION);
    assert_eq!(case.open(true, &[0, 1, 2, 3, 4]), NO_SESSION);
    let second = case.open(true, &[0]);
    assert!(second != NO_SESSION);
    let grown = case.begin(&request(second, 1, &[1, 2]));
    assert_eq!(grown, Err(ErrorCode::FetchSessionIdNotFound));
    assert!(case.is_there(first) && !case.is_there(second));
    assert_eq!(case.cache.partition_count(), 3);
}

#[test]
fn a_partition_that_is_named_twice_is_fetched_once() {
    let mut case = Case::new(LIMITS);
    let mut twice = request(NO_SESSION, INITIAL_EPOCH, &[0]);
    twice.topics[0].partitions.push(wanted(0, 7));
    let begun = case.begin(&twice).expect("full");
    assert_eq!(begun.partitions, [(topic(), wanted(0, 7))]);
}

#[test]
fn a_request_was_made_after_the_answer_that_it_follows_however_late_it_comes() {
    let mut case = Case::new(LIMITS);
    let full = request(NO_SESSION, INITIAL_EPOCH, &[0]);
    let begun = case.begin(&full).expect("begins");
    assert_eq!(begun.after_ms, None, "it may be from any time");
    case.now_ms = 2_000;
    let (session_id, _) = case.finish(&begun, vec![idle(0, 5)]);
    let session_id = session_id.expect("a session");
    case.now_ms = 3_000;
    let second = case.begin(&request(session_id, 1, &[])).expect("begins");
    assert_eq!(second.after_ms, Some(2_000));
    // Refused, and not answered yet: neither is an answer that anybody knows.
    case.now_ms = 4_000;
    assert!(case.begin(&request(session_id, 1, &[])).is_err());
    let (finished, sent) = case.finish(&second, vec![idle(0, 5)]);
    assert_eq!((finished, sent), (Ok(session_id), vec![]));
    case.now_ms = 9_000;
    let third = case.begin(&request(session_id, 2, &[])).expect("begins");
    assert_eq!(third.after_ms, Some(4_000), "an empty answer is one, too");
    let last = case.begin(&request(session_id, FINAL_EPOCH, &[0]));
    assert_eq!(last.expect("begins").after_ms, None);
}

/// A reader of committed records waits for it.
#[test]
fn a_last_stable_offset_that_moves_is_news() {
    let mut case = Case::new(SessionLimits::default());
    let session_id = case.open(false, &[0, 1]);
    let mut answer = |epoch, last_stable_offset| -> Vec<i32> {
        let begun = case
            .cache
            .begin(&request(session_id, epoch, &[]), false, true, NOW_MS);
        let unstable = FetchPartitionResponse {
            last_stable_offset,
            ..idle(0, 5)
        };
        case.finish(&begun.unwrap(), vec![unstable, idle(1, 5)]).1
    };
    assert!(answer(1, 5).is_empty());
    assert_eq!(answer(2, 3), [0]);
    assert!(answer(3, 3).is_empty());
    assert_eq!(answer(4, 5), [0]);
}
