//! Where a copy has to be cut so that its log can be followed from its end on. Pure.

/// First offset, and offset that the next record gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
}

/// What to do to the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alignment {
    GoOn,
    CutTo(i64),
    /// Nothing of it is of use: it begins anew, empty.
    BeginAt(i64),
}

/// `cut` is where the log ended at the lowest since it was copied last, below 0 where it was begun anew.
pub(super) fn align(cut: Option<i64>, log: Span, copy: Span) -> Alignment {
    let begin = Alignment::BeginAt(log.start);
    let end = copy.end.min(cut.unwrap_or(copy.end));
    if end < copy.end && end <= copy.start {
        return begin;
    }
    // All that it has was deleted, or it has what nobody can have told it. Or a crash has brought records back whose
    // deletion nobody was told of yet.
    if end < log.start || end > log.end || copy.start > log.start {
        return begin;
    }
    if end < copy.end {
        return Alignment::CutTo(end);
    }
    Alignment::GoOn
}

/// The log parts from the copy in `log_epoch`, which ends there at `log_epoch_end` (KIP-595). Where both agree at most;
/// `own` is the newest epoch of the copy that is not above `log_epoch`, with its end.
pub(super) fn common_end(log_epoch: i32, log_epoch_end: i64, own: Option<(i32, i64)>) -> i64 {
    match own {
        Some((epoch, end)) if epoch == log_epoch => end.min(log_epoch_end),
        // An epoch that only the log has: what comes after the copy's own one before it goes.
        Some((_, end)) => end,
        None => i64::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_goes_on_where_its_log_still_is_what_it_was() {
        let span = |start, end| Span { start, end };
        for (n, (cut, log, copy, expected)) in [
            (None, span(0, 9), span(0, 5), Alignment::GoOn),
            (None, span(3, 9), span(0, 5), Alignment::GoOn),
            (None, span(5, 9), span(0, 5), Alignment::GoOn),
            (None, span(6, 9), span(0, 5), Alignment::BeginAt(6)),
            (None, span(6, 6), span(6, 6), Alignment::GoOn),
            (None, span(0, 4), span(0, 5), Alignment::BeginAt(0)),
            (Some(5), span(0, 7), span(0, 5), Alignment::GoOn),
            (Some(4), span(0, 7), span(0, 5), Alignment::CutTo(4)),
            (Some(4), span(4, 7), span(0, 5), Alignment::CutTo(4)),
            // It goes on behind what was cut and deleted.
            (Some(3), span(4, 7), span(0, 5), Alignment::BeginAt(4)),
            (Some(2), span(0, 7), span(2, 5), Alignment::BeginAt(0)),
            (Some(1), span(0, 7), span(2, 5), Alignment::BeginAt(0)),
            (Some(-1), span(3, 3), span(0, 5), Alignment::BeginAt(3)),
            (Some(-1), span(9, 9), span(0, 5), Alignment::BeginAt(9)),
            (Some(7), span(0, 7), span(7, 7), Alignment::BeginAt(0)),
            (None, span(0, 9), span(1, 5), Alignment::BeginAt(0)),
            (Some(7), span(7, 7), span(7, 7), Alignment::GoOn),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(align(cut, log, copy), expected, "row {n}");
        }
    }

    #[test]
    fn logs_agree_up_to_the_end_of_the_last_epoch_that_both_have() {
        assert_eq!(common_end(5, 90, Some((5, 100))), 90);
        assert_eq!(common_end(5, 90, Some((5, 80))), 80);
        assert_eq!(common_end(5, 90, Some((3, 70))), 70);
        assert_eq!(common_end(5, 90, None), i64::MIN);
    }
}
