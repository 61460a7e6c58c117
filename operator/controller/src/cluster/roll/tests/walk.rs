//! Whole rolls in a world that does as it likes: edits in the middle, templates that do not come up, evictions,
//! crashes, answers that are lost. Whatever happens, no step takes away what serves while something else is away,
//! a bad template takes one pod, and in the end everything is of the newest template.

use super::{Place, crash_loops, edit, quorum, uid, world};
use crate::cluster::observed::{PodState, QuorumView};
use crate::cluster::roll::input::{Denial, RollInput};
use crate::cluster::roll::{Next, Step, roll};
use crate::names::{CONTROLLER_NODE_ID_BASE, Role};
use crate::quorum::view::GrantView;

const WALKS: u64 = 1_000;
const EVENTS: u32 = 120;
/// More than all restarts that there can be need.
const EVENTS_TO_SETTLE: u32 = 2_000;
const OPERATOR_EPOCH: i64 = 5;

/// What the API server and the quorum would be.
struct World {
    input: RollInput,
    random: u64,
    births: i32,
    edits: i32,
    grants: i64,
    restarts: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            input: world(),
            random: seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15),
            births: 0,
            edits: 0,
            grants: 0,
            restarts: 0,
        }
    }

    /// One of so many; xorshift.
    fn one_of(&mut self, count: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % count
    }

    fn place(&mut self) -> Place {
        let role = Role::ALL[usize::try_from(self.one_of(2)).expect("small")];
        (role, i32::try_from(self.one_of(3)).expect("small"))
    }

    /// Something goes on by itself.
    fn pass_time(&mut self) {
        let place = self.place();
        let node_id = node_id(place);
        let Some(pod) = self.input.pods.get(&place).cloned() else {
            self.births += 1;
            let newest = self.input.sets[&place.0].update_revision.clone();
            let mut made = super::pod(&uid(place, self.births), &newest.expect("known"));
            (made.ready, made.running) = (false, false);
            self.input.pods.insert(place, made);
            return;
        };
        if pod.deleting {
            self.input.pods.remove(&place);
            self.fence(place);
        } else if pod.ready {
            self.end_grant(place);
        } else if pod
            .revision
            .as_deref()
            .is_some_and(|it| it.starts_with("bad"))
        {
            crash_loops(&mut self.input, place);
        } else {
            let births = self.births;
            let up = super::at(&mut self.input, place);
            *up = super::pod(&pod.uid, pod.revision.as_deref().expect("known"));
            if let Some(broker) = quorum(&mut self.input).brokers.get_mut(&node_id) {
                broker.incarnation =
                    format!("process-{node_id}-{births}-{}", pod.container_restarts);
                broker.fenced = false;
            }
        }
        self.input.denied.clear();
    }

    /// The quorum ends the grant of a broker that is back.
    fn end_grant(&mut self, place: Place) {
        let process = self.input.process(place.0, place.1);
        let grants = &mut quorum(&mut self.input).grants;
        let grant = grants.get(&node_id(place));
        if place.0 == Role::Broker
            && grant.is_some_and(|it| Some(&it.incarnation) != process.as_ref())
        {
            grants.remove(&node_id(place));
        }
    }

    fn fence(&mut self, place: Place) {
        if let Some(broker) = quorum(&mut self.input).brokers.get_mut(&node_id(place)) {
            broker.fenced = true;
        }
    }

    /// Something that nobody has asked the roll about.
    fn disturb(&mut self) {
        let place = self.place();
        match self.one_of(12) {
            0..=3 => {
                self.edits += 1;
                let kind = ["bad", "good"][usize::try_from(self.one_of(2)).expect("small")];
                edit(&mut self.input, &format!("{kind}-{}", self.edits));
            }
            4 => edit(&mut self.input, "old"),
            5..=7 => self.crash(place),
            8 => self.evict(place),
            9 => {
                if let Some(pod) = self.input.pods.get_mut(&place) {
                    pod.restart_asked = true;
                }
            }
            10 => {
                let active = i32::try_from(self.one_of(3)).expect("small");
                quorum(&mut self.input).active_node_id = CONTROLLER_NODE_ID_BASE + active;
            }
            _ => self.end_by_time(),
        }
    }

    fn crash(&mut self, place: Place) {
        if let Some(pod) = self.input.pods.get_mut(&place) {
            (pod.ready, pod.running) = (false, false);
            self.fence(place);
        }
    }

    /// The process asks for itself.
    fn evict(&mut self, place: Place) {
        let serves = self.input.pods.get(&place).is_some_and(|pod| pod.ready);
        if serves && self.allows(place) && self.grant(place, 0) {
            super::at(&mut self.input, place).deleting = true;
        }
    }

    /// A grant that lasts too long.
    fn end_by_time(&mut self) {
        quorum(&mut self.input).grants.clear();
    }

    /// All others of the role are there, or the one that asks is not.
    fn allows(&self, (role, ordinal): Place) -> bool {
        let is_there = |place: Place| self.input.pods.get(&place).is_some_and(|pod| pod.ready);
        let mut others = (0..3).filter(|it| *it != ordinal);
        !is_there((role, ordinal)) || others.all(|it| is_there((role, it)))
    }

    fn grant(&mut self, place: Place, operator_epoch: i64) -> bool {
        let Some(incarnation) = self.input.process(place.0, place.1) else {
            return false;
        };
        self.grants += 1;
        let grant = GrantView {
            incarnation,
            grant_epoch: self.grants,
            operator_epoch,
            reason: "a walk".into(),
        };
        quorum(&mut self.input).grants.insert(node_id(place), grant);
        true
    }

    /// A pass of the operator.
    fn pass(&mut self) {
        let Next::Do(step) = roll(&self.input).next else {
            return;
        };
        match step {
            Step::Replace { pod, uid, .. } => {
                let place = self.find(&pod, &uid);
                let state = &self.input.pods[&place];
                assert!(!state.running, "{pod} runs");
                let is_known_bad = state.trouble.is_none() && self.has_failed(place.0);
                assert!(
                    !is_known_bad,
                    "{pod} might come back, and the template is bad"
                );
                self.delete(place);
            }
            Step::Restart {
                pod, uid, insist, ..
            } => {
                assert!(!insist);
                let place = self.find(&pod, &uid);
                self.assert_alone(place);
                let message = "one at a time".to_owned();
                if !self.allows(place) {
                    let incarnation = self.input.process(place.0, place.1).expect("known");
                    let denial = Denial {
                        incarnation,
                        message,
                    };
                    self.input.denied.insert(node_id(place), denial);
                    return;
                }
                self.grant(place, OPERATOR_EPOCH);
                // The answer may be lost, or the operator end before it deletes.
                if self.one_of(4) > 0 {
                    self.delete(place);
                }
            }
            Step::Release {
                node_id,
                grant_epoch,
                ..
            } => {
                let grants = &mut quorum(&mut self.input).grants;
                let grant = grants.remove(&node_id).expect("there is a grant");
                assert_eq!(grant.grant_epoch, grant_epoch);
            }
        }
    }

    /// What serves is taken away while all else is there that is not to be restarted itself, and while no newest
    /// template is known to be bad. By a grant of before, only while all else is there.
    fn assert_alone(&self, place: Place) {
        let left = roll(&self.input).left;
        for role in Role::ALL {
            for ordinal in 0..3 {
                let other = (role, ordinal);
                let name = self.input.name.pod(role, ordinal);
                let is_begun = quorum_of(&self.input).grants.contains_key(&node_id(place));
                if other == place || (left.contains(&name) && !is_begun) {
                    continue;
                }
                let pod = self.input.pods.get(&other);
                assert!(
                    pod.is_some_and(|pod| pod.ready),
                    "{place:?} while {other:?} is away"
                );
            }
        }
        let fails_itself = self.input.pods[&place].trouble.is_some();
        assert!(fails_itself || Role::ALL.iter().all(|role| !self.has_failed(*role)));
    }

    /// A pod of the role's newest template does not come up.
    fn has_failed(&self, role: Role) -> bool {
        let newest = &self.input.sets[&role].update_revision;
        self.input.pods.iter().any(|((of, _), pod)| {
            *of == role && pod.revision == *newest && pod.trouble.is_some() && !pod.deleting
        })
    }

    fn find(&self, name: &str, uid: &str) -> Place {
        let mut pods = self.input.pods.iter();
        let found = pods.find(|((role, ordinal), _)| self.input.name.pod(*role, *ordinal) == name);
        let (place, pod) = found.expect("the pod is there");
        assert_eq!(pod.uid, uid);
        assert!(!pod.deleting, "{name} is on its way out");
        *place
    }

    fn delete(&mut self, place: Place) {
        self.restarts += 1;
        super::at(&mut self.input, place).deleting = true;
    }

    fn is_settled(&self) -> bool {
        let of_newest = |(place, pod): (&Place, &PodState)| {
            pod.ready && pod.revision == self.input.sets[&place.0].update_revision
        };
        roll(&self.input).next == Next::Nothing
            && self.input.pods.len() == 6
            && self.input.pods.iter().all(of_newest)
    }
}

