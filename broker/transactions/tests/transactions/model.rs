//! Random interleavings of what producers, the network, the log, the leaders of partitions and time can do,
//! against what must hold whatever happens: a transaction ends once, everywhere alike, and as its client was told.

use proptest::prelude::*;

use leaders::Answer;
use world::World;

mod leaders;
mod world;

/// Processes that use the same transactional id.
const CLIENTS: usize = 2;
const PARTITIONS: i32 = 2;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Begins a transaction or goes on with it.
    Write {
        client: usize,
        partition: i32,
    },
    End {
        client: usize,
        commit: bool,
    },
    /// Asks again for what it has no answer to, over a new connection when the question may be under way: that
    /// one may be held up.
    AskAgain {
        client: usize,
        is_held_up: bool,
    },
    /// Gives up what it asks for and aborts.
    GiveUp {
        client: usize,
    },
    /// The process starts again and knows nothing.
    Start {
        client: usize,
    },
    /// After an error, with the producer id and epoch it has (KIP-360).
    Recover {
        client: usize,
    },
    Deliver {
        index: usize,
    },
    /// Of those that were held up.
    DeliverLate {
        index: usize,
    },
    Allocate,
    RefuseProducerId,
    Confirm,
    Fail,
    /// A leader takes markers.
    Mark {
        index: usize,
        answer: Answer,
    },
    /// The coordinator hears what became of a marker.
    Report {
        index: usize,
    },
    /// It hears once more, or of markers of a former one.
    ReportAgain {
        index: usize,
    },
    /// All goes well for a while, but for what was held up.
    Settle,
    /// Markers that were held up, of a former coordinator, or sent before and given up.
    MarkLate {
        index: usize,
    },
    Delete {
        partition: i32,
    },
    /// A leader asks whether a transaction of the client has the partition.
    Verify {
        client: usize,
        partition: i32,
    },
    /// Another level of transaction.version is finalised.
    Finalize {
        level: i16,
    },
    /// Follows the other version of transaction.version from its next transaction on.
    Follow {
        client: usize,
    },
    Advance {
        duration_ms: i64,
    },
    /// So many of the appends under way are in the log, and not committed yet.
    Restart {
        kept: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = || 0..CLIENTS;
    let step = prop_oneof![
        10 => (client(), 0..PARTITIONS)
            .prop_map(|(client, partition)| Step::Write { client, partition }),
        6 => (client(), any::<bool>()).prop_map(|(client, commit)| Step::End { client, commit }),
        6 => (client(), any::<bool>())
            .prop_map(|(client, is_held_up)| Step::AskAgain { client, is_held_up }),
        1 => client().prop_map(|client| Step::GiveUp { client }),
        1 => client().prop_map(|client| Step::Start { client }),
        1 => client().prop_map(|client| Step::Recover { client }),
        14 => (0..8usize).prop_map(|index| Step::Deliver { index }),
        2 => (0..4usize).prop_map(|index| Step::DeliverLate { index }),
        3 => Just(Step::Allocate),
        1 => Just(Step::RefuseProducerId),
        14 => Just(Step::Confirm),
        1 => Just(Step::Fail),
        8 => (0..4usize, answer()).prop_map(|(index, answer)| Step::Mark { index, answer }),
        8 => (0..8usize).prop_map(|index| Step::Report { index }),
        2 => (0..8usize).prop_map(|index| Step::ReportAgain { index }),
        3 => Just(Step::Settle),
        1 => (0..PARTITIONS).prop_map(|partition| Step::Delete { partition }),
        1 => (client(), 0..PARTITIONS)
            .prop_map(|(client, partition)| Step::Verify { client, partition }),
        1 => (0..3i16).prop_map(|level| Step::Finalize { level }),
        1 => client().prop_map(|client| Step::Follow { client }),
        2 => (0..4usize).prop_map(|index| Step::MarkLate { index }),
        3 => prop_oneof![
            10 => Just(50),
            10 => 100..2_000i64,
            10 => 20_000..80_000i64,
            1 => Just(8 * DAY_MS),
        ].prop_map(|duration_ms| Step::Advance { duration_ms }),
        2 => (0..3usize).prop_map(|kept| Step::Restart { kept }),
    ];
    prop::collection::vec(step, 1..250)
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        8 => Just(Answer::Written),
        2 => Just(Answer::Failed),
        2 => Just(Answer::Late),
        1 => Just(Answer::Refused),
    ]
}

/// What goes by itself or does not happen in a run: so some come further than others.
#[derive(Debug, Clone, Copy)]
struct Calm {
    confirms: bool,
    marks: bool,
    has_no_failures: bool,
    has_no_restarts: bool,
    has_no_deletions: bool,
    has_no_upgrades: bool,
    has_one_process: bool,
    has_no_time: bool,
}

fn calm() -> impl Strategy<Value = Calm> {
    any::<[bool; 8]>().prop_map(|flags| Calm {
        confirms: flags[0],
        marks: flags[1],
        has_no_failures: flags[2],
        has_no_restarts: flags[3],
        has_no_deletions: flags[4],
        has_no_upgrades: flags[5],
        has_one_process: flags[6],
        has_no_time: flags[7],
    })
}

impl Calm {
    fn takes(&self, step: Step) -> bool {
        match step {
            Step::RefuseProducerId | Step::Fail => !self.has_no_failures,
            Step::Mark { answer, .. } => {
                !self.has_no_failures || matches!(answer, Answer::Written | Answer::Late)
            }
            Step::Restart { .. } => !self.has_no_restarts,
            Step::Delete { .. } => !self.has_no_deletions,
            Step::Finalize { .. } | Step::Follow { .. } => !self.has_no_upgrades,
            Step::Start { .. } => !self.has_one_process,
            Step::Write { client, .. }
            | Step::End { client, .. }
            | Step::AskAgain { client, .. }
            | Step::GiveUp { client }
            | Step::Recover { client } => !self.has_one_process || client == 0,
            Step::Advance { duration_ms } => !self.has_no_time || duration_ms < 20_000,
            _ => true,
        }
    }
}

fn run(calm: Calm, level: i16, own_epochs: [bool; CLIENTS], first_epoch: i16, steps: &[Step]) {
    let mut world = World::new(calm, level, own_epochs, first_epoch);
    for step in steps.iter().filter(|step| calm.takes(**step)) {
        world.take_step(*step);
        while calm.marks && !world.harness.markers.is_empty() {
            world.mark(0, Answer::Written);
            world.report_all();
        }
    }
    world.come_to_rest();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn with_an_epoch_for_each_transaction(
        steps in steps(),
        calm in calm(),
        others in prop::bool::weighted(0.7),
        first_epoch in prop_oneof![Just(3i16), i16::MAX - 6..i16::MAX],
    ) {
        // One of the two may be an old client.
        run(calm, 2, [true, others], first_epoch, &steps);
    }

    #[test]
    fn with_one_epoch_for_all(
        steps in steps(),
        calm in calm(),
        level in prop_oneof![Just(0i16), Just(2)],
        first_epoch in prop_oneof![Just(3i16), i16::MAX - 6..i16::MAX],
    ) {
        run(calm, level, [false, false], first_epoch, &steps);
    }
}
