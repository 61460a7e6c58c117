//! The quorum's part in moving replicas: cordons, rebalances of one partition at a time, brokers that are forgotten.

use std::collections::BTreeSet;

use foz_api::v1::cluster_event::Event;
use foz_api::v1::plan_rebalance_response::{Answer as PlanAnswer, BrokerLoad, Plan};
use foz_api::v1::rebalance::State;
use foz_api::v1::start_rebalance_response::{Answer as StartAnswer, NothingToDo, Started};
use foz_api::v1::{PlanRebalanceRequest, Rebalance, RebalanceGoal, StartRebalanceRequest, Topic};

use super::quorum::Quorum;

impl Quorum {
    /// How many partitions have a replica on a broker.
    pub(crate) fn replicas_on(&self, node_id: i32) -> usize {
        let holds = |topic: &Topic| {
            let partitions = topic.partitions.iter();
            partitions
                .filter(|partition| partition.replicas.contains(&node_id))
                .count()
        };
        self.with(|state| state.topics.values().map(holds).sum())
    }

    pub(crate) fn is_registered(&self, node_id: i32) -> bool {
        self.with(|state| state.brokers.contains_key(&node_id))
    }

    pub(super) fn cordon(&self, node_ids: &[i32], cordoned: bool) {
        for node_id in node_ids {
            let broker = self.with(|state| {
                let broker = state.brokers.get_mut(node_id).expect("registered");
                let changes = broker.cordoned != cordoned;
                broker.cordoned = cordoned;
                changes.then(|| broker.clone())
            });
            if let Some(broker) = broker {
                self.tell(Event::BrokerChanged(broker));
            }
        }
    }

    /// `Err`: as the quorum's own rule refuses it.
    pub(super) fn unregister(&self, node_id: i32) -> Result<(), String> {
        if self.replicas_on(node_id) > 0 {
            return Err(format!("broker {node_id} holds replicas"));
        }
        self.with(|state| match state.brokers.get(&node_id) {
            Some(broker) if broker.fenced => {
                state.brokers.remove(&node_id);
                Ok(())
            }
            Some(_) => Err(format!("broker {node_id} is alive")),
            None => Err(format!("broker {node_id} is not registered")),
        })?;
        self.tell(Event::BrokerRemoved(node_id));
        Ok(())
    }

    pub(super) fn planned(&self, request: &PlanRebalanceRequest) -> PlanAnswer {
        if let Some(unknown) = request
            .broker_ids
            .iter()
            .find(|id| !self.is_registered(**id))
        {
            let why = format!("broker_ids names {unknown}, which is not registered");
            return PlanAnswer::Refused(why);
        }
        let brokers: Vec<i32> = self.with(|state| state.brokers.keys().copied().collect());
        let load = |node_id: &i32| BrokerLoad {
            node_id: *node_id,
            replicas: i32::try_from(self.replicas_on(*node_id)).expect("few"),
            ..BrokerLoad::default()
        };
        let moves = match request.goal() {
            RebalanceGoal::DrainBrokers => {
                let drained = request.broker_ids.iter();
                drained.map(|id| self.replicas_on(*id)).sum()
            }
            goal => usize::from(self.next_move(goal, &request.broker_ids).is_some()),
        };
        PlanAnswer::Plan(Plan {
            moves: i32::try_from(moves).expect("few"),
            seconds: -1,
            before: brokers.iter().map(load).collect(),
            ..Plan::default()
        })
    }

    pub(super) fn started(&self, request: &StartRebalanceRequest) -> StartAnswer {
        self.with(|state| state.started.push(request.clone()));
        let running = self.running();
        let drains = request.goal() == RebalanceGoal::DrainBrokers;
        if let Some(running) = &running {
            if running.goal == request.goal && running.broker_ids == request.broker_ids {
                return StartAnswer::Started(Started {
                    rebalance_id: running.rebalance_id,
                    ..Started::default()
                });
            }
            if !drains {
                return StartAnswer::Refused("another one is under way".into());
            }
        }
        let is_cordoned = |id: &&i32| self.with(|state| state.brokers[*id].cordoned);
        if drains && !request.broker_ids.iter().all(|id| is_cordoned(&id)) {
            return StartAnswer::Refused("not cordoned".into());
        }
        let is_left = request.only_if_uneven && !self.is_uneven(request.threshold_percent);
        let next = self.next_move(request.goal(), &request.broker_ids);
        if is_left || next.is_none() {
            return StartAnswer::NothingToDo(NothingToDo {});
        }
        let rebalance = self.with(|state| {
            state.last_rebalance += 1;
            Rebalance {
                rebalance_id: state.last_rebalance,
                goal: request.goal,
                broker_ids: request.broker_ids.clone(),
                state: State::Running.into(),
                moves_total: 9,
                seconds_left: 40,
                ..Rebalance::default()
            }
        });
        let rebalance_id = rebalance.rebalance_id;
        self.tell_rebalance(rebalance);
        StartAnswer::Started(Started {
            rebalance_id,
            moves: 9,
            bytes: 0,
        })
    }

