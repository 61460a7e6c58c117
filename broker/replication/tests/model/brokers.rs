//! What brokers do: lead, follow, learn metadata.

use super::*;

impl World {
    pub(super) fn append(&mut self, id: i32) {
        let value = self.next_value;
        let Some(node) = self.nodes.get_mut(id as usize).filter(|node| node.up) else {
            return;
        };
        let Role::Leader(leader) = &node.role else {
            return;
        };
        let epoch = leader.leader_epoch();
        node.log.push((epoch, value));
        self.next_value += 1;
        self.lead(id, |leader, local, _, _| leader.appended(local));
    }

    pub(super) fn tick(&mut self, id: i32, passed_ms: i64) {
        self.now_ms += passed_ms;
        if self.nodes[id as usize].up {
            self.lead(id, Leader::tick);
        }
    }

    /// Something happens to a leader; its effects are carried out.
    pub(super) fn lead(
        &mut self,
        id: i32,
        happen: impl FnOnce(&mut Leader, LocalLog, &dyn Cluster, i64) -> Effects,
    ) {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[id as usize];
        let local = node.local();
        let metadata = &self.history[node.seen.saturating_sub(1)];
        let Role::Leader(leader) = &mut node.role else {
            return;
        };
        let effects = happen(leader, local, metadata, now_ms);
        let high_watermark = leader.high_watermark();
        assert_eq!(
            effects.high_watermark.unwrap_or(high_watermark),
            high_watermark
        );
        assert!(
            effects.high_watermark.is_none() || leader.isr().len() >= self.min_insync,
            "committed below min.insync.replicas"
        );
        let (epoch, broker_epoch) = (leader.leader_epoch(), node.broker_epoch);
        self.led_to(id, epoch, high_watermark);
        if let Some(proposal) = effects.propose {
            self.messages.push(Message::Propose {
                from: id,
                broker_epoch,
                proposal,
                given_up_ms: None,
            });
        }
    }

    pub(super) fn led_to(&mut self, id: i32, epoch: i32, high_watermark: i64) {
        let before = self.high_watermarks.entry(epoch).or_insert(0);
        assert!(*before <= high_watermark, "back within epoch {epoch}");
        *before = high_watermark;
        let node = &mut self.nodes[id as usize];
        node.high_watermark = high_watermark;
        let known = self.committed.len().min(high_watermark as usize);
        assert_eq!(node.log[..known], self.committed[..known], "by leader {id}");
        self.committed
            .extend_from_slice(&node.log[known..high_watermark as usize]);
    }

    /// Learns the next versions of the metadata.
    pub(super) fn learn(&mut self, id: i32, versions: usize) {
        let (now_ms, min_insync) = (self.now_ms, self.min_insync);
        for _ in 0..versions {
            let node = &mut self.nodes[id as usize];
            let Some(metadata) = self.history.get(node.seen).filter(|_| node.up) else {
                return;
            };
            node.seen += 1;
            let assignment = &metadata.assignment;
            if assignment.leader_epoch < node.leader_epoch {
                continue;
            }
            let is_new = assignment.leader_epoch > node.leader_epoch;
            node.leader_epoch = assignment.leader_epoch;
            if is_new {
                // Another connection, perhaps to another node. What was asked on the old one is not waited for.
                (node.answered_ms, node.correlation_id) = (None, 0);
            }
            let settings = Settings {
                min_insync,
                lag_time_max_ms: LAG_TIME_MAX_MS,
            };
            if assignment.leader != id {
                node.role = if assignment.leader < 0 {
                    Role::None
                } else {
                    Role::Follower {
                        leader: assignment.leader,
                    }
                };
            } else if is_new {
                let committed = node.high_watermark;
                let local = node.local();
                self.began_ms.insert(assignment.leader_epoch, now_ms);
                let leader = Leader::new(id, assignment, settings, local, committed, now_ms);
                let (epoch, high_watermark) = (leader.leader_epoch(), leader.high_watermark());
                node.role = Role::Leader(Box::new(leader));
                self.led_to(id, epoch, high_watermark);
            } else {
                let assignment = assignment.clone();
                self.lead(id, |leader, local, _, now_ms| {
                    leader.assignment_changed(&assignment, settings, local, now_ms)
                });
            }
        }
    }

