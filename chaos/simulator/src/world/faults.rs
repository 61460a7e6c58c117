//! What goes wrong, and when it is over.

mod targets;

use super::nodes::Death;
use super::{Event, What, World};
use crate::broker::Disk;
use crate::message::Message;
use crate::scenario::{CLIENTS, Focus};
use targets::InSync;

/// Something that is put right by itself after a while.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// A process is not there.
    Down { id: i32 },
    /// Nothing gets through on these ways.
    Cut { ways: Vec<(i32, i32)> },
}

impl World {
    pub(super) fn next_fault(&mut self) {
        if self.now_ms >= self.scenario.faults_end_ms {
            self.end_faults();
            return;
        }
        self.counts.faults += 1;
        self.fault();
        let pause_ms = self.scenario.fault_pause_ms;
        let next_ms = self.now_ms + self.chance.between(1, 2 * pause_ms);
        self.queue.put(next_ms, Event::NextFault);
    }

    fn fault(&mut self) {
        match self.scenario.focus {
            Some(Focus::Elections) if self.chance.permille(500) => self.end_in_election(),
            Some(Focus::LossBehindCuts) if self.chance.permille(300) => self.loss_behind_cut(),
            _ => self.any_fault(),
        }
    }

    fn any_fault(&mut self) {
        match self.chance.below(100) {
            0..14 => self.kill_broker(),
            14..28 => self.power_loss_of_broker(),
            28..33 => self.another_disk(),
            33..43 => self.stop_broker(),
            43..53 => self.pause_somebody(),
            53..59 => self.end_a_controller(),
            59..60 => self.false_alarm(),
            60..63 => self.loss_behind_cut(),
            63..80 => self.cut_somebody_off(),
            80..88 => self.cut_one_way(),
            88..90 => self.all_at_once(),
            90..95 => {
                let id = self.some_broker();
                self.back_up(id);
            }
            _ => {
                let to = self.active_controller();
                self.send(CLIENTS, to, Message::ElectPreferred);
            }
        }
    }

    /// Everybody comes back, and the network is as good as new.
    fn end_faults(&mut self) {
        self.trace.line(|| "faults are over".to_owned());
        self.network.heal();
        for id in self.scenario.controller_ids() {
            self.pause(id, 0);
            self.start_controller(id);
        }
        for id in self.scenario.broker_ids() {
            self.pause(id, 0);
            self.start_broker(id);
        }
    }

    pub(super) fn fault_over(&mut self, fault: Fault) {
        self.trace.line(|| format!("over: {fault:?}"));
        match fault {
            Fault::Down { id } if self.controllers.contains_key(&id) => self.start_controller(id),
            Fault::Down { id } => self.start_broker(id),
            Fault::Cut { ways } => {
                for (from, to) in ways {
                    self.network.join(from, to);
                }
            }
        }
    }

    fn over_in(&mut self, least_ms: i64, most_ms: i64, fault: Fault) {
        let over_ms = self.now_ms + self.chance.between(least_ms, most_ms);
        self.queue.put(over_ms, Event::Over(fault));
    }

    fn kill_broker(&mut self) {
        let id = self.some_broker();
        self.end_broker(id, Death::Killed);
        self.over_in(20, 3_000, Fault::Down { id });
    }

    fn power_loss_of_broker(&mut self) {
        let id = self.some_broker();
        let losses_max = self.scenario.losses_max;
        if self.scenario.flushes_each || self.checks.may_lose(id, losses_max) {
            self.end_broker(id, Death::PowerLost);
            self.over_in(50, 4_000, Fault::Down { id });
        }
    }

    /// A follower comes back with less than its leader has seen in it, and for a while only the controllers hear of
    /// it. Whoever else is in sync is away: with `min.insync.replicas` of 2 nothing is committed meanwhile, so
    /// nothing but the broker epoch tells the leader that what it knows is of an incarnation that is gone (KIP-903).
    fn loss_behind_cut(&mut self) {
        let Some(InSync { follower, others }) = self.some_follower_in_sync() else {
            return;
        };
        if !self.checks.may_lose(follower, self.scenario.losses_max) {
            return;
        }
        for id in others {
            self.end_broker(id, Death::Killed);
            self.over_in(500, 3_000, Fault::Down { id });
        }
        let peers = self.scenario.broker_ids().filter(|peer| *peer != follower);
        let ways = peers.flat_map(|peer| [(follower, peer), (peer, follower)]);
        self.cut(ways.collect());
        if self.chance.permille(500) {
            self.end_broker(follower, Death::PowerLost);
        } else {
            self.end_with_another_disk(follower, Death::Killed);
        }
        self.over_in(20, 300, Fault::Down { id: follower });
    }

    fn another_disk(&mut self) {
        let id = self.some_broker();
        if !self.checks.may_lose(id, self.scenario.losses_max) {
            return;
        }
        let death = if self.chance.permille(500) {
            Death::Killed
        } else {
            Death::PowerLost
        };
        self.end_with_another_disk(id, death);
        self.over_in(20, 3_000, Fault::Down { id });
    }

