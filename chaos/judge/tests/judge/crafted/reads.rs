//! What consumers and their groups see.

use foz_judge::Kind;
use foz_judge::event::*;

use crate::builder::History;
use crate::crafted::FOUR;

#[test]
fn poll_skip() {
    let mut history = History::with_written(4);
    history.final_read((0, 4), &FOUR).poll(9, &FOUR[..1]);
    history
        .clone()
        .poll(9, &FOUR[2..])
        .guilty_of(Kind::PollSkip);
    history.clone().poll(9, &FOUR[1..]).innocent();
    history.clone().assigned(9).poll(9, &FOUR[2..]).innocent();
    history.clone().seek(9, 2).poll(9, &FOUR[2..]).innocent();
    history
        .clone()
        .seek(9, 1)
        .poll(9, &FOUR[2..])
        .guilty_of(Kind::PollSkip);
    // A seek to the end.
    history.seek(9, -1).poll(9, &FOUR[3..]).innocent();
}

#[test]
fn poll_past_what_no_record_is_at() {
    // Offset 1 is a transaction's marker.
    let mut history = History::default();
    history.send(1, &[0, 2]).ack(1, &[0], 0).ack(1, &[2], 2);
    history
        .poll(9, &[(0, 0)])
        .poll(9, &[(2, 2)])
        .final_read((0, 3), &[(0, 0), (2, 2)])
        .innocent();
}

#[test]
fn poll_past_what_retention_took() {
    let moved = |deletes: bool| {
        let mut history = History::default();
        history
            .topic(deletes)
            .send(1, &[0, 1, 2, 3])
            .ack(1, &[0, 1, 2, 3], 0);
        history
            .poll(8, &FOUR)
            .poll(9, &FOUR[..1])
            .begin_offset(7, 3)
            .poll(9, &FOUR[3..]);
        history.final_read((0, 4), &FOUR);
        history
    };
    moved(true).innocent();
    moved(false).guilty_of(Kind::PollSkip);
}

#[test]
fn int_poll_skip() {
    let mut history = History::with_written(4);
    history.final_read((0, 4), &FOUR);
    history
        .clone()
        .poll(9, &[(0, 0), (2, 2)])
        .guilty_of(Kind::IntPollSkip);
    history.poll(9, &FOUR).innocent();
}

#[test]
fn nonmonotonic_poll() {
    let mut history = History::with_written(4);
    history.final_read((0, 4), &FOUR).poll(9, &FOUR[..2]);
    history
        .clone()
        .poll(9, &FOUR[1..])
        .guilty_of(Kind::NonmonotonicPoll);
    // A rebalance resets positions.
    history.clone().assigned(9).poll(9, &FOUR[1..]).innocent();
    history.clone().seek(9, 0).poll(9, &FOUR).innocent();
    history.poll(8, &FOUR).innocent();
}

#[test]
fn int_nonmonotonic_poll() {
    let mut history = History::with_written(2);
    history.final_read((0, 2), &FOUR[..2]);
    history
        .clone()
        .poll(9, &[(0, 0), (1, 1), (0, 0)])
        .guilty_of(Kind::IntNonmonotonicPoll);
    history.poll(9, &FOUR[..2]).innocent();
}

#[test]
fn committed_offset_regression() {
    let mut history = History::with_written(1);
    history.final_read((0, 1), &FOUR[..1]);
    history
        .commit(1, 5, Outcome::Ok, 0)
        .commit(1, 9, Outcome::Ok, 0);
    history
        .clone()
        .committed(2, Some(5), 0)
        .guilty_of(Kind::CommittedOffsetRegression);
    history
        .clone()
        .committed(2, None, 0)
        .guilty_of(Kind::CommittedOffsetRegression);
    history.clone().committed(2, Some(9), 0).innocent();
    // Asked before the last commit was answered.
    history.clone().committed(2, Some(5), 1_500).innocent();
    // Committed lower on purpose; or perhaps.
    history
        .clone()
        .commit(1, 3, Outcome::Ok, 0)
        .committed(2, Some(3), 0)
        .innocent();
    history
        .clone()
        .commit(1, 3, Outcome::Unknown, 0)
        .committed(2, Some(3), 0)
        .innocent();
    history
        .clone()
        .commit(1, 3, Outcome::Unknown, 0)
        .committed(2, Some(9), 0)
        .innocent();
    history
        .commit(1, 3, Outcome::Failed, 0)
        .committed(2, Some(3), 0)
        .guilty_of(Kind::CommittedOffsetRegression);
}

#[test]
fn end_offset_regression() {
    let mut history = History::with_written(4);
    history.final_read((0, 4), &FOUR).end_offset(7, 9, 0);
    history
        .clone()
        .end_offset(7, 8, 500)
        .guilty_of(Kind::EndOffsetRegression);
    history.end_offset(7, 9, 500).innocent();
}

#[test]
fn latest_backwards() {
    let mut history = History::with_written(4);
    history.final_read((0, 4), &FOUR);
    // Before what was acknowledged.
    history
        .clone()
        .end_offset(7, 3, 500)
        .guilty_of(Kind::LatestBackwards);
    history.clone().end_offset(7, 4, 500).innocent();
    // Before what another was told.
    history.end_offset(7, 9, 0);
    history
        .clone()
        .end_offset(8, 8, 500)
        .guilty_of(Kind::LatestBackwards);
    // Asked before the other was answered.
    history.end_offset(8, 8, 1_500).innocent();
}
