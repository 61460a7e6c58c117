//! What is commanded, in any order.

use foz_metadata::rules::{ConfigOperation, ElectionKind};
use proptest::prelude::*;

/// Of two directories of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Second {
    Here,
    Failed,
    TakenOut,
    Swapped,
}

#[derive(Debug, Clone)]
pub(crate) enum Command {
    Register {
        node_id: i32,
        incarnation: u8,
        log_intact: bool,
        is_same_disk: bool,
        second: Second,
    },
    /// Some of its replicas cannot be used.
    ReportOffline {
        node_id: i32,
        modulus: i32,
        is_stale: bool,
    },
    Stop {
        node_id: i32,
    },
    /// The leader of one of the partitions proposes an ISR, perhaps from an old state.
    Propose {
        at: usize,
        members: Vec<bool>,
        behind: i32,
    },
    Elect(ElectionKind),
    Balance,
    Raise,
    ElectUnclean,
    Fence {
        node_id: i32,
    },
    Unfence {
        node_id: i32,
    },
    Create {
        names: Vec<u8>,
        partitions: i32,
        replication_factor: i32,
        assigned_to: Option<i32>,
        validate_only: bool,
    },
    Delete {
        names: Vec<u8>,
    },
    Increase {
        name: u8,
        count: i32,
    },
    Configure {
        name: u8,
        operation: ConfigOperation,
        value: u8,
    },
    ProducerIds {
        node_id: i32,
    },
    Operator,
    Rack {
        node_id: i32,
        rack: u8,
    },
    /// Moves one of the partitions; to nowhere: cancels that.
    Reassign {
        at: usize,
        target: Vec<i32>,
    },
    ChangeFactor {
        name: u8,
        replication_factor: i32,
    },
    Cordon {
        node_id: i32,
        cordoned: bool,
    },
    Unregister {
        node_id: i32,
    },
    Space {
        node_id: i32,
        is_short: bool,
    },
    AskToRestart {
        node_id: i32,
        insist: bool,
    },
    EndRestart {
        node_id: i32,
    },
    EndRestartsDone,
    StartRebalance {
        drained: Vec<i32>,
    },
    /// One of the partitions begins to move, is called off, or the rebalance ends.
    StepRebalance {
        at: usize,
        target: Vec<i32>,
        end: bool,
    },
    CancelRebalance,
    /// One of the deleted topics.
    Restore {
        at: usize,
        new_name: Option<u8>,
    },
    Purge {
        at: usize,
    },
    Expire,
    FreeForRoom {
        node_id: i32,
    },
}

pub(crate) const NODES: std::ops::Range<i32> = 0..4;

fn second() -> impl Strategy<Value = Second> {
    use Second::{Failed, Here, Swapped, TakenOut};
    prop::sample::select(vec![Here, Here, Here, Failed, Failed, TakenOut, Swapped])
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    use ConfigOperation::{Append, Delete, Set, Subtract};
    prop_oneof![
        4 => (NODES, 1..3u8, any::<bool>(), any::<bool>(), second()).prop_map(
            |(node_id, incarnation, log_intact, is_same_disk, second)| {
                Command::Register { node_id, incarnation, log_intact, is_same_disk, second }
            },
        ),
        2 => (NODES, 1..4, prop::bool::weighted(0.2)).prop_map(
            |(node_id, modulus, is_stale)| Command::ReportOffline { node_id, modulus, is_stale },
        ),
        1 => NODES.prop_map(|node_id| Command::Stop { node_id }),
        4 => (0..20usize, prop::collection::vec(any::<bool>(), 4), 0..2i32)
            .prop_map(|(at, members, behind)| Command::Propose { at, members, behind }),
        1 => prop::sample::select(vec![ElectionKind::Preferred, ElectionKind::Unclean])
            .prop_map(Command::Elect),
        1 => prop::sample::select(vec![Command::Balance, Command::Raise, Command::ElectUnclean]),
        2 => NODES.prop_map(|node_id| Command::Fence { node_id }),
        4 => NODES.prop_map(|node_id| Command::Unfence { node_id }),
        4 => (
            prop::collection::vec(0..8u8, 1..3),
            -1..5,
            -1..4i32,
            prop::option::weighted(0.2, NODES),
            prop::bool::weighted(0.1),
        ).prop_map(|(names, partitions, replication_factor, assigned_to, validate_only)| {
            Command::Create { names, partitions, replication_factor, assigned_to, validate_only }
        }),
        2 => prop::collection::vec(0..8u8, 1..3).prop_map(|names| Command::Delete { names }),
        2 => (0..4usize, prop::option::weighted(0.3, 0..8u8))
            .prop_map(|(at, new_name)| Command::Restore { at, new_name }),
        1 => (0..6usize).prop_map(|at| Command::Purge { at }),
        1 => Just(Command::Expire),
        1 => NODES.prop_map(|node_id| Command::FreeForRoom { node_id }),
        1 => (0..8u8, 0..8).prop_map(|(name, count)| Command::Increase { name, count }),
        1 => (0..8u8, prop::sample::select(vec![Append, Delete, Set, Subtract]), 0..4u8)
            .prop_map(|(name, operation, value)| Command::Configure { name, operation, value }),
        1 => NODES.prop_map(|node_id| Command::ProducerIds { node_id }),
        1 => Just(Command::Operator),
        1 => (NODES, 0..3u8).prop_map(|(node_id, rack)| Command::Rack { node_id, rack }),
        3 => (0..20usize, prop::collection::vec(NODES, 0..4))
            .prop_map(|(at, target)| Command::Reassign { at, target }),
        2 => (0..8u8, 0..5)
            .prop_map(|(name, replication_factor)| Command::ChangeFactor { name, replication_factor }),
        1 => (NODES, prop::bool::weighted(0.3))
            .prop_map(|(node_id, cordoned)| Command::Cordon { node_id, cordoned }),
        1 => NODES.prop_map(|node_id| Command::Unregister { node_id }),
        3 => (NODES, any::<bool>())
            .prop_map(|(node_id, is_short)| Command::Space { node_id, is_short }),
        2 => (NODES, any::<bool>())
            .prop_map(|(node_id, insist)| Command::AskToRestart { node_id, insist }),
        1 => NODES.prop_map(|node_id| Command::EndRestart { node_id }),
        1 => Just(Command::EndRestartsDone),
        1 => prop::collection::vec(NODES, 0..3)
            .prop_map(|drained| Command::StartRebalance { drained }),
        4 => (0..20usize, prop::collection::vec(NODES, 0..4), prop::bool::weighted(0.2))
            .prop_map(|(at, target, end)| Command::StepRebalance { at, target, end }),
        1 => Just(Command::CancelRebalance),
    ]
}
