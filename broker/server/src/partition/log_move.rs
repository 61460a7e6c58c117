//! What becomes of a move to another data directory after each step. Pure.

use std::time::Duration;

use foz_log::{MoveAct, MoveError, OpenError};

/// Near its end a move waits so long for a pass of compaction, or for a log that grows fast.
const END_PAUSE: Duration = Duration::from_millis(50);
/// Where it comes to its end in vain, writers wait for a tenth of the time at most.
const PAUSE_FOR_EACH_HELD_UP: u32 = 9;
/// For room, for damage that is mended, for an earlier move that ends.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// After a failure, and before a copy is begun anew.
const FAILURE_PAUSE: Duration = Duration::from_secs(30);
/// From where a disk did not give what is to be copied, that comes one batch at a time: as much as is read at once otherwise.
const CAREFUL_BYTES: usize = 8 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same log, after this time.
    Same(Duration),
    /// Others that are to come to that directory may come first for so long.
    Others(Duration),
    /// As above, and what was copied is not to be believed.
    Anew(Duration),
    Over,
}

/// What a disk does not give it often gives the second time, and who reads much at once does not know which batch it is.
#[derive(Debug, Default)]
pub(crate) struct Careful {
    /// Of the last read.
    failed_at: Option<i64>,
    bytes_left: usize,
}

impl Careful {
    pub(super) fn is_on(&self) -> bool {
        self.bytes_left > 0
    }

    /// How much is to be read. A batch is read as a whole.
    pub(super) fn step_bytes(&self, bytes_max: usize) -> usize {
        match self.is_on() {
            true => 1,
            false => bytes_max,
        }
    }

    pub(super) fn copied(&mut self, bytes: usize) {
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
    }

    /// What comes at this offset could not be read. Whether that is damage.
    pub(super) fn failed(&mut self, offset: i64) -> bool {
        let is_again = self.is_on() && self.failed_at == Some(offset);
        *self = match is_again {
            // Once it is mended it is read as any other.
            true => Self::default(),
            false => Self {
                failed_at: Some(offset),
                bytes_left: CAREFUL_BYTES,
            },
        };
        is_again
    }
}

impl Next {
    /// Where there is something to be waited for that another log need not wait for.
    pub(super) const AFTER_ANOTHER: Self = Self::Others(LOOK_PAUSE);
}

/// Where the act was carried out.
pub(super) fn after(act: MoveAct, has_room: bool) -> Next {
    match act {
        MoveAct::Cut | MoveAct::Check | MoveAct::Copy | MoveAct::Flush => {
            Next::Same(Duration::ZERO)
        }
        MoveAct::Swap => Next::Over,
        // A pass over a large log takes hours.
        MoveAct::Wait if has_room => Next::Others(END_PAUSE),
        MoveAct::Wait => Next::Others(LOOK_PAUSE),
    }
}

/// A swap that was not carried out, and for which writers were held up for so long: the move is not near enough to its end
/// after all, or somebody else is at work on the same files.
pub(super) fn after_not_yet(held_up: Duration) -> Next {
    let pause = held_up.saturating_mul(PAUSE_FOR_EACH_HELD_UP);
    let pause = pause.min(FAILURE_PAUSE);
    match pause <= END_PAUSE {
        true => Next::Same(END_PAUSE),
        false => Next::Others(pause),
    }
}