    /// An emptied one, or an older copy.
    fn end_with_another_disk(&mut self, id: i32, death: Death) {
        self.end_broker(id, death);
        let backup = self
            .brokers
            .get_mut(&id)
            .and_then(|node| node.backup.take());
        let disk = backup.unwrap_or_else(|| Disk::empty(self.chance.id()));
        self.replace_disk(id, disk);
    }

    fn stop_broker(&mut self) {
        let id = self.some_broker();
        self.with_broker(id, |broker, ctx| broker.stop(ctx));
        let node = self.brokers.get(&id);
        let stopped = node.and_then(|node| node.process.as_ref());
        if stopped.is_some_and(|process| process.has_stopped) {
            self.broker_stopped(id);
        }
    }

    fn pause_somebody(&mut self) {
        let id = if self.chance.permille(700) {
            self.some_broker()
        } else {
            self.some_controller()
        };
        let until_ms = self.now_ms + self.chance.between(50, 5_000);
        self.trace
            .line(|| format!("{id} stands still until {until_ms}"));
        self.pause(id, until_ms);
    }

    fn end_a_controller(&mut self) {
        let id = self.some_controller();
        let death = if self.chance.permille(500) {
            Death::Killed
        } else {
            Death::PowerLost
        };
        self.end_controller(id, death);
        self.over_in(20, 3_000, Fault::Down { id });
    }

    /// The active controller ends, and once the next one has been voted for, the others end before they hear more
    /// of it. Those who come back first hold the next election: in another term, if they remember their votes.
    fn end_in_election(&mut self) {
        let id = self.active_controller();
        self.end_controller(id, Death::Killed);
        self.over_in(300, 1_000, Fault::Down { id });
        let others = self.scenario.controller_ids().filter(|other| *other != id);
        let ids = others.collect();
        let voted_ms = self.now_ms + self.chance.between(24, 44);
        self.queue.put(voted_ms, Event::EndControllers { ids });
    }

    /// The first one stood for election.
    pub(super) fn end_voters(&mut self, ids: &[i32]) {
        for (id, (least_ms, most_ms)) in ids.iter().zip([(1_500, 3_000), (20, 200)]) {
            self.end_controller(*id, Death::PowerLost);
            self.over_in(least_ms, most_ms, Fault::Down { id: *id });
        }
    }

    fn cut_somebody_off(&mut self) {
        let id = match self.chance.below(10) {
            0..7 => self.some_broker(),
            _ => self.some_controller(),
        };
        let peers: Vec<i32> = match self.chance.below(3) {
            // From all nodes; clients may reach it all the same.
            0 => self.nodes(),
            1 => self.scenario.controller_ids().collect(),
            _ => self.scenario.broker_ids().collect(),
        };
        let others = peers.into_iter().filter(|peer| *peer != id);
        let ways = others.flat_map(|peer| [(id, peer), (peer, id)]).collect();
        self.cut(ways);
    }

    fn cut_one_way(&mut self) {
        let id = if self.chance.permille(700) {
            self.some_broker()
        } else {
            self.some_controller()
        };
        let outward = self.chance.permille(500);
        let others = self.nodes().into_iter().filter(|peer| *peer != id);
        let ways = others
            .map(|peer| if outward { (id, peer) } else { (peer, id) })
            .collect();
        self.cut(ways);
    }

    fn cut(&mut self, ways: Vec<(i32, i32)>) {
        for (from, to) in &ways {
            self.network.cut(*from, *to);
        }
        self.trace.line(|| format!("cut: {ways:?}"));
        if self.chance.permille(300) {
            self.refuse(&ways);
        }
        self.over_in(50, 6_000, Fault::Cut { ways });
    }

    /// What lies between does not drop packets but refuses them: to a controller it seems as if the process at the
    /// other end were no more.
    fn refuse(&mut self, ways: &[(i32, i32)]) {
        let controllers = self.scenario.controller_ids();
        for (from, to) in ways {
            if controllers.contains(from) && controllers.contains(to) {
                self.hear_of_end(*from, *to);
            }
        }
    }

    /// A controller is taken for ended, and nothing else happens.
    fn false_alarm(&mut self) {
        let id = self.some_controller();
        let peers = self.scenario.controller_ids().filter(|peer| *peer != id);
        for peer in peers.collect::<Vec<_>>() {
            self.hear_of_end(id, peer);
        }
    }

    fn hear_of_end(&mut self, from: i32, to: i32) {
        let (life, message) = (self.life(to), Message::ProcessEnded);
        let what = What::Message { from, message };
        let after_ms = self.chance.between(1, 50);
        self.queue
            .put(self.now_ms + after_ms, Event::Node { to, life, what });
    }

    fn all_at_once(&mut self) {
        let bears = self.scenario.flushes_each || self.scenario.losses_max >= self.scenario.brokers;
        let death = if bears && self.chance.permille(500) {
            Death::PowerLost
        } else {
            Death::Killed
        };
        for id in self.nodes() {
            if self.controllers.contains_key(&id) {
                self.end_controller(id, death);
            } else {
                self.end_broker(id, death);
            }
            self.over_in(20, 1_500, Fault::Down { id });
        }
    }
}
