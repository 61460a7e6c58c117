use super::*;

const LOCAL: FollowerLog = FollowerLog {
    leader_epoch: 7,
    start_offset: 10,
    end_offset: 100,
    high_watermark: 80,
};

const ANSWER: FetchedPartition = FetchedPartition {
    request_leader_epoch: 7,
    request_offset: 100,
    error: ErrorCode::None,
    high_watermark: 90,
    log_start_offset: 0,
    diverging_epoch: None,
    current_leader_epoch: -1,
};

/// Epochs 2 from 10, 4 from 50 and 6 from 90.
fn own_epochs(epoch: i32) -> Option<EpochEndOffset> {
    let (epoch, end_offset) = match epoch {
        ..2 => return None,
        2..4 => (2, 50),
        4..6 => (4, 90),
        _ => (6, 100),
    };
    Some(EpochEndOffset { epoch, end_offset })
}

fn step(answer: &FetchedPartition) -> Step {
    next_step(&LOCAL, answer, own_epochs)
}

fn diverging(epoch: i32, end_offset: i64) -> Step {
    step(&FetchedPartition {
        diverging_epoch: Some(EpochEndOffset { epoch, end_offset }),
        ..ANSWER
    })
}

fn failed(error: ErrorCode) -> FetchedPartition {
    FetchedPartition {
        error,
        high_watermark: -1,
        log_start_offset: -1,
        ..ANSWER
    }
}

#[test]
fn records_are_appended() {
    assert_eq!(step(&ANSWER), Step::Append);
}

#[test]
fn logs_are_cut_where_their_epochs_part() {
    assert_eq!(
        diverging(6, 95),
        Step::Truncate { to: 95 },
        "the leader's end of a common epoch"
    );
    assert_eq!(
        diverging(4, 120),
        Step::Truncate { to: 90 },
        "the own end of a common epoch"
    );
    assert_eq!(
        diverging(5, 70),
        Step::Truncate { to: 90 },
        "an epoch that only the leader has"
    );
    assert_eq!(
        diverging(3, 60),
        Step::Truncate { to: 50 },
        "below the high watermark: unclean"
    );
    assert_eq!(
        diverging(6, 100),
        Step::Truncate { to: 100 },
        "an epoch without records goes"
    );
}

/// A follower whose first epoch is later than all that the leader names used to cut nothing, and asked
/// for ever.
#[test]
fn a_log_without_a_common_epoch_goes_as_a_whole() {
    assert_eq!(diverging(1, 100), Step::Truncate { to: 10 });
    assert_eq!(diverging(1, 10), Step::Truncate { to: 10 });
    assert_eq!(diverging(1, 5), Step::Reset { to: 5 });
    assert_eq!(diverging(2, 3), Step::Reset { to: 3 });
}

#[test]
fn a_divergence_that_says_nothing_cuts_nothing() {
    for (epoch, end_offset) in [(-1, -1), (4, -1), (-1, 50)] {
        let reason = FailReason::BadDivergence { epoch, end_offset };
        assert_eq!(diverging(epoch, end_offset), Step::Failed(reason));
    }
}

#[test]
fn what_answers_an_old_question_is_ignored() {
    for stale in [
        FetchedPartition {
            request_offset: 90,
            ..ANSWER
        },
        FetchedPartition {
            request_leader_epoch: 6,
            ..ANSWER
        },
        FetchedPartition {
            request_offset: 90,
            ..failed(ErrorCode::FencedLeaderEpoch)
        },
    ] {
        assert_eq!(step(&stale), Step::Retry, "{stale:?}");
    }
}

#[test]
fn errors_are_waited_out_or_settled_by_metadata() {
    assert_eq!(
        step(&failed(ErrorCode::FencedLeaderEpoch)),
        Step::WaitForMetadata
    );
    for code in [
        ErrorCode::StaleBrokerEpoch,
        ErrorCode::UnknownLeaderEpoch,
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::UnknownTopicId,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::InconsistentTopicId,
        ErrorCode::KafkaStorageError,
        ErrorCode::CorruptMessage,
        ErrorCode::UnknownServerError,
    ] {
        assert_eq!(step(&failed(code)), Step::Retry, "{code}");
    }
    let moved = |current_leader_epoch| FetchedPartition {
        current_leader_epoch,
        ..failed(ErrorCode::NotLeaderOrFollower)
    };
    assert_eq!(step(&moved(8)), Step::WaitForMetadata);
    assert_eq!(step(&moved(7)), Step::Retry);
    let tiered = failed(ErrorCode::OffsetMovedToTieredStorage);
    assert_eq!(step(&tiered), Step::Failed(FailReason::TieredStorage));
}

fn out_of_range(local: &FollowerLog, start: i64, high_watermark: i64) -> Step {
    let answer = FetchedPartition {
        error: ErrorCode::OffsetOutOfRange,
        log_start_offset: start,
        high_watermark,
        ..ANSWER
    };
    next_step(local, &answer, own_epochs)
}

#[test]
fn a_follower_that_ends_before_the_leader_begins_starts_anew() {
    assert_eq!(out_of_range(&LOCAL, 101, 200), Step::Reset { to: 101 });
    assert_eq!(
        out_of_range(&LOCAL, 100, 200),
        Step::Retry,
        "by now it is in range"
    );
}

#[test]
fn a_leader_that_ends_earlier_makes_nobody_cut_without_an_epoch() {
    let Step::Failed(reason) = out_of_range(&LOCAL, 0, 50) else {
        panic!("cut without a reason");
    };
    assert_eq!(
        reason,
        FailReason::BeyondLeaderWithoutEpoch {
            end_offset: 100,
            high_watermark: 80,
            leader_start_offset: 0,
            leader_high_watermark: 50,
        }
    );
    assert!(reason.to_string().contains("offset 100"));
    assert_eq!(
        out_of_range(&LOCAL, -1, -1),
        Step::Failed(FailReason::LeaderStartUnknown { end_offset: 100 })
    );
}

#[test]
fn an_empty_log_has_nothing_to_lose() {
    let empty = FollowerLog {
        start_offset: 100,
        ..LOCAL
    };
    assert_eq!(out_of_range(&empty, 20, 50), Step::Reset { to: 20 });
}

#[test]
fn the_high_watermark_follows_the_leader_as_far_as_the_log_goes() {
    let progress = |high_watermark, log_start_offset| {
        let answer = FetchedPartition {
            high_watermark,
            log_start_offset,
            ..ANSWER
        };
        let progress = progress_after_append(&LOCAL, &answer);
        (progress.high_watermark, progress.log_start_offset)
    };
    assert_eq!(progress(90, 0), (90, 10));
    assert_eq!(progress(150, 60), (100, 60));
    assert_eq!(progress(70, 60), (80, 60), "a new leader may not know yet");
    assert_eq!(progress(90, 95), (90, 90));
    assert_eq!(progress(-1, -1), (80, 10));
}

#[test]
fn a_leader_that_lost_what_it_committed_is_not_followed_there() {
    let lost = |end_offset| {
        Step::Failed(FailReason::LeaderLostData {
            epoch: 7,
            end_offset,
            high_watermark: 80,
        })
    };
    for end_offset in [0, 79] {
        assert_eq!(diverging(7, end_offset), lost(end_offset));
    }
    assert!(matches!(diverging(7, 80), Step::Truncate { .. }));
}
