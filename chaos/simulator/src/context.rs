//! What a node has while it handles an event, and what it leaves to be done.

use std::time::Duration;

use crate::chance::Chance;
use crate::message::Message;
use crate::mutation::Mutation;
use crate::scenario::Scenario;

/// Passed to whatever a node does.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now_ms: i64,
    pub(crate) me: i32,
    pub(crate) scenario: &'a Scenario,
    pub(crate) chance: &'a mut Chance,
    pub(crate) out: &'a mut Outbox,
}

/// What comes of an event.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// To whom, and what.
    pub(crate) messages: Vec<(i32, Message)>,
    /// After how many milliseconds.
    pub(crate) timers: Vec<(i64, Timer)>,
    pub(crate) observations: Vec<Observation>,
    /// Lines of a trace; `None` when nobody reads them.
    pub(crate) notes: Option<Vec<String>>,
}

/// What a node reminds itself of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    // Of controllers.
    RaftTick,
    /// For election.
    Stand,
    QuorumFlushed,
    SnapshotWritten,
    Look {
        term: u64,
    },
    // Of brokers.
    Membership {
        attempt: u64,
    },
    Beat {
        stream: u64,
    },
    Watch {
        stream: u64,
    },
    Tick,
    Flush {
        partition: i32,
    },
    Flushed {
        partition: i32,
    },
    AltersOver {
        call: u64,
    },
    AltersAgain,
    FetchOver {
        leader: i32,
        correlation: u64,
    },
    FetchAgain {
        leader: i32,
    },
    ParkedOver,
    // Of clients.
    Produce {
        producer: u32,
    },
    Consume {
        partition: i32,
    },
    ClientOver {
        call: u64,
    },
}

/// What the checks are told beside what they see.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Observation {
    /// A Raft entry was applied.
    Applied { index: u64, term: u64, hash: u64 },
    /// A partition has a leader that counts.
    Leads { partition: i32, leader_epoch: i32 },
    /// A producer is told that its record is safe.
    Acknowledged { partition: i32, offset: i64 },
    /// A consumer is given what is below an offset.
    Read { partition: i32, end_offset: i64 },
    /// A follower cut its log.
    Truncated,
    /// A leader has seen in an earlier incarnation of this follower all that the ISR asks for.
    KeptOutByEpoch { partition: i32, follower: i32 },
}

impl Context<'_> {
    /// Since the world began.
    pub(crate) fn now(&self) -> Duration {
        duration(self.now_ms)
    }

    pub(crate) fn send(&mut self, to: i32, message: Message) {
        self.out.messages.push((to, message));
    }

    pub(crate) fn remind(&mut self, after_ms: i64, timer: Timer) {
        self.out.timers.push((after_ms, timer));
    }

    pub(crate) fn observe(&mut self, observation: Observation) {
        self.out.observations.push(observation);
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.out.notes {
            notes.push(line());
        }
    }

    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.scenario.has(mutation)
    }
}

/// Since the world began.
pub(crate) fn duration(at_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(at_ms).expect("the world begins at 0"))
}