    /// One at a time; another one gives up on the one before.
    pub(super) fn send_fetch(&mut self, id: i32, gives_up: bool) {
        self.next_value += 1;
        let node = &mut self.nodes[id as usize];
        if let Role::Follower { leader } = node.role
            && node.up
            && (gives_up || node.correlation_id == 0)
        {
            node.correlation_id = self.next_value;
            self.messages.push(Message::Fetch {
                to: leader,
                fetch: FollowerFetch {
                    node_id: id,
                    broker_epoch: node.broker_epoch,
                    fetch_offset: node.end(),
                    log_start_offset: 0,
                },
                leader_epoch: node.leader_epoch,
                last_fetched_epoch: node.last_epoch(),
                correlation_id: node.correlation_id,
                after_ms: node.answered_ms,
            });
        }
    }

    /// A leader serves a fetch.
    pub(super) fn serve(
        &mut self,
        id: i32,
        fetch: FollowerFetch,
        leader_epoch: i32,
        last_fetched_epoch: i32,
        correlation_id: u64,
        records_max: usize,
    ) {
        let now_ms = self.now_ms;
        let node = &self.nodes[id as usize];
        let mut answer = FetchedPartition {
            request_leader_epoch: leader_epoch,
            request_offset: fetch.fetch_offset,
            error: ErrorCode::None,
            high_watermark: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader_epoch: -1,
        };
        let mut records = Vec::new();
        if !node.up {
            return;
        } else if !matches!(node.role, Role::Leader(_)) {
            answer.error = ErrorCode::NotLeaderOrFollower;
            answer.current_leader_epoch = node.leader_epoch;
        } else if leader_epoch < node.leader_epoch {
            answer.error = ErrorCode::FencedLeaderEpoch;
        } else if leader_epoch > node.leader_epoch {
            answer.error = ErrorCode::UnknownLeaderEpoch;
        } else if let Some(diverging) = node.divergence(last_fetched_epoch, fetch.fetch_offset) {
            answer.diverging_epoch = Some(diverging);
        } else {
            let mut refused = None;
            self.lead(id, |leader, local, cluster, _| {
                leader
                    .fetched(fetch, local, cluster, now_ms)
                    .unwrap_or_else(|error| {
                        refused = Some(error.code());
                        Effects::default()
                    })
            });
            let node = &self.nodes[id as usize];
            answer.high_watermark = node.high_watermark;
            answer.log_start_offset = 0;
            if let Some(code) = refused {
                answer.error = code;
            } else {
                let from = fetch.fetch_offset as usize;
                let to = node.log.len().min(from + records_max);
                records.extend_from_slice(&node.log[from..to]);
            }
        }
        self.messages.push(Message::Fetched {
            to: fetch.node_id,
            correlation_id,
            answered_ms: now_ms,
            answer,
            records,
        });
    }

    /// A fetch that was served may say that its asker followed at some time.
    pub(super) fn confirm(&mut self, id: i32, asker: i32, epoch: i32, after_ms: Option<i64>) {
        let now_ms = self.now_ms;
        let Role::Leader(leader) = &mut self.node(id).role else {
            return;
        };
        if let Some(after_ms) = after_ms.filter(|_| leader.leader_epoch() == epoch) {
            let _ = leader.fetch_was_made_after(asker, after_ms);
            if leader.led_at(now_ms - 2) {
                self.counts.confirmed += 1;
            }
        }
    }

    /// A follower takes an answer in.
    pub(super) fn follow(&mut self, id: i32, answer: &FetchedPartition, records: &[Record]) {
        let node = &mut self.nodes[id as usize];
        if !matches!(node.role, Role::Follower { .. }) {
            return;
        }
        let log = |node: &Node| FollowerLog {
            leader_epoch: node.leader_epoch,
            start_offset: 0,
            end_offset: node.end(),
            high_watermark: node.high_watermark,
        };
        let step = next_step(&log(node), answer, |epoch| node.end_offset_for_epoch(epoch));
        match step {
            Step::Append => {
                node.log.extend_from_slice(records);
                node.high_watermark = progress_after_append(&log(node), answer).high_watermark;
            }
            Step::Truncate { to } => {
                assert!(
                    to >= node.high_watermark,
                    "elections are clean: {step:?} of {node:?} for {answer:?}"
                );
                self.counts.truncated += usize::from(to < node.end());
                node.log.truncate(to as usize);
            }
            Step::Retry | Step::WaitForMetadata => {}
            Step::Reset { .. } | Step::Failed(_) => panic!("node {id}: {step:?} for {answer:?}"),
        }
    }
}
