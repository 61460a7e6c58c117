//! Tests of the view.

use super::{Change, Factor, Room, View, from_hex, from_id_text, hex, id_text, topic_view};
use foz_api::v1::cluster_event::{ConfigsChanged, Event, Synced, TopicDeleted, Voters};
use foz_api::v1::rebalance::State;
use foz_api::v1::{Broker, ClusterEvent, Grant, Partition, Rebalance, ResourceType, Topic};

use crate::quorum::rebalance::RebalanceState;

fn event(event: Event) -> ClusterEvent {
    ClusterEvent { event: Some(event) }
}

fn topic(name: &str, id: u8, leaders: &[i32]) -> ClusterEvent {
    let partition = |(index, &leader): (usize, &i32)| Partition {
        index: i32::try_from(index).expect("few"),
        replicas: vec![0, 1],
        leader,
        leader_epoch: 1,
        isr: if leader < 0 { vec![1] } else { vec![0, 1] },
        ..Partition::default()
    };
    event(Event::TopicChanged(Topic {
        name: name.into(),
        id: vec![id; 16],
        partitions: leaders.iter().enumerate().map(partition).collect(),
        config: [("a".to_owned(), "1".to_owned())].into(),
        internal: false,
    }))
}

fn deleted(name: &str, id: u8) -> ClusterEvent {
    event(Event::TopicDeleted(TopicDeleted {
        name: name.into(),
        id: vec![id; 16],
    }))
}

#[test]
fn counts_follow_the_events() {
    let mut view = View::default();
    assert_eq!(
        view.apply(topic("a", 1, &[0, 1, -1])),
        Change::Topic("a".into())
    );
    view.apply(topic("b", 2, &[0]));
    assert_eq!(
        (view.partitions, view.offline, view.under_replicated),
        (4, 1, 1)
    );
    view.apply(topic("a", 1, &[0, 1, 1, 0]));
    assert_eq!(
        (view.partitions, view.offline, view.under_replicated),
        (5, 0, 0)
    );
    assert_eq!(view.topics["a"].replication_factor, 2);
    view.apply(deleted("a", 1));
    assert_eq!((view.partitions, view.topics.len()), (1, 1));
    view.apply(deleted("a", 1));
    assert_eq!(view.partitions, 1);
}

#[test]
fn replicas_that_their_brokers_cannot_use_are_counted_by_broker() {
    let mut view = View::default();
    let told = |name: &str, offline: &[&[i32]]| {
        let partition = |offline: &&[i32]| Partition {
            replicas: vec![0, 1, 2],
            isr: vec![0],
            offline: offline.to_vec(),
            ..Partition::default()
        };
        event(Event::TopicChanged(Topic {
            name: name.into(),
            partitions: offline.iter().map(partition).collect(),
            ..Topic::default()
        }))
    };
    view.apply(told("a", &[&[1], &[1, 2], &[]]));
    view.apply(told("b", &[&[1]]));
    assert_eq!(view.offline_replicas, [(1, 3), (2, 1)].into());
    view.apply(told("a", &[&[], &[], &[]]));
    assert_eq!(view.offline_replicas, [(1, 1)].into());
    view.apply(told("b", &[&[]]));
    assert_eq!(view.offline_replicas, [].into());
}

#[test]
fn replicas_that_are_still_copied_are_on_their_way_and_not_missing() {
    let moving = |index, isr: &[i32]| Partition {
        index,
        replicas: vec![0, 1, 2],
        adding_replicas: vec![1, 2],
        isr: isr.to_vec(),
        ..Partition::default()
    };
    let done = Partition {
        replicas: vec![0, 1, 2],
        isr: vec![0, 1, 2],
        ..Partition::default()
    };
    let topic = Topic {
        partitions: vec![done, moving(1, &[0]), moving(2, &[0, 2]), moving(3, &[])],
        ..Topic::default()
    };
    let view = topic_view(topic);
    assert_eq!((view.replication_factor, view.under_replicated), (1, 1));
    let factor = |now, moving, partitions| Factor {
        now,
        target: 3,
        moving,
        partitions,
    };
    assert_eq!(view.factors, [factor(1, true, 3), factor(3, false, 1)]);
}

