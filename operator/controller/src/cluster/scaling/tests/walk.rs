//! All interleavings that a seed brings about: edits of `spec.replicas`, brokers that die and come back, operators that
//! take over from each other, hands that lower the StatefulSet, and answers that are lost. Whatever comes first, the
//! end is what the spec says, and on the way no broker is taken away that holds something.

use std::collections::BTreeMap;

use super::*;
use crate::cluster::observed::SetState;
use crate::cluster::scaling::even::even_out;

/// Seeds; each walks some hundred steps.
const WALKS: u64 = 1_500;
const STEPS: usize = 120;
const BROKERS_MAX: u64 = 6;

/// Numbers that are the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn broker(&mut self) -> i32 {
        i32::try_from(self.next(BROKERS_MAX)).expect("small")
    }
}

/// Kubernetes and the quorum, as simple as they can be.
#[derive(Debug)]
struct World {
    cluster: ValidatedCluster,
    set: i32,
    /// By broker: whether it is on its way out.
    pods: BTreeMap<i32, bool>,
    /// By broker: alive, cordoned.
    registered: BTreeMap<i32, (bool, bool)>,
    /// Of each partition.
    partitions: Vec<BTreeSet<i32>>,
    rebalances: BTreeMap<i64, RebalanceView>,
    asked: BTreeMap<Goal, Answer>,
    look_is_due: bool,
    services: BTreeSet<i32>,
    status: ClusterStatus,
    last_id: i64,
}

impl World {
    fn new(random: &mut Random) -> Self {
        let partitions = (0..12).map(|index: i32| {
            let first = index % 3;
            [first, (first + 1) % 3].into()
        });
        let world = Self {
            cluster: with(3),
            set: 3,
            pods: (0..3).map(|id| (id, false)).collect(),
            registered: (0..3).map(|id| (id, (true, false))).collect(),
            partitions: partitions
                .take(4 + usize::try_from(random.next(9)).expect("small"))
                .collect(),
            services: (0..3).collect(),
            rebalances: BTreeMap::new(),
            asked: BTreeMap::new(),
            look_is_due: true,
            status: ClusterStatus::default(),
            last_id: 0,
        };
        assert!(!world.partitions.is_empty());
        world
    }

    fn on(&self, broker: i32) -> usize {
        let holds = |partition: &&BTreeSet<i32>| partition.contains(&broker);
        self.partitions.iter().filter(holds).count()
    }

    fn observed(&self) -> Observed {
        let mut observed = Observed::default();
        let set = SetState {
            replicas: self.set,
            ..SetState::default()
        };
        observed.sets.insert(Role::Broker, set);
        for (id, deleting) in &self.pods {
            let state = PodState {
                deleting: *deleting,
                ..pod("new", true)
            };
            observed.pods.insert((Role::Broker, *id), state);
        }
        // As they are looked for: up to the first that is not there.
        let first = self.cluster.brokers.max(self.set);
        observed.broker_services = (first..)
            .take_while(|id| self.services.contains(id))
            .collect();
        observed.widest_topic = Some(("orders".into(), 2));
        observed.asked = self.asked.clone();
        observed.look_is_due = self.look_is_due;
        let mut view = QuorumView {
            active_node_id: 1000,
            rebalances: self.rebalances.clone(),
            ..QuorumView::default()
        };
        view.brokers = self
            .registered
            .iter()
            .map(|(id, (alive, cordoned))| {
                let broker = BrokerView {
                    incarnation: format!("i{id}"),
                    rack: Some("zone-a".into()),
                    fenced: !alive,
                    cordoned: *cordoned,
                    ..BrokerView::default()
                };
                (*id, broker)
            })
            .collect();
        view.replicas = (0..10)
            .map(|id| (id, i64::try_from(self.on(id)).expect("few")))
            .filter(|(_, count)| *count > 0)
            .collect();
        observed.quorum = QuorumState::Followed(Box::new(view));
        observed
    }

