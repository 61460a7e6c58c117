use proptest::prelude::*;

/// Clients 2 and 3 are static members.
pub(super) const CLIENTS: usize = 4;
pub(super) const TOPICS: [&str; 3] = ["orders", "other", "third"];
pub(super) const ASSIGNORS: [Option<&str>; 3] = [None, Some("uniform"), Some("range")];
pub(super) const RACKS: [&str; 3] = ["rack", "elsewhere", ""];
/// With the topics they match.
pub(super) const REGEXES: [(&str, usize); 3] = [("", 0), ("o.*", 0b011), ("t.*", 0b100)];

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends a heartbeat, unless it waits for an answer.
    Beat {
        client: usize,
    },
    /// Gives up waiting.
    TimeOut {
        client: usize,
    },
    /// Lets go of what it is no longer to have; if there is nothing of it, takes what it is to have.
    TakeUp {
        client: usize,
    },
    Subscribe {
        client: usize,
        topics: usize,
        regex: usize,
    },
    /// The next process of the client asks for it.
    Vote {
        client: usize,
        assignor: usize,
    },
    /// The regular expressions are resolved, if that was asked for.
    Resolve,
    /// In an orderly way. The next process of the client has another member id.
    Leave {
        client: usize,
        is_for_good: bool,
    },
    Crash {
        client: usize,
    },
    /// Its session is over, however short that is.
    EndSession {
        client: usize,
    },
    /// The next request that the client has sent over its newest connection comes to the coordinator.
    Deliver {
        client: usize,
    },
    /// That of any connection.
    DeliverLate {
        wire: usize,
    },
    LoseRequest {
        wire: usize,
    },
    /// The oldest batch is committed.
    Commit {
        is_answer_lost: bool,
    },
    Advance {
        duration_ms: i64,
    },
    Topic {
        name: usize,
        partitions: usize,
        is_new: bool,
    },
    DeleteTopic {
        name: usize,
    },
    /// Its replicas are elsewhere.
    Rack {
        name: usize,
        rack: usize,
    },
    /// So many members the group may have from now on.
    MaxSize {
        members: usize,
    },
    /// So large may a batch be from now on.
    Limit {
        bytes: usize,
    },
    /// Another coordinator takes over, and finds so many of the batches under way.
    Restart {
        kept: usize,
    },
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = || 0..CLIENTS;
    let step = prop_oneof![
        16 => client().prop_map(|client| Step::Beat { client }),
        16 => client().prop_map(|client| Step::Deliver { client }),
        3 => (0..8usize).prop_map(|wire| Step::DeliverLate { wire }),
        16 => any::<u8>().prop_map(|lost| Step::Commit { is_answer_lost: lost < 25 }),
        10 => client().prop_map(|client| Step::TakeUp { client }),
        6 => prop_oneof![0..1_100i64, 1_000..12_000i64].prop_map(|duration_ms| Step::Advance { duration_ms }),
        3 => client().prop_map(|client| Step::TimeOut { client }),
        2 => (client(), 0..1usize << TOPICS.len(), 0..REGEXES.len())
            .prop_map(|(client, topics, regex)| Step::Subscribe { client, topics, regex }),
        3 => Just(Step::Resolve),
        1 => (client(), any::<bool>())
            .prop_map(|(client, is_for_good)| Step::Leave { client, is_for_good }),
        1 => (client(), 0..ASSIGNORS.len())
            .prop_map(|(client, assignor)| Step::Vote { client, assignor }),
        1 => client().prop_map(|client| Step::Crash { client }),
        2 => client().prop_map(|client| Step::EndSession { client }),
        1 => (0..8usize).prop_map(|wire| Step::LoseRequest { wire }),
        1 => (0..TOPICS.len(), 1..5usize, any::<bool>())
            .prop_map(|(name, partitions, is_new)| Step::Topic { name, partitions, is_new }),
        1 => (0..TOPICS.len()).prop_map(|name| Step::DeleteTopic { name }),
        1 => (0..TOPICS.len(), 0..RACKS.len()).prop_map(|(name, rack)| Step::Rack { name, rack }),
        1 => (1..=CLIENTS).prop_map(|members| Step::MaxSize { members }),
        1 => (0..6usize).prop_map(|kept| Step::Restart { kept }),
        1 => prop_oneof![60..300usize, 300..1_000usize, Just(usize::MAX)].prop_map(|bytes| Step::Limit { bytes }),
    ];
    prop::collection::vec(step, 1..200)
}
