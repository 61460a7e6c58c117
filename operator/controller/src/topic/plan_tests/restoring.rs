//! Topics that were deleted, and come back or leave their ids taken.

use foz_crd::TopicStatus;
use foz_crd::topic::DeletionPolicy;

use super::{UID, blocked, deleting, known, live, observed, plan_of, room, topic};
use crate::quorum::view::{TopicView, id_text};
use crate::topic::plan::{Action, Observed, Plan, plan_deletion};
use crate::topic::topic_id::topic_id;
use crate::topic::validate::{RestoreDeleted, ValidatedTopic};

#[test]
fn a_deleted_topic_comes_back_in_the_place_of_an_empty_one() {
    let topic = ValidatedTopic {
        restore_deleted: Some(RestoreDeleted::Latest),
        ..topic()
    };
    let restore = [Action::Restore(RestoreDeleted::Latest)];
    for status in [TopicStatus::default(), known()] {
        assert_eq!(plan_of(&topic, &observed(None), &status).actions, restore);
    }
    // It has its replicas: brokers that are still to come are not waited for, but one that could lead.
    let wide = ValidatedTopic {
        replication_factor: Some(3),
        ..topic.clone()
    };
    let growing = |alive| Observed {
        brokers_wanted: 3,
        room: room(1, alive),
        ..observed(None)
    };
    let plan = plan_of(&wide, &growing(1), &TopicStatus::default());
    assert_eq!(plan.actions, restore);
    let plan = plan_of(&wide, &growing(0), &TopicStatus::default());
    assert_eq!(blocked(&plan), "WaitingForBrokers");
    // Where there is a topic, nothing comes back: neither when it is this object's, nor when it is another's.
    let plan = plan_of(&topic, &observed(Some(live())), &known());
    assert_eq!(plan, Plan::default());
    let plan = plan_of(&topic, &observed(Some(live())), &TopicStatus::default());
    assert_eq!(blocked(&plan), "TopicExists");
}

#[test]
fn a_topic_that_was_made_under_a_later_id_is_its_objects() {
    let before = known().topic_id;
    let first = topic_id(UID, before.as_deref());
    let second = topic_id(UID, Some(&id_text(&first)));
    let live = TopicView {
        id: second,
        ..live()
    };
    let plan = plan_of(&topic(), &observed(Some(live.clone())), &known());
    let claim = Action::Claim {
        id: live.id_text(),
        adopted: false,
    };
    assert_eq!(plan.actions, [claim]);
    let deleted = plan_deletion(
        "orders",
        DeletionPolicy::Delete,
        &deleting(Some(live.clone())),
        &known(),
    );
    assert_eq!(deleted.actions[0], Action::Delete(live.id));
}