    /// A pass of the operator, of which so many actions are carried out. Says whether there were any.
    fn pass(&mut self, actions_done: usize) -> bool {
        let observed = self.observed();
        let cluster = &self.cluster;
        let scaling = scaling(cluster, &observed, &self.status);
        let mut steps = scaling.steps.clone();
        if scaling.is_calm() && scaling.brokers == self.set {
            steps.extend(even_out(cluster, &observed).step);
        }
        let mut acts = 0;
        for step in steps {
            acts += 1;
            if acts > actions_done {
                return true;
            }
            self.carry_out(step);
        }
        if scaling.brokers != self.set {
            acts += 1;
            if acts > actions_done {
                return true;
            }
            for gone in scaling.brokers..self.set {
                assert_eq!(self.on(gone), 0, "broker {gone} is taken away: {self:#?}");
            }
            self.set = scaling.brokers;
        }
        self.services.extend(0..scaling.brokers);
        let view = observed.quorum.current().expect("followed");
        self.status.scaling = scaling.status(&self.cluster.name, view);
        acts > 0
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Cordon { brokers, cordoned } => {
                for id in brokers {
                    let broker = self.registered.get_mut(&id).expect("registered");
                    broker.1 = cordoned;
                }
            }
            Step::Start(goal) => {
                self.look_is_due &= goal != Goal::Full;
                self.start(goal);
            }
            Step::Cancel { rebalance_id, .. } => {
                let running = self.rebalances.get_mut(&rebalance_id).expect("told");
                running.state = RebalanceState::Cancelled;
            }
            Step::Unregister(id) => {
                let (alive, _) = self.registered.remove(&id).expect("registered");
                assert!(!alive && self.on(id) == 0, "as the quorum's own rule: {id}");
            }
            Step::RemoveService(id) => {
                assert!(id >= self.set, "{id} is in use");
                assert!(self.services.remove(&id));
            }
        }
    }

    fn start(&mut self, goal: Goal) {
        let running = self.rebalances.values_mut().find(|it| it.runs());
        if let Some(running) = running {
            if running.goal.as_ref() == Some(&goal) {
                return;
            }
            if goal.drained().is_none() {
                self.asked.insert(goal, Answer::Refused("one runs".into()));
                return;
            }
            running.state = RebalanceState::Cancelled;
        }
        if let Some(drained) = goal.drained() {
            for id in drained {
                assert!(self.registered[id].1, "broker {id} is not cordoned");
            }
        }
        if self.next_move(&goal).is_none() && goal.drained().is_none() {
            self.asked.insert(goal, Answer::NothingToDo);
            return;
        }
        self.last_id += 1;
        let id = self.last_id;
        self.rebalances
            .insert(id, rebalance(id, goal, RebalanceState::Running));
    }

    /// A partition that is to leave a broker, and for which one.
    fn next_move(&self, goal: &Goal) -> Option<(usize, i32, i32)> {
        let takes = |id: &i32| self.registered.get(id) == Some(&(true, false));
        let mut by_count: Vec<i32> = self.registered.keys().copied().filter(takes).collect();
        by_count.sort_by_key(|id| self.on(*id));
        let moves = |from: i32, to: &[i32]| {
            let mut partitions = self.partitions.iter().enumerate();
            partitions.find_map(|(index, replicas)| {
                let to = to.iter().find(|to| !replicas.contains(to))?;
                replicas.contains(&from).then_some((index, from, *to))
            })
        };
        match goal {
            Goal::DrainBrokers(drained) => drained.iter().find_map(|from| moves(*from, &by_count)),
            Goal::Full | Goal::AddedBrokers(_) => {
                let (low, high) = (*by_count.first()?, *by_count.last()?);
                let differ = self.on(high) - self.on(low);
                let allowed = goal.brokers().is_none_or(|added| added.contains(&low));
                (differ > 1 && allowed)
                    .then(|| moves(high, &[low]))
                    .flatten()
            }
        }
    }

    /// The active controller moves one partition.
    fn moves(&mut self) {
        let Some(id) = self
            .rebalances
            .values()
            .find(|it| it.runs())
            .map(|it| it.id)
        else {
            return;
        };
        let goal = self.rebalances[&id].goal.clone().expect("known");
        if let Some((index, from, to)) = self.next_move(&goal) {
            self.partitions[index].remove(&from);
            self.partitions[index].insert(to);
            self.asked
                .retain(|_, answer| *answer != Answer::NothingToDo);
        } else {
            let drained = goal.drained();
            let is_done = drained.is_none_or(|drained| drained.iter().all(|id| self.on(*id) == 0));
            // What nobody can take waits for a broker that can.
            if is_done {
                self.rebalances.get_mut(&id).expect("told").state = RebalanceState::Completed;
            }
        }
    }

    /// Kubernetes and the processes do one thing.
    fn kubernetes(&mut self, random: &mut Random) {
        let id = random.broker();
        match self.pods.get(&id) {
            None if id < self.set => {
                self.pods.insert(id, false);
            }
            Some(false) if id >= self.set => {
                self.pods.insert(id, true);
            }
            Some(true) => {
                self.pods.remove(&id);
                if let Some(broker) = self.registered.get_mut(&id) {
                    broker.0 = false;
                }
            }
            Some(false) => {
                let broker = self.registered.entry(id).or_insert((true, false));
                broker.0 = true;
            }
            None => {}
        }
    }

    fn trouble(&mut self, random: &mut Random) {
        match random.next(6) {
            0 | 1 => {
                self.cluster.brokers =
                    i32::try_from(2 + random.next(BROKERS_MAX - 1)).expect("small")
            }
            2 => {
                // A crash.
                let id = random.broker();
                if let Some(broker) = self.registered.get_mut(&id) {
                    broker.0 = false;
                }
            }
            3 => {
                // Its node goes away.
                let id = random.broker();
                self.pods.remove(&id);
                if let Some(broker) = self.registered.get_mut(&id) {
                    broker.0 = false;
                }
            }
            4 => {
                self.set = self
                    .set
                    .min(i32::try_from(1 + random.next(BROKERS_MAX)).expect("small"))
            }
            // Another operator knows no answers.
            _ => {
                self.asked.clear();
                self.look_is_due = true;
            }
        }
    }

    fn settles(&mut self, random: &mut Random) {
        for _ in 0..3_000 {
            // Time passes: refusals do not count any more.
            self.asked
                .retain(|_, answer| *answer == Answer::NothingToDo);
            let is_calm = self.is_as_wanted() && !self.rebalances.values().any(RebalanceView::runs);
            if !self.pass(usize::MAX) && is_calm && self.is_as_wanted() {
                return;
            }
            for _ in 0..12 {
                self.kubernetes(random);
                self.moves();
            }
        }
        panic!("does not come to rest: {self:#?}");
    }

    fn is_as_wanted(&self) -> bool {
        let ids: Vec<i32> = (0..self.cluster.brokers).collect();
        let all = |it: &mut dyn Iterator<Item = i32>| it.eq(ids.iter().copied());
        self.set == self.cluster.brokers
            && all(&mut self.pods.keys().copied())
            && all(&mut self.registered.keys().copied())
            && all(&mut self.services.iter().copied())
            && self
                .registered
                .values()
                .all(|broker| *broker == (true, false))
            && self.status.scaling.is_none()
    }
}

