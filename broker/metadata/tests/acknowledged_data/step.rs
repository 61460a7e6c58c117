//! What can happen next.

use foz_metadata::rules::ElectionKind;

use super::Disk;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A process ends. With a loss of power, so do the newest `loses` records.
    Crash {
        node: usize,
        power_loss: bool,
        loses: usize,
    },
    Fence {
        node: usize,
    },
    Register {
        node: usize,
        /// To which of its directories something happened.
        directory: usize,
        /// To that one, and to the next.
        disks: [Disk; 2],
        answer_lost: bool,
    },
    /// Somebody takes a copy of a disk.
    Copy {
        node: usize,
        directory: usize,
    },
    /// A directory fails while its broker runs.
    Fail {
        node: usize,
        directory: usize,
    },
    /// The broker says which replica that took along.
    Report {
        node: usize,
    },
    Unfence {
        node: usize,
    },
    Stop {
        node: usize,
    },
    /// A broker says whether its disk has room.
    Space {
        node: usize,
        is_short: bool,
    },
    /// A broker applies metadata.
    See {
        node: usize,
        batches: usize,
    },
    Append {
        node: usize,
    },
    Fetch {
        leader: usize,
        follower: usize,
        records: usize,
    },
    /// A leader moves its high watermark.
    Acknowledge {
        node: usize,
    },
    Join {
        leader: usize,
        member: usize,
        answer_lost: bool,
    },
    Leave {
        leader: usize,
        member: usize,
        answer_lost: bool,
    },
    Elect(ElectionKind),
    /// What the active controller does now and then.
    Tick,
    SetMinInsync {
        min_insync: usize,
    },
    /// The partition moves to so many nodes from there on; to none: back to where it was.
    Reassign {
        first: usize,
        count: usize,
    },
    /// Nothing goes wrong for a while: whoever is up knows all, replicates, and joins the ISR.
    Flow,
    /// All that a process goes through from its end to its next beginning.
    Restart {
        node: usize,
        power_loss: bool,
        loses: usize,
        directory: usize,
        disks: [Disk; 2],
    },
    /// The directory of its log fails, and its replica moves away and back: the log is made anew in another one.
    MakeAnew {
        node: usize,
    },
}
