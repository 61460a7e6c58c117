//! What to do about a Topic that is being deleted. Pure.

use foz_crd::TopicStatus;
use foz_crd::topic::DeletionPolicy;

use crate::topic::plan::{Action, ClusterState, Observed, Plan};
use crate::topic::topic_id::{is_made_by, topic_id};

/// Decides what to do about a Topic that is being deleted. The object goes when its topic is gone: the metadata does not
/// have it, and every living broker knows. Where nothing can be done any more it goes at once: a namespace must not hang.
#[must_use]
pub fn plan_deletion(
    topic_name: &str,
    policy: DeletionPolicy,
    observed: &Observed,
    status: &TopicStatus,
) -> Plan {
    if !observed.finalizer {
        return Plan::default();
    }
    let let_go = |why: Option<&str>| Plan {
        actions: vec![Action::RemoveFinalizer],
        left_alone: why.map(|why| format!("topic {topic_name} is left as it is: {why}")),
        ..Plan::default()
    };
    if policy == DeletionPolicy::Retain {
        return let_go(None);
    }
    let was_there = status.topic_id.is_some();
    let waits = |reason, when: &str| {
        Plan::blocked(
            reason,
            format!("topic {topic_name} is deleted as soon as {when}"),
        )
    };
    match observed.cluster {
        ClusterState::Missing => return let_go(was_there.then_some("its Cluster is gone")),
        ClusterState::NotAllowed => {
            let why = "its Cluster does not allow Topics of this namespace any more";
            return let_go(was_there.then_some(why));
        }
        ClusterState::Unseen => return waits("WaitingForCluster", "its Cluster has been seen"),
        ClusterState::Paused => {
            return waits("ClusterPaused", "its Cluster is not paused any more");
        }
        ClusterState::Suspended => return waits("ClusterSuspended", "its Cluster runs again"),
        ClusterState::Present => {}
    }
    if let Some(rival) = &observed.rival {
        let why = format!("Topic object {rival} names it too");
        return let_go(Some(why.as_str()).filter(|_| was_there));
    }
    let before = status.topic_id.as_deref();
    let delete = |id: &[u8]| Plan {
        actions: vec![Action::Delete(id.to_vec()), Action::RemoveFinalizer],
        ..Plan::default()
    };
    match &observed.live {
        None => waits("WaitingForQuorum", "the metadata quorum answers"),
        // The metadata does not have it any more. Asked once more the quorum says whether all brokers know; and should a
        // creation still be under way whose answer was lost, it is undone.
        Some(None) => delete(&topic_id(&observed.uid, before)),
        Some(Some(live))
            if before == Some(&live.id_text()) || is_made_by(&observed.uid, before, &live.id) =>
        {
            delete(&live.id)
        }
        Some(Some(live)) => let_go(
            before
                .map(|before| {
                    let id = live.id_text();
                    format!(
                        "it has the id {id}, and this object's had {before}; somebody made it anew"
                    )
                })
                .as_deref(),
        ),
    }
}
