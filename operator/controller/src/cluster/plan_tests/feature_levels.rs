//! When the level of an upgrade is finalised.

use serde_json::json;

use super::{key, plan_of, pod, settled, view_mut};
use crate::cluster::fixtures::validated;
use crate::cluster::observed::{Observed, QuorumState};
use crate::cluster::owned::Owned;
use crate::cluster::plan::Action;
use crate::names::Role;

/// Every node runs a version that knows level 2.
fn upgraded() -> Observed {
    let mut observed = settled(&validated());
    for broker in view_mut(&mut observed).brokers.values_mut() {
        broker.foz_version_max = 2;
    }
    observed
}

fn finalized(observed: &Observed) -> Option<i32> {
    let plan = plan_of(&validated(), observed);
    plan.actions.iter().find_map(|action| match action {
        Action::FinalizeFeatureLevel(level) => Some(*level),
        _ => None,
    })
}

#[test]
fn a_level_is_finalised_when_every_node_is_ready_from_the_newest_template() {
    assert_eq!(finalized(&settled(&validated())), None);
    assert_eq!(finalized(&upgraded()), Some(2));
    let mut done = upgraded();
    view_mut(&mut done).features.insert("foz.version".into(), 2);
    assert_eq!(finalized(&done), None);
}

#[test]
fn it_waits_for_each_of_them() {
    let waits = |what: &str, change: &dyn Fn(&mut Observed)| {
        let mut observed = upgraded();
        change(&mut observed);
        assert_eq!(finalized(&observed), None, "{what}");
    };
    for role in Role::ALL {
        waits("a pod of the older template", &|observed| {
            observed.pods.insert((role, 2), pod("old", true));
        });
        waits("a pod that is not ready", &|observed| {
            observed.pods.insert((role, 2), pod("new", false));
        });
        waits("a pod that is not there", &|observed| {
            observed.pods.remove(&(role, 2));
        });
        waits("a template that is not known", &|observed| {
            let set = observed.sets.get_mut(&role).expect("settled");
            set.update_revision = None;
        });
    }
    waits("a template that is about to change", &|observed| {
        let set = key(Owned::StatefulSet, "demo-broker");
        observed.live.get_mut(&set).expect("settled")["metadata"]["labels"] = json!({});
    });
    waits("a broker that does not know it", &|observed| {
        let brokers = &mut view_mut(observed).brokers;
        brokers.get_mut(&1).expect("settled").foz_version_max = 1;
    });
    waits("a broker that is away", &|observed| {
        let brokers = &mut view_mut(observed).brokers;
        brokers.get_mut(&1).expect("settled").fenced = true;
    });
    waits("a quorum that does not answer", &|observed| {
        observed.quorum = QuorumState::Unknown;
    });
    waits("a quorum that does not tell its level", &|observed| {
        view_mut(observed).features.clear();
    });
}