#[test]
fn whatever_comes_first_the_end_is_what_the_spec_says() {
    let mut shrunk = 0;
    for seed in 0..WALKS {
        let mut random = Random(seed);
        let mut world = World::new(&mut random);
        for _ in 0..STEPS {
            let before = world.set;
            match random.next(10) {
                0 => world.trouble(&mut random),
                // Cut off in the middle, or an answer that is lost.
                1 => drop(world.pass(usize::try_from(random.next(3)).expect("small"))),
                2..=4 => drop(world.pass(usize::MAX)),
                5 | 6 => world.moves(),
                _ => world.kubernetes(&mut random),
            }
            shrunk += usize::from(world.set < before);
        }
        world.settles(&mut random);
        let counts: Vec<usize> = (0..world.cluster.brokers).map(|id| world.on(id)).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(
            most.expect("some") - least.expect("some") <= 2,
            "seed {seed}: {counts:?}"
        );
        assert!(!world.pass(usize::MAX), "seed {seed}: a second pass acts");
        // However often it is looked at afterwards, nothing begins.
        let last_id = world.last_id;
        for _ in 0..3 {
            world.look_is_due = true;
            assert!(world.pass(usize::MAX), "seed {seed}: it is asked");
            assert!(!world.pass(usize::MAX), "seed {seed}: it is asked again");
        }
        assert_eq!(world.last_id, last_id, "seed {seed}: it begins again");
    }
    // A walk that never shrinks a set would show nothing.
    assert!(shrunk > 1_000, "{shrunk}");
}