/// `is_out_of_use`: that of one of the two directories, or the log has stopped.
pub(super) fn after_error(error: &MoveError, is_out_of_use: bool) -> Next {
    if is_out_of_use {
        return Next::Over;
    }
    match error {
        MoveError::Over(..) | MoveError::Copy(OpenError::Exists(_)) => Next::Over,
        MoveError::UnderWay(_) | MoveError::Damaged { .. } => Next::Others(LOOK_PAUSE),
        // It holds up who reads and who writes.
        MoveError::Undone(_) => Next::Others(FAILURE_PAUSE),
        error if error.is_shortage() => Next::Others(LOOK_PAUSE),
        MoveError::Copy(OpenError::Malformed { .. } | OpenError::Damaged { .. }) => {
            Next::Anew(FAILURE_PAUSE)
        }
        MoveError::Unreadable { .. } | MoveError::Source(_) | MoveError::Copy(_) => {
            Next::Others(FAILURE_PAUSE)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};
    use std::path::PathBuf;

    use foz_log::{ReadError, StorageError};

    use super::*;

    #[test]
    fn after_each_act_it_goes_on() {
        use MoveAct::{Check, Copy, Cut, Flush, Swap, Wait};
        for act in [Cut, Check, Copy, Flush] {
            assert_eq!(after(act, true), Next::Same(Duration::ZERO), "{act:?}");
        }
        assert_eq!(after(Swap, true), Next::Over);
        assert_eq!(after(Wait, true), Next::Others(END_PAUSE));
        assert_eq!(after(Wait, false), Next::Others(LOOK_PAUSE));
    }

    #[test]
    fn who_was_held_up_in_vain_is_left_alone_for_longer() {
        let ms = Duration::from_millis;
        for (held_up, next) in [
            (ms(0), Next::Same(END_PAUSE)),
            (ms(5), Next::Same(END_PAUSE)),
            (ms(6), Next::Others(ms(54))),
            (ms(100), Next::Others(ms(900))),
            (Duration::MAX, Next::Others(FAILURE_PAUSE)),
        ] {
            assert_eq!(after_not_yet(held_up), next, "{held_up:?}");
        }
    }

    /// Each batch is of 4 MiB.
    #[test]
    fn what_a_disk_does_not_give_is_damage_when_it_is_asked_for_it_alone() {
        let mut careful = Careful::default();
        assert_eq!(careful.step_bytes(100), 100);
        assert!(!careful.failed(3), "it may be any behind it");
        assert_eq!(careful.step_bytes(100), 1);
        careful.copied(4 << 20);
        assert!(!careful.failed(4), "the first time");
        assert!(!careful.failed(5), "another one");
        assert!(careful.failed(5));
        assert_eq!(careful.step_bytes(100), 100);
        assert!(!careful.failed(5), "it was mended");
        for (copied, bytes) in [(4 << 20, 1), (4 << 20, 100), (4 << 20, 100)] {
            careful.copied(copied);
            assert_eq!(careful.step_bytes(100), bytes);
        }
        assert!(!careful.failed(5), "not alone");
    }

    #[test]
    fn each_error_says_what_comes_next() {
        let storage = |kind| StorageError {
            action: "write",
            path: PathBuf::from("orders-0"),
            source: Error::from(kind),
        };
        let malformed = || OpenError::Malformed {
            file: PathBuf::from("orders-0"),
            reason: "it is not as its log".to_owned(),
        };
        let name = || "orders-0".to_owned();
        let damaged = || MoveError::Damaged {
            offset: 7,
            reason: "crc".to_owned(),
        };
        let (full, broken) = (ErrorKind::StorageFull, ErrorKind::Other);
        let (soon, later) = (Next::Others(LOOK_PAUSE), Next::Others(FAILURE_PAUSE));
        for (error, next) in [
            (MoveError::Over(name(), "deleted"), Next::Over),
            (MoveError::UnderWay(name()), soon),
            (damaged(), soon),
            (
                MoveError::Unreadable {
                    offset: 7,
                    source: storage(broken),
                },
                later,
            ),
            (MoveError::Undone(storage(full)), later),
            (MoveError::Source(storage(full)), soon),
            (MoveError::Source(storage(broken)), later),
            (MoveError::Copy(storage(full).into()), soon),
            (MoveError::Copy(storage(broken).into()), later),
            (MoveError::Copy(malformed()), Next::Anew(FAILURE_PAUSE)),
            (
                MoveError::Copy(OpenError::Damaged {
                    offset: 7,
                    reason: Box::new(ReadError::Unusable(name(), "closed")),
                }),
                Next::Anew(FAILURE_PAUSE),
            ),
            (
                MoveError::Copy(OpenError::Unusable(name(), "closed")),
                later,
            ),
            (
                MoveError::Copy(OpenError::Exists(PathBuf::from("orders-0"))),
                Next::Over,
            ),
        ] {
            assert_eq!(after_error(&error, false), next, "{error}");
            assert_eq!(after_error(&error, true), Next::Over, "{error}");
        }
    }
}