#[test]
fn the_deletion_of_an_older_topic_of_the_name_changes_nothing() {
    let mut view = View::default();
    view.apply(topic("a", 2, &[0]));
    view.apply(deleted("a", 1));
    assert_eq!(view.topics["a"].id, vec![2; 16]);
}

#[test]
fn configs_land_where_they_belong() {
    let configs = |type_: ResourceType, name: &str| {
        event(Event::ConfigsChanged(ConfigsChanged {
            r#type: type_.into(),
            name: name.into(),
            config: [("k".to_owned(), "v".to_owned())].into(),
        }))
    };
    let mut view = View::default();
    view.apply(topic("a", 1, &[0]));
    assert_eq!(
        view.apply(configs(ResourceType::Topic, "a")),
        Change::Topic("a".into())
    );
    assert_eq!(view.topics["a"].config.keys().collect::<Vec<_>>(), ["k"]);
    assert_eq!(
        view.apply(configs(ResourceType::Broker, "")),
        Change::Cluster
    );
    assert_eq!(view.broker_config["k"], "v");
    assert_eq!(
        view.apply(configs(ResourceType::Broker, "1")),
        Change::Nothing
    );
}

#[test]
fn brokers_that_get_no_replicas_are_no_room_for_topics_and_those_that_are_away_are() {
    let mut view = View::default();
    for (node_id, fenced, cordoned) in [(0, false, false), (1, true, false), (2, false, true)] {
        view.apply(event(Event::BrokerChanged(Broker {
            node_id,
            fenced,
            cordoned,
            ..Broker::default()
        })));
    }
    let room = view.room();
    assert_eq!((room.brokers, room.alive), (2, 1));
    for (brokers, alive, is_more) in [(3, 1, true), (2, 2, true), (2, 1, false), (1, 0, false)] {
        assert_eq!(Room { brokers, alive }.is_more_than(room), is_more);
    }
}

#[test]
fn brokers_come_and_go_and_the_view_is_synced_when_told_so() {
    let mut view = View::default();
    let broker = Broker {
        node_id: 2,
        incarnation: vec![0, 171],
        ..Broker::default()
    };
    assert_eq!(
        view.apply(event(Event::BrokerChanged(broker))),
        Change::Cluster
    );
    assert_eq!(view.brokers[&2].incarnation, "00ab");
    view.apply(event(Event::BrokerRemoved(2)));
    assert!(view.brokers.is_empty() && !view.synced);
    let synced = Synced {
        metadata_offset: 1,
        cluster_id: "c".into(),
    };
    assert_eq!(view.apply(event(Event::Synced(synced))), Change::Synced);
    assert!(view.synced && view.cluster_id == "c");
}

#[test]
fn replicas_are_counted_by_broker_and_moves_as_long_as_they_last() {
    let partition = |replicas: &[i32], adding: &[i32], removing: &[i32]| Partition {
        replicas: replicas.to_vec(),
        isr: replicas.to_vec(),
        adding_replicas: adding.to_vec(),
        removing_replicas: removing.to_vec(),
        ..Partition::default()
    };
    let topic = |partitions: Vec<Partition>| {
        event(Event::TopicChanged(Topic {
            name: "a".into(),
            id: vec![1; 16],
            partitions,
            ..Topic::default()
        }))
    };
    let mut view = View::default();
    view.apply(topic(vec![
        partition(&[0, 1], &[], &[]),
        partition(&[1, 2, 3], &[3], &[1]),
    ]));
    assert_eq!(view.replicas, [(0, 1), (1, 2), (2, 1), (3, 1)].into());
    assert_eq!((view.moving, view.topics["a"].replicas_max), (1, 2));
    assert_eq!(view.topics["a"].replication_factor, 2);
    view.apply(topic(vec![Partition {
        isr: vec![1, 2],
        ..partition(&[1, 2, 3], &[3], &[1])
    }]));
    assert_eq!(view.under_replicated, 0);
    view.apply(topic(vec![Partition {
        isr: vec![1],
        ..partition(&[1, 2, 3], &[3], &[1])
    }]));
    assert_eq!(view.under_replicated, 1);
    view.apply(topic(vec![
        partition(&[0, 1], &[], &[]),
        partition(&[2, 3], &[], &[]),
    ]));
    assert_eq!(view.replicas, [(0, 1), (1, 1), (2, 1), (3, 1)].into());
    assert_eq!(view.moving, 0);
    view.apply(deleted("a", 1));
    assert!(view.replicas.is_empty());
}

