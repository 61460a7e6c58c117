//! Random interleavings of what members, operators, time and the log can do, against what must hold
//! whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use foz_groups::{AppendError, Request, Response, WaiterId};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::DeleteGroupsRequest;
use proptest::prelude::*;

use crate::harness::*;

/// Clients 0 and 1 are dynamic members, 2 and 3 are processes that share a static instance.
const CLIENTS: usize = 4;
const NOT_AVAILABLE: i16 = ResponseError::CoordinatorNotAvailable.code();
const NOT_COORDINATOR: i16 = ResponseError::NotCoordinator.code();
const TOPICS: [&str; 2] = ["orders", "other"];

#[derive(Debug, Clone)]
enum Step {
    Join {
        client: usize,
        changed: bool,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    /// The process of the client starts again and knows nothing.
    Forget {
        client: usize,
    },
    Commit {
        client: Option<usize>,
        topic: usize,
    },
    Delete,
    Expire,
    Advance {
        duration_ms: i64,
    },
    Confirm,
    Fail,
    /// So many of the appends under way are in the log, and not committed yet.
    Restart {
        kept: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = || 0..CLIENTS;
    let step = prop_oneof![
        8 => (client(), any::<bool>()).prop_map(|(client, changed)| Step::Join { client, changed }),
        8 => client().prop_map(|client| Step::Sync { client }),
        3 => client().prop_map(|client| Step::Heartbeat { client }),
        2 => client().prop_map(|client| Step::Leave { client }),
        2 => client().prop_map(|client| Step::Forget { client }),
        4 => (prop::option::of(client()), 0..TOPICS.len())
            .prop_map(|(client, topic)| Step::Commit { client, topic }),
        1 => Just(Step::Delete),
        1 => Just(Step::Expire),
        6 => prop_oneof![Just(0), 1..4_000i64, 4_000..70_000i64]
            .prop_map(|duration_ms| Step::Advance { duration_ms }),
        10 => Just(Step::Confirm),
        2 => Just(Step::Fail),
        1 => prop_oneof![Just(0), 1..4usize].prop_map(|kept| Step::Restart { kept }),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Debug, Clone, Default)]
struct Client {
    member_id: String,
    generation: i32,
    leader: String,
    members: Vec<String>,
}

enum Asked {
    Join { client: usize },
    Sync { generation: i32 },
    Commit { topic: usize, offset: i64 },
    Delete,
    Other,
}

struct World {
    harness: Harness,
    clients: Vec<Client>,
    asked: BTreeMap<WaiterId, Asked>,
    /// What was acknowledged last, by topic.
    acknowledged: BTreeMap<usize, i64>,
    /// Commits that failed so that they may be committed yet.
    unsure: BTreeSet<(usize, i64)>,
    is_deletion_unsure: bool,
    next_offset: i64,
    next_assignment: u32,
    /// Highest generation told to a member in this life of the coordinator.
    generations: BTreeMap<String, i32>,
    /// Which of a leader's attempts was put in force, by leader and generation.
    in_force: BTreeMap<(String, i32), String>,
}

impl World {
    fn new() -> Self {
        let mut harness = Harness::new();
        harness.confirms = false;
        Self {
            harness,
            clients: vec![Client::default(); CLIENTS],
            asked: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            unsure: BTreeSet::new(),
            is_deletion_unsure: false,
            next_offset: 1,
            next_assignment: 1,
            generations: BTreeMap::new(),
            in_force: BTreeMap::new(),
        }
    }

    fn take_step(&mut self, step: &Step) {
        match *step {
            Step::Join { client, changed } => self.join(client, changed),
            Step::Sync { client } => self.sync(client),
            Step::Heartbeat { client } => {
                let Client {
                    member_id,
                    generation,
                    ..
                } = &self.clients[client];
                let request = heartbeat_request(member_id, *generation);
                self.ask(4, Request::Heartbeat(request), Asked::Other);
            }
            Step::Leave { client } => {
                let request = leave_request(&[&self.clients[client].member_id]);
                self.ask(5, Request::LeaveGroup(request), Asked::Other);
            }
            Step::Forget { client } => self.clients[client] = Client::default(),
            Step::Commit { client, topic } => {
                let offset = self.next_offset;
                self.next_offset += 1;
                let (member_id, generation) = match client {
                    Some(client) => {
                        let client = &self.clients[client];
                        (client.member_id.clone(), client.generation)
                    }
                    None => (String::new(), -1),
                };
                let request = commit_request(&member_id, generation, TOPICS[topic], offset);
                self.ask(
                    9,
                    Request::OffsetCommit(request),
                    Asked::Commit { topic, offset },
                );
            }
            Step::Delete => {
                let names = vec![group_id(GROUP)];
                let request = DeleteGroupsRequest::default().with_groups_names(names);
                self.ask(2, Request::DeleteGroups(request), Asked::Delete);
            }
            Step::Expire => {
                let effects = self.harness.coordinator.expire_offsets(self.harness.now);
                self.harness.absorb(effects);
            }
            Step::Advance { duration_ms } => self.harness.advance(duration_ms),
            Step::Confirm => {
                self.harness.confirm();
            }
            Step::Fail => {
                self.harness.fail(AppendError::NotAvailable);
            }
            Step::Restart { kept } => {
                self.harness.restart_with_tail(kept);
                self.generations.clear();
            }
        }
        self.hear();
        self.check_offsets();
    }

    fn ask(&mut self, api_version: i16, request: Request, asked: Asked) {
        let waiter = self.harness.send(api_version, request);
        self.asked.insert(waiter, asked);
    }

    fn join(&mut self, client: usize, changed: bool) {
        let mut request = join_request(&self.clients[client].member_id);
        if client >= 2 {
            request = request.with_group_instance_id(Some(text("instance")));
        }
        if changed {
            request = request.with_protocols(protocols(&["range", "sticky"]));
        }
        self.ask(9, Request::JoinGroup(request), Asked::Join { client });
    }

    /// An assignment says who made it, for which generation, at which attempt.
    fn sync(&mut self, client: usize) {
        let Client {
            member_id,
            generation,
            leader,
            members,
        } = self.clients[client].clone();
        let attempt = self.next_assignment;
        self.next_assignment += 1;
        let assignment = format!("{leader} {generation} {attempt}");
        let assigned: Vec<(&str, &str)> = if member_id == leader {
            members
                .iter()
                .map(|id| (id.as_str(), assignment.as_str()))
                .collect()
        } else {
            Vec::new()
        };
        let request = sync_request(&member_id, generation, &assigned);
        self.ask(5, Request::SyncGroup(request), Asked::Sync { generation });
    }

    fn hear(&mut self) {
        for (waiter, response) in std::mem::take(&mut self.harness.replies) {
            let asked = self.asked.remove(&waiter).expect("an answer to a question");
            match (asked, response) {
                (Asked::Join { client }, Response::JoinGroup(response)) => {
                    self.hear_join(client, &response);
                }
                (Asked::Sync { generation }, Response::SyncGroup(response)) => {
                    if response.error_code == 0 {
                        self.hear_assignment(generation, &response.assignment);
                    }
                }
                (Asked::Commit { topic, offset }, Response::OffsetCommit(response)) => {
                    match response.topics[0].partitions[0].error_code {
                        0 => {
                            self.acknowledged.insert(topic, offset);
                        }
                        NOT_AVAILABLE | NOT_COORDINATOR => {
                            self.unsure.insert((topic, offset));
                        }
                        _ => {}
                    }
                }
                (Asked::Delete, Response::DeleteGroups(response)) => {
                    match response.results[0].error_code {
                        0 => self.acknowledged.clear(),
                        NOT_AVAILABLE | NOT_COORDINATOR => self.is_deletion_unsure = true,
                        _ => {}
                    }
                }
                (Asked::Other, Response::Heartbeat(_) | Response::LeaveGroup(_)) => {}
                (_, response) => panic!("an answer of another kind: {response:?}"),
            }
        }
    }

    fn hear_join(&mut self, client: usize, response: &kafka_protocol::messages::JoinGroupResponse) {
        let member_id = response.member_id.to_string();
        if response.error_code == 79 {
            // MEMBER_ID_REQUIRED
            self.clients[client].member_id = member_id;
            return;
        }
        if response.error_code != 0 {
            return;
        }
        let seen = self.generations.entry(member_id.clone()).or_default();
        assert!(
            response.generation_id >= *seen,
            "the generation of {member_id} went back"
        );
        *seen = response.generation_id;
        let members: Vec<String> = response
            .members
            .iter()
            .map(|member| member.member_id.to_string())
            .collect();
        assert!(members.is_empty() || members.contains(&member_id));
        self.clients[client] = Client {
            member_id,
            generation: response.generation_id,
            leader: response.leader.to_string(),
            members,
        };
    }

    fn hear_assignment(&mut self, generation: i32, assignment: &[u8]) {
        if assignment.is_empty() {
            return;
        }
        let assignment = String::from_utf8(assignment.to_vec()).expect("text");
        let parts: Vec<&str> = assignment.split(' ').collect();
        let (leader, of_generation, attempt) = (parts[0], parts[1], parts[2]);
        assert_eq!(
            of_generation,
            generation.to_string(),
            "an assignment of another generation"
        );
        let key = (leader.to_owned(), generation);
        let in_force = self
            .in_force
            .entry(key)
            .or_insert_with(|| attempt.to_owned());
        assert_eq!(in_force, attempt, "two assignments in one generation");
    }

    fn check_offsets(&mut self) {
        if self.harness.is_loading() {
            return;
        }
        let told = self.harness.offsets();
        assert_eq!(told, self.harness.confirmed_offsets());
        for (topic, name) in TOPICS.iter().enumerate() {
            let told = told.iter().find(|(told, ..)| told == name);
            let told = told.map(|(_, _, offset)| *offset);
            let acknowledged = self.acknowledged.get(&topic).copied();
            let is_unsure = told.is_some_and(|told| self.unsure.contains(&(topic, told)));
            let came_later = is_unsure && told >= acknowledged;
            let is_deleted = self.is_deletion_unsure && (told.is_none() || is_unsure);
            assert!(
                told == acknowledged || came_later || is_deleted,
                "{name}: {told:?} is told, {acknowledged:?} was acknowledged"
            );
        }
    }

    /// All batches are confirmed and nobody sends anything any more.
    fn come_to_rest(&mut self) {
        self.harness.confirms = true;
        while self.harness.confirm() {}
        self.harness.advance(700_000);
        self.hear();
        assert!(
            self.harness.open.is_empty(),
            "never answered: {:?}",
            self.harness.open
        );
        assert!(matches!(self.harness.state().as_str(), "Empty" | "Dead"));
        assert_eq!(self.harness.coordinator.next_deadline(), None);
        self.check_offsets();
        self.harness.restart();
        self.check_offsets();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_told_twice(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.take_step(step);
        }
        world.come_to_rest();
    }
}
