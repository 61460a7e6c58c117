//! Random interleavings of clients of both protocols in one group, judged by what the clients read.
//!
//! A client does what Java's does: what it is to lose it stops to read before it says so, and what it says that it
//! reads it reads. Little time passes until all comes to rest, so nobody is taken for dead who is not.

mod client;

use std::collections::{BTreeMap, BTreeSet};

use foz_groups::{AppendError, GroupConfig, Request, Response, WaiterId};
use kafka_protocol::ResponseError;
use proptest::prelude::*;

use super::members::{ORDERS, group_type, heartbeat};
use crate::harness::*;
use client::{Client, Phase};

/// The last one is a static member.
const CLIENTS: usize = 4;
const PARTITIONS: i32 = 5;

#[derive(Debug, Clone)]
enum Step {
    /// Sends what it is to send next, or takes up what it was told.
    Act {
        client: usize,
    },
    TimeOut {
        client: usize,
    },
    Commit {
        client: usize,
    },
    /// Its process ends, orderly or not; the next one speaks the other protocol, or the same.
    Restart {
        client: usize,
        leaves: bool,
        switches: bool,
    },
    /// The oldest batch is committed.
    Confirm,
    /// The next batch cannot be written.
    FailNext,
    Advance {
        duration_ms: i64,
    },
    /// Another coordinator takes over, and finds so many of the batches under way.
    Failover {
        kept: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = || 0..CLIENTS;
    let step = prop_oneof![
        40 => client().prop_map(|client| Step::Act { client }),
        24 => Just(Step::Confirm),
        4 => client().prop_map(|client| Step::Commit { client }),
        2 => client().prop_map(|client| Step::TimeOut { client }),
        3 => (client(), prop::bool::weighted(0.8), any::<bool>())
            .prop_map(|(client, leaves, switches)| Step::Restart { client, leaves, switches }),
        1 => Just(Step::FailNext),
        5 => (0..150i64).prop_map(|duration_ms| Step::Advance { duration_ms }),
        1 => (0..4usize).prop_map(|kept| Step::Failover { kept }),
    ];
    prop::collection::vec(step, 1..200)
}

struct World {
    harness: Harness,
    /// The classic members stop to read before they join.
    is_eager: bool,
    clients: Vec<Client>,
    commits: BTreeMap<WaiterId, (i32, i64)>,
    acknowledged: BTreeMap<i32, i64>,
    next_offset: i64,
    next_number: u64,
    /// A static member of the classic protocol died before it had revoked what it was to.
    has_lost_revocation: bool,
}

impl World {
    fn new(is_eager: bool, natives: u8) -> Self {
        let mut config = GroupConfig {
            group_initial_rebalance_delay_ms: 100,
            ..GroupConfig::default()
        };
        config.consumer.assignment_interval_ms = 50;
        let mut harness = Harness::with_config(config);
        harness.set_topics(&[("orders", ORDERS, PARTITIONS as usize)]);
        harness.confirms = false;
        let mut world = Self {
            harness,
            is_eager,
            clients: vec![Client::default(); CLIENTS],
            commits: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            next_offset: 1,
            next_number: 1,
            has_lost_revocation: false,
        };
        for client in 0..CLIENTS {
            world.start(client, natives & (1 << client) != 0);
        }
        world
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn start(&mut self, client: usize, is_native: bool) {
        let number = self.number();
        self.clients[client] = Client {
            is_native,
            instance_id: (client == CLIENTS - 1).then_some("instance"),
            member_id: if is_native {
                format!("native-{number}")
            } else {
                String::new()
            },
            connection: number,
            ..Client::default()
        };
    }

    fn take_step(&mut self, step: &Step) {
        match *step {
            Step::Act { client } => self.act(client),
            Step::TimeOut { client } => self.time_out(client),
            Step::Commit { client } => self.commit(client),
            Step::Restart {
                client,
                leaves,
                switches,
            } => {
                self.has_lost_revocation |= self.clients[client].may_have_to_revoke();
                if leaves {
                    self.leave(client);
                }
                self.start(client, self.clients[client].is_native != switches);
            }
            Step::Confirm => {
                self.harness.confirm();
            }
            Step::FailNext => self.harness.fails_once = Some(AppendError::NotAvailable),
            Step::Advance { duration_ms } => self.harness.advance(duration_ms),
            Step::Failover { kept } => {
                self.harness.restart_with_tail(kept);
                self.clients
                    .iter_mut()
                    .for_each(|client| client.may_lose = true);
            }
        }
        self.hear();
        self.check();
    }

    fn send(&mut self, client: usize, api_version: i16, request: Request) -> WaiterId {
        self.harness.connection = self.clients[client].connection;
        self.harness.send(api_version, request)
    }

    fn time_out(&mut self, client: usize) {
        if self.clients[client].awaits.take().is_some() {
            let number = self.number();
            let client = &mut self.clients[client];
            client.connection = number;
            if client.phase != Phase::Read {
                client.phase = Phase::Join;
            }
        }
    }

    fn act(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some(told) = client.told.clone() {
            return client.take_up(&told);
        }
        if client.awaits.is_some() {
            return;
        }
        if !client.is_native && client.phase == Phase::Join {
            if self.is_eager {
                client.reads.clear();
            }
            client.claims.clone_from(&client.reads);
        }
        let (api_version, request) = if client.is_native {
            (1, Request::ConsumerGroupHeartbeat(client.beat()))
        } else {
            match client.phase.clone() {
                Phase::Join => (9, Request::JoinGroup(client.join(self.is_eager))),
                Phase::Sync(others) => (5, Request::SyncGroup(client.sync(&others))),
                Phase::Read => {
                    let request = heartbeat_request(&client.member_id, client.epoch);
                    let instance_id = client.instance_id.map(text);
                    let request = request.with_group_instance_id(instance_id);
                    (4, Request::Heartbeat(request))
                }
            }
        };
        let protocol = if self.is_eager {
            "range"
        } else {
            "cooperative-sticky"
        };
        let request = match request {
            Request::SyncGroup(request) => {
                Request::SyncGroup(request.with_protocol_name(Some(text(protocol))))
            }
            request => request,
        };
        let waiter = self.send(index, api_version, request);
        self.clients[index].awaits = Some(waiter);
    }

    fn leave(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.reads.clear();
        let request = if client.is_native {
            let is_static = client.instance_id.is_some();
            let request = heartbeat(&client.member_id, if is_static { -2 } else { -1 });
            let instance_id = client.instance_id.map(text);
            (
                1,
                Request::ConsumerGroupHeartbeat(request.with_instance_id(instance_id)),
            )
        } else if client.instance_id.is_none() && !client.member_id.is_empty() {
            let request = leave_request(&[&client.member_id]);
            (5, Request::LeaveGroup(request))
        } else {
            return;
        };
        self.send(index, request.0, request.1);
    }

    fn commit(&mut self, index: usize) {
        let Some(partition) = self.clients[index].reads.first().copied() else {
            return;
        };
        let offset = self.next_offset;
        self.next_offset += 1;
        let client = &self.clients[index];
        let mut request = commit_request(&client.member_id, client.epoch, "orders", offset)
            .with_group_instance_id(client.instance_id.map(text));
        request.topics[0].partitions[0].partition_index = partition;
        let joins = !client.is_native && client.phase != Phase::Read;
        let waiter = self.send(index, 9, Request::OffsetCommit(request));
        if let Some(Response::OffsetCommit(refused)) = self.harness.replies.get(&waiter) {
            let code = refused.topics[0].partitions[0].error_code;
            let stale = [
                ResponseError::IllegalGeneration,
                ResponseError::UnknownMemberId,
                ResponseError::StaleMemberEpoch,
            ];
            // The classic protocol takes none of a member that has a new generation and does not know yet.
            let is_stale = stale.iter().any(|error| error.code() == code);
            assert!(
                !is_stale || joins,
                "who reads may commit: {code}, {:?}",
                self.clients[index]
            );
        }
        self.commits.insert(waiter, (partition, offset));
    }

    fn hear(&mut self) {
        for (waiter, response) in std::mem::take(&mut self.harness.replies) {
            if let Some((partition, offset)) = self.commits.remove(&waiter) {
                let Response::OffsetCommit(response) = response else {
                    panic!("{response:?}")
                };
                if response.topics[0].partitions[0].error_code == 0 {
                    let acknowledged = self.acknowledged.entry(partition).or_default();
                    *acknowledged = offset.max(*acknowledged);
                }
                continue;
            }
            let mut clients = self.clients.iter_mut();
            if let Some(client) = clients.find(|client| client.awaits == Some(waiter)) {
                client.awaits = None;
                client.hear(response);
            }
        }
    }

    fn check(&self) {
        let mut readers = BTreeMap::new();
        for client in &self.clients {
            for partition in &client.reads {
                let other = readers.insert(*partition, client);
                assert!(
                    other.is_none(),
                    "two read {partition}: {other:?} and {client:?}"
                );
            }
        }
    }

    /// Nothing fails any more; those that died are found to be dead.
    fn come_to_rest(&mut self) {
        self.harness.fails_once = None;
        self.harness.confirms = true;
        while self.harness.confirm() {}
        self.hear();
        for round in 0..60 {
            let last = &mut self.clients[CLIENTS - 1];
            if round == 30
                && self.has_lost_revocation
                && !last.is_native
                && last.phase == Phase::Read
            {
                // The leader of a classic group waits for what a process before it was to revoke, in Kafka too, till
                // somebody joins.
                last.phase = Phase::Join;
            }
            for client in 0..CLIENTS {
                for _ in 0..4 {
                    self.act(client);
                    self.hear();
                    self.check();
                }
            }
            self.harness.advance(2_500);
            self.hear();
            self.check();
        }
        let read = BTreeSet::from_iter(self.clients.iter().flat_map(|client| &client.reads));
        assert_eq!(read.len(), PARTITIONS as usize, "{:?}", self.clients);
        let is_native = |client: &Client| client.is_native;
        let expected = if self.clients.iter().any(is_native) {
            "consumer"
        } else {
            "classic"
        };
        assert_eq!(group_type(&mut self.harness), [expected]);
        assert_eq!(self.harness.reloads, 0);
        let offsets = self.harness.offsets();
        for (partition, acknowledged) in &self.acknowledged {
            let mut offsets = offsets.iter();
            let found = offsets.find(|(_, found, _)| found == partition);
            assert!(found.is_some_and(|(_, _, offset)| offset >= acknowledged));
        }
        assert_eq!(offsets, self.harness.confirmed_offsets());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_partition_is_read_twice_and_none_is_left(
        is_eager in any::<bool>(),
        natives in 0u8..16,
        steps in steps(),
    ) {
        let mut world = World::new(is_eager, natives);
        for step in &steps {
            world.take_step(step);
        }
        world.come_to_rest();
    }
}