#[test]
fn a_rebalance_that_is_followed_by_another_has_ended() {
    let rebalance = |rebalance_id, state: State| {
        event(Event::RebalanceChanged(Rebalance {
            rebalance_id,
            state: state.into(),
            ..Rebalance::default()
        }))
    };
    let mut view = View::default();
    view.apply(rebalance(3, State::Running));
    assert_eq!(view.apply(rebalance(7, State::Running)), Change::Cluster);
    assert_eq!(view.rebalances[&3].state, RebalanceState::Cancelled);
    view.apply(rebalance(7, State::Completed));
    view.apply(rebalance(9, State::Running));
    assert_eq!(view.rebalances[&7].state, RebalanceState::Completed);
    for id in 10..100 {
        view.apply(rebalance(id, State::Running));
    }
    assert_eq!(view.rebalances.len(), 16);
    assert!(view.rebalances[&99].runs() && !view.rebalances[&98].runs());
}

#[test]
fn who_votes_is_told_as_a_whole() {
    let mut view = View::default();
    let told = |voters: &[i32], removed: &[i32]| {
        event(Event::VotersChanged(Voters {
            voters: voters.to_vec(),
            learners: vec![1003],
            removed: removed.to_vec(),
        }))
    };
    let change = view.apply(told(&[1000, 1001, 1002], &[]));
    assert_eq!(change, Change::Cluster);
    view.apply(told(&[1000, 1001], &[1002]));
    assert_eq!(view.voters.voters, [1000, 1001].into());
    assert_eq!(view.voters.learners, [1003].into());
    assert_eq!(view.voters.removed, [1002].into());
}

#[test]
fn grants_come_and_go_and_a_newer_one_takes_the_place_of_an_older() {
    let mut view = View::default();
    for grant_epoch in [7, 9] {
        let grant = Grant {
            node_id: 1000,
            grant_epoch,
            incarnation: vec![0xab; 16],
            operator_epoch: 3,
            ..Grant::default()
        };
        let change = view.apply(event(Event::GrantChanged(grant)));
        assert_eq!(change, Change::Cluster);
    }
    let grant = &view.grants[&1000];
    assert_eq!((grant.grant_epoch, grant.is_operators()), (9, true));
    assert_eq!(grant.incarnation, "ab".repeat(16));
    assert_eq!(view.apply(event(Event::GrantEnded(1000))), Change::Cluster);
    assert!(view.grants.is_empty());
}

#[test]
fn hexadecimal_goes_there_and_back() {
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(from_hex(&hex(&bytes)), Some(bytes));
    assert_eq!(from_hex("0aFF"), Some(vec![10, 255]));
    for wrong in ["0", "0g", "-1", "ü0"] {
        assert_eq!(from_hex(wrong), None);
    }
}

/// `Uuid.toString` of Apache Kafka for the same bytes.
#[test]
fn ids_are_written_as_kafka_writes_them() {
    assert_eq!(id_text(&[0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(id_text(&[0xff; 16]), "_____________________w");
    assert_eq!(id_text(b"0123456789abcdef"), "MDEyMzQ1Njc4OWFiY2RlZg");
    for id in [&[0; 16], &[0xff; 16], b"0123456789abcdef"] {
        assert_eq!(from_id_text(&id_text(id)).as_deref(), Some(&id[..]));
    }
    let ends_with_more = "MDEyMzQ1Njc4OWFiY2RlZh";
    let too_long = "MDEyMzQ1Njc4OWFiY2RlZgAA";
    for wrong in [
        "",
        "MDEyMzQ1Njc4OWFiY2RlZ",
        ends_with_more,
        too_long,
        "MDEyMzQ1Njc4OWFiY2Rl+g",
    ] {
        assert_eq!(from_id_text(wrong), None, "{wrong}");
    }
}