fn node_id((role, ordinal): Place) -> i32 {
    role.node_id_base() + ordinal
}

fn quorum_of(input: &RollInput) -> &QuorumView {
    input.quorum.as_ref().expect("it answers")
}

#[test]
fn whatever_happens_a_roll_takes_one_at_a_time_and_comes_to_its_end() {
    let mut restarts = 0;
    for seed in 0..WALKS {
        let mut world = World::new(seed);
        for _ in 0..EVENTS {
            if world.one_of(6) == 0 {
                world.disturb();
            } else {
                world.pass_time();
            }
            world.pass();
        }
        edit(&mut world.input, "good-at-last");
        let mut events = 0;
        while !world.is_settled() {
            world.pass_time();
            world.pass();
            if events % 100 == 99 {
                world.end_by_time();
            }
            events += 1;
            assert!(
                events < EVENTS_TO_SETTLE,
                "seed {seed}: {:#?}\n{:#?}",
                roll(&world.input),
                world.input
            );
        }
        restarts += world.restarts;
    }
    assert!(
        restarts > 10_000,
        "{restarts} restarts: the walks go nowhere"
    );
}

/// With nothing else going on, every pod is restarted once.
#[test]
fn a_quiet_roll_restarts_every_pod_once() {
    for seed in 0..100 {
        let mut world = World::new(seed);
        edit(&mut world.input, "good");
        let mut events = 0;
        while !world.is_settled() {
            world.pass_time();
            world.pass();
            events += 1;
            assert!(events < EVENTS_TO_SETTLE, "seed {seed}");
        }
        assert_eq!(world.restarts, 6, "seed {seed}");
    }
}
