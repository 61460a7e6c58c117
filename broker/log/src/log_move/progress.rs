//! What a move does next. Pure.

/// A copy that has less than this to catch up with, and to flush, holds writers up for a moment only.
const NEAR_BYTES: u64 = 256 << 10;
/// Nobody waits for more than this at the end of a move, however fast the log grows.
pub(crate) const MISSING_BYTES_MAX: u64 = 4 << 20;
/// So often it is tried to come nearer than that.
const ROUNDS_MAX: u32 = 10;
/// As much is written before it is flushed: a disk takes its time for more, and others wait for it.
const UNFLUSHED_BYTES_MAX: u64 = 64 << 20;

/// A log and its copy at one moment: [`super::LogMove::seen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The log was cut or begun anew since it was copied last, or begins behind the copy.
    pub is_cut: bool,
    /// A start after a crash has not checked the whole copy yet.
    pub is_unchecked: bool,
    /// Bytes that are not copied.
    pub missing_bytes: u64,
    /// Bytes of the copy that a power failure could take.
    pub unflushed_bytes: u64,
    /// A pass of compaction is at work on the log.
    pub is_compacted: bool,
    /// The other directory has room for more, and neither of the two waits for checkpoints.
    pub has_room: bool,
    /// The log or its copy was begun anew, and there was no room yet to say so.
    pub waits_for_checkpoint: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveAct {
    /// [`super::LogMove::follow_cuts`].
    Cut,
    /// [`super::LogMove::check`].
    Check,
    /// [`super::LogMove::copy`].
    Copy,
    /// [`super::LogMove::flush`].
    Flush,
    /// Keep writers out, and [`crate::LogDirectory::finish_move`].
    Swap,
    /// Ask again in a while.
    Wait,
}

/// How near a move is to its end. It is not kept: after a start it begins anew.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MoveProgress {
    rounds: u32,
}

impl MoveProgress {
    /// The first that is to be done.
    pub fn next(&mut self, seen: Seen) -> MoveAct {
        if seen.is_cut {
            return MoveAct::Cut;
        }
        if seen.is_unchecked {
            return MoveAct::Check;
        }
        if seen.waits_for_checkpoint {
            return MoveAct::Wait;
        }
        if seen.unflushed_bytes >= UNFLUSHED_BYTES_MAX {
            return MoveAct::Flush;
        }
        let left = seen.missing_bytes.saturating_add(seen.unflushed_bytes);
        let is_near = left < NEAR_BYTES || (self.rounds >= ROUNDS_MAX && left < MISSING_BYTES_MAX);
        if is_near && seen.is_compacted {
            return MoveAct::Wait;
        }
        if is_near && (seen.has_room || seen.missing_bytes == 0) {
            return MoveAct::Swap;
        }
        if seen.missing_bytes < NEAR_BYTES && seen.unflushed_bytes > 0 {
            self.rounds = self.rounds.saturating_add(1);
            return MoveAct::Flush;
        }
        match seen.has_room {
            true => MoveAct::Copy,
            false => MoveAct::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seen = Seen {
        is_cut: false,
        is_unchecked: false,
        missing_bytes: 0,
        unflushed_bytes: 0,
        is_compacted: false,
        has_room: true,
        waits_for_checkpoint: false,
    };

    #[test]
    fn each_state_has_one_act() {
        let mib = 1 << 20;
        let cut = |seen| Seen {
            is_cut: true,
            ..seen
        };
        let missing = |missing_bytes| Seen {
            missing_bytes,
            ..SEEN
        };
        let unflushed = |unflushed_bytes, seen| Seen {
            unflushed_bytes,
            ..seen
        };
        let full = |seen| Seen {
            has_room: false,
            ..seen
        };
        let compacted = |seen| Seen {
            is_compacted: true,
            ..seen
        };
        let unchecked = |seen| Seen {
            is_unchecked: true,
            ..seen
        };
        let waiting = |seen| Seen {
            has_room: false,
            waits_for_checkpoint: true,
            ..seen
        };
        let (late, early) = (MoveProgress { rounds: 10 }, MoveProgress::default());
        for (n, (progress, seen, act)) in [
            (early, SEEN, MoveAct::Swap),
            (early, cut(full(missing(mib))), MoveAct::Cut),
            (early, cut(unchecked(SEEN)), MoveAct::Cut),
            (early, unchecked(full(missing(mib))), MoveAct::Check),
            (late, unchecked(SEEN), MoveAct::Check),
            (early, missing(mib), MoveAct::Copy),
            (early, full(missing(mib)), MoveAct::Wait),
            (early, full(missing(1000)), MoveAct::Wait),
            (early, full(SEEN), MoveAct::Swap),
            (early, missing(NEAR_BYTES - 1), MoveAct::Swap),
            (early, missing(NEAR_BYTES), MoveAct::Copy),
            (early, unflushed(NEAR_BYTES, SEEN), MoveAct::Flush),
            (early, unflushed(64 * mib, missing(mib)), MoveAct::Flush),
            (
                early,
                unflushed(64 * mib, full(missing(mib))),
                MoveAct::Flush,
            ),
            (early, unflushed(mib, missing(mib)), MoveAct::Copy),
            (early, unflushed(mib, full(missing(1000))), MoveAct::Flush),
            (late, unflushed(mib, missing(mib)), MoveAct::Swap),
            (late, unflushed(2 * mib, missing(2 * mib)), MoveAct::Copy),
            (late, unflushed(4 * mib, missing(0)), MoveAct::Flush),
            (early, compacted(SEEN), MoveAct::Wait),
            (early, compacted(missing(mib)), MoveAct::Copy),
            (early, waiting(SEEN), MoveAct::Wait),
            (late, waiting(unflushed(mib, SEEN)), MoveAct::Wait),
            (early, waiting(cut(SEEN)), MoveAct::Cut),
            (early, waiting(unchecked(SEEN)), MoveAct::Check),
        ]
        .into_iter()
        .enumerate()
        {
            let mut progress = progress;
            assert_eq!(progress.next(seen), act, "row {n}");
        }
    }

    /// However fast the log grows while it is flushed, as long as it grows by less than what writers may wait for.
    #[test]
    fn a_move_comes_to_its_end_under_load() {
        for growth in [0, 1000, NEAR_BYTES, 3 << 20] {
            let mut progress = MoveProgress::default();
            let (mut missing_bytes, mut unflushed_bytes) = (1_u64 << 30, 0);
            let mut acts = 0;
            loop {
                acts += 1;
                assert!(acts < 1000, "it does not end with {growth}");
                let seen = Seen {
                    missing_bytes,
                    unflushed_bytes,
                    ..SEEN
                };
                match progress.next(seen) {
                    MoveAct::Copy => {
                        let copied = missing_bytes.min(8 << 20);
                        missing_bytes -= copied;
                        unflushed_bytes += copied;
                    }
                    MoveAct::Flush => {
                        unflushed_bytes = 0;
                        missing_bytes += growth;
                    }
                    MoveAct::Swap => break,
                    act => panic!("{act:?}"),
                }
            }
            assert!(missing_bytes + unflushed_bytes < MISSING_BYTES_MAX);
        }
    }
}
