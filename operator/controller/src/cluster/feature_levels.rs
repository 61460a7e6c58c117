//! Feature levels: when an upgrade is over for good. Pure.
//!
//! A level says which records may be written, and never goes back: from then on the version before cannot read the
//! metadata. So it is finalised when every pod is Ready from the newest template, and every broker has said that it
//! knows the level; what the controllers know is the quorum's to ask. Until then the image may be taken back.

use crate::cluster::observed::Observed;
use crate::cluster::plan::Action;
use crate::names::Role;

/// The feature whose level says which records may be written.
pub(super) const FOZ_VERSION: &str = "foz.version";

/// The level to finalise now, if any. `is_at_ease`: the plan changes no template and restarts no pod.
pub(super) fn finalize(observed: &Observed, is_at_ease: bool) -> Option<Action> {
    let view = observed.quorum.current()?;
    let finalized = *view.features.get(FOZ_VERSION)?;
    let brokers = view.brokers.values();
    let level = brokers.map(|broker| broker.foz_version_max).min()?;
    let all_live = view.brokers.values().all(|broker| !broker.fenced);
    let may = level > finalized && is_at_ease && all_live;
    (may && Role::ALL.into_iter().all(|role| all_new(observed, role)))
        .then_some(Action::FinalizeFeatureLevel(level))
}

/// Every pod of the role is there, Ready, and from the newest template.
fn all_new(observed: &Observed, role: Role) -> bool {
    let Some(set) = observed.sets.get(&role) else {
        return false;
    };
    set.update_revision.is_some()
        && (0..set.replicas).all(|ordinal| {
            let pod = observed.pods.get(&(role, ordinal));
            pod.is_some_and(|pod| pod.ready && !pod.deleting && pod.revision == set.update_revision)
        })
}
