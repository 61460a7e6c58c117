//! Tests of the status that plans lead to.

use super::*;

fn status_of(observed: &Observed, outcome: &Outcome, previous: &TopicStatus) -> TopicStatus {
    let plan = plan_of(&topic(), observed, previous);
    let now = Timestamp::from_second(100).expect("a time");
    status(&topic(), Some(1), observed, &plan, outcome, previous, now)
}

fn condition(status: &TopicStatus, type_: &str) -> (String, String) {
    let condition = find(&status.conditions, type_).expect("the condition");
    (condition.status.clone(), condition.reason.clone())
}

#[test]
fn the_status_of_a_topic_that_serves_does_not_change_by_itself() {
    let first = status_of(&observed(Some(live())), &Outcome::default(), &known());
    assert_eq!(condition(&first, "Ready"), ("True".into(), "Ready".into()));
    assert_eq!(
        (first.partitions, first.replication_factor),
        (Some(4), Some(1))
    );
    assert_eq!(
        status_of(&observed(Some(live())), &Outcome::default(), &first),
        first
    );
    // Nor because the quorum is silent for a while.
    let silent = Observed {
        live: None,
        ..observed(None)
    };
    assert_eq!(status_of(&silent, &Outcome::default(), &first), first);
}

#[test]
fn a_topic_that_was_just_made_is_ready_with_its_id() {
    let outcome = Outcome {
        topic: Some(made()),
        topic_id: Some(made().id_text()),
        managed: Some(vec!["retention.ms".into()]),
        ..Outcome::default()
    };
    let found = status_of(&observed(None), &outcome, &TopicStatus::default());
    assert_eq!(condition(&found, "Ready").0, "True");
    assert_eq!(found.topic_id, Some(made().id_text()));
    assert_eq!(found.managed_config_keys, ["retention.ms"]);
}

fn status_while(
    wanted: i32,
    factors: &[Factor],
    outcome: &Outcome,
    previous: &TopicStatus,
) -> TopicStatus {
    let (topic, observed) = (wants(wanted), with_factors(factors));
    let plan = plan_of(&topic, &observed, previous);
    let now = Timestamp::from_second(100).expect("a time");
    status(&topic, Some(1), &observed, &plan, outcome, previous, now)
}

#[test]
fn a_replication_factor_on_its_way_is_told_with_how_far_it_is() {
    let asked = Outcome {
        replication_factor_asked: Some(3),
        ..Outcome::default()
    };
    let quiet = Outcome::default();
    let message = |status: &TopicStatus| {
        let progressing = find(&status.conditions, "Progressing").expect("the condition");
        (progressing.reason.clone(), progressing.message.clone())
    };
    // The metadata has not told of it yet.
    let begun = status_while(3, &[factor(1, 1, 4)], &asked, &known());
    assert_eq!(begun.replication_factor_under_way, Some(3));
    assert_eq!(
        message(&begun),
        (
            "ReplicationFactorChanging".into(),
            "0 of 4 partitions have replication factor 3, the others are on their way to it".into()
        )
    );
    assert_eq!(condition(&begun, "Ready").0, "False");
    assert_eq!(condition(&begun, "Degraded").0, "False");
    let half = [factor(1, 3, 1), factor(3, 3, 3)];
    let going = status_while(3, &half, &quiet, &begun);
    assert!(message(&going).1.starts_with("3 of 4 partitions"));
    assert_eq!(going.replication_factor, Some(1));
    let done = status_while(3, &[factor(3, 3, 4)], &quiet, &going);
    assert_eq!(
        (done.replication_factor, done.replication_factor_under_way),
        (Some(3), None)
    );
    assert_eq!(condition(&done, "Ready").0, "True");
    assert_eq!(condition(&done, "Progressing").1, "Settled");
    // Refused: it serves as it is, and what was on its way goes on.
    let refused = Outcome {
        refused: vec![Finding::new("InvalidReplicationFactor", "only 3 brokers")],
        ..Outcome::default()
    };
    let told = status_while(9, &half, &refused, &begun);
    assert_eq!(condition(&told, "Ready").0, "True");
    assert_eq!(condition(&told, "Degraded").1, "InvalidReplicationFactor");
    assert_eq!(told.replication_factor_under_way, Some(3));
    // Somebody else's is waited for.
    let foreign = status_while(1, &half, &quiet, &known());
    assert_eq!(message(&foreign).0, "ReassignmentUnderWay");
    assert_eq!(condition(&foreign, "Ready").0, "True");
    assert_eq!(foreign.replication_factor_under_way, None);
}

#[test]
fn partitions_without_a_leader_make_the_topic_not_ready() {
    let dark = observed(Some(TopicView {
        offline: 1,
        ..live()
    }));
    let found = status_of(&dark, &Outcome::default(), &known());
    assert_eq!(
        condition(&found, "Ready"),
        ("False".into(), "OfflinePartitions".into())
    );
    assert_eq!(found.offline_partitions, Some(1));
}

#[test]
fn numbers_of_a_topic_that_is_not_this_objects_are_not_shown() {
    let found = status_of(
        &observed(Some(live())),
        &Outcome::default(),
        &TopicStatus::default(),
    );
    assert_eq!(condition(&found, "Degraded").1, "TopicExists");
    assert_eq!((found.partitions, found.topic_id), (None, None));
}

#[test]
fn a_topic_is_not_made_before_there_is_a_broker() {
    let early = Observed {
        room: room(1, 0),
        ..observed(None)
    };
    let plan = plan_of(&topic(), &early, &TopicStatus::default());
    assert_eq!(blocked(&plan), "WaitingForBrokers");
    assert_eq!(plan.actions, []);
    let gone = Observed {
        room: room(1, 0),
        ..observed(Some(live()))
    };
    assert!(
        plan_of(&topic(), &gone, &known()).blocked.is_empty(),
        "it is there already"
    );
}