    /// A broker has so many percent more or fewer replicas than the average.
    fn is_uneven(&self, threshold_percent: i32) -> bool {
        let ids: Vec<i32> = self.with(|state| state.brokers.keys().copied().collect());
        let total: usize = ids.iter().map(|id| self.replicas_on(*id)).sum();
        let threshold = usize::try_from(threshold_percent).expect("positive");
        ids.iter().any(|id| {
            let differs = (self.replicas_on(*id) * ids.len()).abs_diff(total);
            differs * 100 > total * threshold
        })
    }

    pub(super) fn cancelled(&self, rebalance_id: i64) -> bool {
        let running = self.running().filter(|it| it.rebalance_id == rebalance_id);
        let Some(mut running) = running else {
            return false;
        };
        running.state = State::Cancelled.into();
        self.tell_rebalance(running);
        true
    }

    pub(crate) fn running(&self) -> Option<Rebalance> {
        let newest = self.with(|state| state.rebalance.clone());
        newest.filter(|it| it.state() == State::Running)
    }

    /// The active controller moves one replica, or sees that nothing is left to be moved.
    pub(crate) fn move_one(&self) {
        let Some(mut running) = self.running() else {
            return;
        };
        match self.next_move(running.goal(), &running.broker_ids) {
            Some((topic, partition, from, to)) => {
                let topic = self.with(|state| {
                    let topic = state.topics.get_mut(&topic).expect("the topic");
                    let moved = &mut topic.partitions[partition];
                    for replicas in [&mut moved.replicas, &mut moved.isr] {
                        replicas.retain(|replica| *replica != from);
                        replicas.push(to);
                    }
                    topic.clone()
                });
                self.tell(Event::TopicChanged(topic));
                running.moves_done += 1;
            }
            None => {
                let drains = running.goal() == RebalanceGoal::DrainBrokers;
                let holds = |id: &i32| self.replicas_on(*id) > 0;
                // What nobody can take waits.
                if drains && running.broker_ids.iter().any(holds) {
                    return;
                }
                running.state = State::Completed.into();
            }
        }
        self.tell_rebalance(running);
    }

    fn tell_rebalance(&self, rebalance: Rebalance) {
        self.with(|state| state.rebalance = Some(rebalance.clone()));
        self.tell(Event::RebalanceChanged(rebalance));
    }

    /// Topic, partition, the broker that it leaves, and the one that gets it.
    fn next_move(&self, goal: RebalanceGoal, named: &[i32]) -> Option<(String, usize, i32, i32)> {
        let named: BTreeSet<i32> = named.iter().copied().collect();
        let mut takers: Vec<i32> = self.with(|state| {
            let brokers = state.brokers.values();
            let takes = brokers.filter(|broker| !broker.fenced && !broker.cordoned);
            takes.map(|broker| broker.node_id).collect()
        });
        takers.sort_by_key(|id| self.replicas_on(*id));
        let topics = self.with(|state| state.topics.clone());
        let moved = |from: i32, to: &[i32]| {
            topics.values().find_map(|topic| {
                let mut partitions = topic.partitions.iter().enumerate();
                partitions.find_map(|(index, partition)| {
                    let replicas = &partition.replicas;
                    let to = to.iter().find(|to| !replicas.contains(to))?;
                    let leaves = replicas.contains(&from);
                    leaves.then(|| (topic.name.clone(), index, from, *to))
                })
            })
        };
        if goal == RebalanceGoal::DrainBrokers {
            // One broker after the other becomes empty, the highest number first.
            return named.iter().rev().find_map(|from| moved(*from, &takers));
        }
        let (least, most) = (*takers.first()?, *takers.last()?);
        let allowed = goal == RebalanceGoal::Full || named.contains(&least);
        let differ = self.replicas_on(most) > self.replicas_on(least) + 1;
        (allowed && differ).then(|| moved(most, &[least])).flatten()
    }
}
