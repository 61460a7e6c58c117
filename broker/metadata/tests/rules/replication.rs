//! ISR, ELR and leaders through fences, registrations, controlled shutdowns and proposals.

use std::collections::BTreeMap;

use foz_metadata::image::{Image, NO_LEADER, Partition};
use foz_metadata::record::{ConfigRecord, Fact, Record, ResourceKind};
use foz_metadata::rules::{
    AlterPartitions, ElectLeaders, ElectionKind, ErrorCode, NewTopic, ResourceName,
    alter_partitions, balance_leaders, elect_leaders, elect_unclean_where_allowed,
    pin_min_insync_replicas, raise_internal_topics, register_broker, stop_broker,
};

use crate::support::{
    alter, alter_broker_default, cluster, commit, create, epoch, fence, new_topic, partition,
    proposal, propose, registration, replicated, restart, set, state, stop, unfence,
};

#[test]
fn who_leaves_below_the_minimum_stays_eligible_until_it_is_reached_again() {
    let mut image = replicated("2");
    fence(&mut image, 0);
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 1));
    fence(&mut image, 1);
    assert_eq!(state(&image), (&[2][..], &[1][..], &[][..], 2));
    fence(&mut image, 2);
    assert_eq!(state(&image), (&[][..], &[1, 2][..], &[2][..], NO_LEADER));
    unfence(&mut image, 0);
    assert_eq!(partition(&image).leader, NO_LEADER, "0 left too early");
    unfence(&mut image, 1);
    assert_eq!(state(&image), (&[1][..], &[2][..], &[][..], 1));
    propose(&mut image, &[1, 0]).unwrap();
    assert_eq!(state(&image), (&[1, 0][..], &[][..], &[][..], 1));
    let it = partition(&image);
    assert_eq!((it.leader_epoch, it.partition_epoch), (4, 5));
}

#[test]
fn only_a_disk_that_has_everything_keeps_its_place() {
    for is_clean in [true, false] {
        let mut image = replicated("2");
        for node_id in 0..3 {
            fence(&mut image, node_id);
        }
        restart(&mut image, 1, is_clean);
        unfence(&mut image, 1);
        let expected = if is_clean { 1 } else { NO_LEADER };
        assert_eq!(partition(&image).leader, expected);
    }
    type Change = fn(&mut foz_metadata::rules::RegisterBroker);
    for change in [
        (|request| request.directories[0].disk_epoch -= 1) as Change,
        |request| request.directories[0].disk_epoch = -1,
        |request| request.directories[0].id = uuid::Uuid::from_u128(7),
        |request| request.directories[0].intact = false,
    ] {
        let mut image = replicated("3");
        fence(&mut image, 0);
        assert_eq!(partition(&image).elr, [0]);
        let mut request = registration(0, 2);
        request.directories[0].disk_epoch = epoch(&image, 0);
        request.directories[0].intact = true;
        change(&mut request);
        let decision = register_broker(&image, &request).unwrap();
        commit(&mut image, decision);
        assert_eq!(partition(&image).elr, []);
    }
}

/// The answer to a registration is lost, or the process ends before it has written the new epoch down.
#[test]
fn a_registration_that_nobody_heard_of_costs_no_place() {
    let register = |image: &mut Image, incarnation, disk_epoch, log_intact| {
        let mut request = registration(0, incarnation);
        request.directories[0].disk_epoch = disk_epoch;
        request.directories[0].intact = log_intact;
        let decision = register_broker(image, &request).unwrap();
        commit(image, decision)
    };
    let fenced = || {
        let mut image = replicated("3");
        fence(&mut image, 0);
        let disk_epoch = epoch(&image, 0);
        (image, disk_epoch)
    };
    let (mut image, disk_epoch) = fenced();
    for incarnation in 2..5 {
        register(&mut image, incarnation, disk_epoch, true);
        assert_eq!(partition(&image).elr, [0]);
        image = Image::decode(&image.encode()).unwrap();
    }
    register(&mut image, 5, disk_epoch, false);
    assert_eq!(partition(&image).elr, [], "it lost something on the way");

    // What a process asked before it ended comes after the registration of the next one.
    let (mut image, disk_epoch) = fenced();
    let heard = register(&mut image, 3, disk_epoch, true);
    register(&mut image, 2, disk_epoch, true);
    register(&mut image, 3, heard, true);
    assert_eq!(partition(&image).elr, [0]);
    let mut newest = heard;
    for incarnation in 4..20 {
        newest = register(&mut image, incarnation, newest, true);
    }
    assert_eq!(
        image.broker(0).unwrap().directories[0]
            .previous_epochs
            .len(),
        8
    );
    register(&mut image, 20, disk_epoch, true);
    assert_eq!(partition(&image).elr, [0]);

    let (mut image, disk_epoch) = fenced();
    register(&mut image, 2, disk_epoch, true);
    register(&mut image, 3, disk_epoch - 1, true);
    assert_eq!(partition(&image).elr, [], "an older disk");

    let (mut image, disk_epoch) = fenced();
    register(&mut image, 2, disk_epoch, true);
    unfence(&mut image, 0);
    fence(&mut image, 0);
    assert_eq!(partition(&image).elr, [0]);
    register(&mut image, 3, disk_epoch, true);
    assert_eq!(partition(&image).elr, [], "its disk had the new epoch");
}

#[test]
fn when_all_lost_data_the_last_leader_leads_again_and_nobody_else() {
    let mut image = replicated("2");
    for node_id in 0..3 {
        fence(&mut image, node_id);
    }
    for node_id in [1, 2] {
        restart(&mut image, node_id, false);
    }
    assert_eq!(state(&image), (&[][..], &[][..], &[2][..], NO_LEADER));
    unfence(&mut image, 1);
    assert_eq!(partition(&image).leader, NO_LEADER);
    unfence(&mut image, 2);
    assert_eq!(state(&image), (&[2][..], &[][..], &[][..], 2));
}

#[test]
fn a_stopping_broker_hands_over_what_it_can_and_goes_on_with_the_rest() {
    let mut image = replicated("2");
    assert_eq!(stop(&mut image, 0), 0);
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 1));
    let refused = propose(&mut image, &[1, 2, 0]).unwrap_err();
    assert_eq!(refused.code, ErrorCode::IneligibleReplica);
    fence(&mut image, 2);
    assert_eq!(stop(&mut image, 1), 1, "nobody else is in sync");
    assert_eq!(state(&image), (&[1][..], &[2][..], &[][..], 1));
    unfence(&mut image, 2);
    assert_eq!(partition(&image).leader, 1);
    // It catches up, and takes over at once.
    let after = propose(&mut image, &[1, 2]).unwrap();
    assert_eq!((after.leader, &*after.isr), (2, &[2][..]));
    assert_eq!(stop(&mut image, 1), 0);
    let again = stop_broker(&image, 1, epoch(&image, 1)).unwrap();
    assert_eq!(again.records, []);
    fence(&mut image, 1);
    restart(&mut image, 1, true);
    assert!(!image.broker(1).unwrap().stopping);
}

#[test]
fn proposals_are_refused_with_kafkas_code() {
    type Change = fn(&mut AlterPartitions);
    let mut image = replicated("2");
    let refused = |change: Change| {
        let mut request = proposal(&image, &[0, 1]);
        change(&mut request);
        match alter_partitions(&image, &request) {
            Err(refusal) => refusal.code,
            Ok(decision) => {
                assert_eq!(decision.records, []);
                decision.answer[0].as_ref().unwrap_err().code
            }
        }
    };
    for (change, code) in [
        (
            (|it| it.broker_epoch -= 1) as Change,
            ErrorCode::StaleBrokerEpoch,
        ),
        (|it| it.broker_id = 9, ErrorCode::StaleBrokerEpoch),
        (
            |it| it.partitions[0].topic_id = uuid::Uuid::from_u128(9),
            ErrorCode::UnknownTopicId,
        ),
        (
            |it| it.partitions[0].index = 1,
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            |it| it.partitions[0].leader_epoch -= 1,
            ErrorCode::FencedLeaderEpoch,
        ),
        (
            |it| it.partitions[0].leader_epoch += 1,
            ErrorCode::NotController,
        ),
        (
            |it| it.partitions[0].partition_epoch += 1,
            ErrorCode::NotController,
        ),
        (
            |it| it.partitions[0].partition_epoch -= 1,
            ErrorCode::InvalidUpdateVersion,
        ),
        (
            |it| it.partitions[0].new_isr = vec![(1, -1)],
            ErrorCode::InvalidRequest,
        ),
        (
            |it| it.partitions[0].new_isr.clear(),
            ErrorCode::InvalidRequest,
        ),
        (
            |it| it.partitions[0].new_isr = vec![(0, -1), (3, -1)],
            ErrorCode::InvalidRequest,
        ),
        (
            |it| it.partitions[0].new_isr = vec![(0, -1), (0, -1)],
            ErrorCode::InvalidRequest,
        ),
        (
            |it| it.partitions[0].new_isr[1].1 += 1,
            ErrorCode::IneligibleReplica,
        ),
    ] {
        assert_eq!(refused(change), code);
    }
    let mut other = proposal(&image, &[0, 1]);
    (other.broker_id, other.broker_epoch) = (1, epoch(&image, 1));
    let decision = alter_partitions(&image, &other).unwrap();
    let refusal = decision.answer[0].as_ref().unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidRequest);
    let mut unknown_epochs = proposal(&image, &[0, 1]);
    unknown_epochs.partitions[0].new_isr = vec![(1, -1), (0, -1), (2, -1)];
    let isr = partition(&image).isr.clone();
    let unchanged = alter_partitions(&image, &unknown_epochs).unwrap();
    let state = commit(&mut image, unchanged).remove(0).unwrap();
    assert_eq!(state.isr, isr, "the same members are no change");
    assert_eq!(partition(&image).isr, isr);
}

#[test]
fn a_proposal_that_changes_nothing_puts_an_end_to_earlier_ones() {
    let mut image = replicated("1");
    let before = partition(&image).clone();
    // On its way, as far as its leader knows.
    let late = proposal(&image, &[0]);
    let settled = propose(&mut image, &before.isr).unwrap();
    assert_eq!(settled.partition_epoch, before.partition_epoch + 1);
    assert_eq!(settled.leader_epoch, before.leader_epoch);
    let expected = Partition {
        partition_epoch: settled.partition_epoch,
        ..before
    };
    assert_eq!(*partition(&image), expected);
    let late = alter_partitions(&image, &late).unwrap().answer.remove(0);
    assert_eq!(late.unwrap_err().code, ErrorCode::InvalidUpdateVersion);
}

#[test]
fn preferred_leaders_come_back_by_request_and_by_themselves() {
    let mut image = replicated("1");
    let request = |partitions| ElectLeaders {
        kind: ElectionKind::Preferred,
        partitions,
        operator_epoch: 0,
    };
    let named = request(Some(vec![("t".to_owned(), 0), ("t".to_owned(), 1)]));
    let code = |image: &Image, at: usize| {
        let decision = elect_leaders(image, &named).unwrap();
        decision.answer[at]
            .2
            .as_ref()
            .map_err(|it| it.code)
            .copied()
    };
    assert_eq!(code(&image, 0), Err(ErrorCode::ElectionNotNeeded));
    assert_eq!(code(&image, 1), Err(ErrorCode::UnknownTopicOrPartition));
    fence(&mut image, 0);
    let unavailable = Err(ErrorCode::PreferredLeaderNotAvailable);
    assert_eq!(code(&image, 0), unavailable);
    unfence(&mut image, 0);
    assert_eq!(code(&image, 0), unavailable, "alive, but not in sync");
    assert_eq!(balance_leaders(&image, &BTreeMap::new()).unwrap().answer, 0);
    propose(&mut image, &[1, 2, 0]).unwrap();
    let disabled = [(
        "auto.leader.rebalance.enable".to_owned(),
        "false".to_owned(),
    )]
    .into();
    assert_eq!(balance_leaders(&image, &disabled).unwrap().answer, 0);
    let mut balanced = image.clone();
    let decision = balance_leaders(&balanced, &BTreeMap::new()).unwrap();
    assert_eq!(commit(&mut balanced, decision), 1);
    let decision = elect_leaders(&image, &request(None)).unwrap();
    assert_eq!(commit(&mut image, decision), [("t".to_owned(), 0, Ok(()))]);
    assert_eq!(partition(&image), partition(&balanced));
    assert_eq!(state(&image), (&[1, 2, 0][..], &[][..], &[][..], 0));
    assert_eq!(
        elect_leaders(&image, &request(None)).unwrap().answer,
        [],
        "what needs no election is left out"
    );
}

#[test]
fn unclean_elections_happen_only_where_they_are_allowed() {
    let mut image = replicated("1");
    for node_id in 0..3 {
        fence(&mut image, node_id);
    }
    let tick = |image: &mut Image, properties: &BTreeMap<String, String>| {
        let decision = elect_unclean_where_allowed(image, properties).unwrap();
        commit(image, decision)
    };
    let unclean = ElectLeaders {
        kind: ElectionKind::Unclean,
        partitions: Some(vec![("t".to_owned(), 0)]),
        operator_epoch: 0,
    };
    let decision = elect_leaders(&image, &unclean).unwrap();
    assert_eq!(
        decision.answer[0].2.as_ref().unwrap_err().code,
        ErrorCode::EligibleLeadersNotAvailable
    );
    unfence(&mut image, 0);
    assert_eq!(state(&image), (&[][..], &[2][..], &[2][..], NO_LEADER));
    assert_eq!(tick(&mut image, &BTreeMap::new()), 0);
    let mut by_hand = image.clone();
    let decision = elect_leaders(&by_hand, &unclean).unwrap();
    commit(&mut by_hand, decision);
    assert_eq!(state(&by_hand), (&[0][..], &[][..], &[][..], 0));
    let properties = [(
        "unclean.leader.election.enable".to_owned(),
        "true".to_owned(),
    )]
    .into();
    assert_eq!(tick(&mut image.clone(), &properties), 1);
    let topic = ResourceName::Topic("t".to_owned());
    let decision = alter(
        &image,
        topic,
        &[set("unclean.leader.election.enable", "true")],
    )
    .unwrap();
    commit(&mut image, decision);
    assert_eq!(tick(&mut image, &BTreeMap::new()), 1);
    assert_eq!(state(&image), (&[0][..], &[][..], &[][..], 0));
}

#[test]
fn internal_topics_get_replicas_as_brokers_come() {
    let mut image = cluster(3);
    for node_id in [1, 2] {
        fence(&mut image, node_id);
    }
    create(
        &mut image,
        NewTopic {
            internal: true,
            partitions: 150,
            replication_factor: 1,
            ..new_topic("t")
        },
    );
    let raise = |image: &mut Image| {
        let decision = raise_internal_topics(image, &BTreeMap::new()).unwrap();
        commit(image, decision)
    };
    // A replica that nobody could copy to would keep the partition below its minimum.
    assert_eq!(
        (partition(&image).replicas.len(), raise(&mut image)),
        (1, 0)
    );
    unfence(&mut image, 1);
    let raised: Vec<_> = (0..3).map(|_| raise(&mut image)).collect();
    assert_eq!(raised, [100, 50, 0]);
    unfence(&mut image, 2);
    let raised: Vec<_> = (0..3).map(|_| raise(&mut image)).collect();
    assert_eq!(raised, [100, 50, 0]);
    for (_, _, it) in image.partitions() {
        assert_eq!(
            (&*it.replicas, &*it.isr, it.leader),
            (&[0, 1, 2][..], &[0][..], 0)
        );
        assert_eq!((it.leader_epoch, it.partition_epoch), (0, 2));
    }
}

/// Each by a key of its own.
#[test]
fn internal_topics_have_as_many_replicas_as_their_keys_say() {
    let mut image = cluster(3);
    let of_transactions = "transaction.state.log.replication.factor";
    alter_broker_default(&mut image, "offsets.topic.replication.factor", "2");
    alter_broker_default(&mut image, of_transactions, "1");
    for name in ["__consumer_offsets", "__transaction_state"] {
        let internal = NewTopic {
            internal: true,
            ..new_topic(name)
        };
        create(&mut image, internal);
    }
    let replicas = |image: &Image, name: &str| image.partition(name, 0).unwrap().replicas.len();
    assert_eq!(replicas(&image, "__consumer_offsets"), 2);
    assert_eq!(replicas(&image, "__transaction_state"), 1);
    alter_broker_default(&mut image, of_transactions, "3");
    let decision = raise_internal_topics(&image, &BTreeMap::new()).unwrap();
    assert_eq!(commit(&mut image, decision), 1);
    assert_eq!(replicas(&image, "__consumer_offsets"), 2);
    assert_eq!(replicas(&image, "__transaction_state"), 3);
}

#[test]
fn a_lower_minimum_ends_eligibility_and_a_higher_one_is_seen_before_anybody_leaves() {
    let mut image = replicated("3");
    fence(&mut image, 2);
    assert_eq!(state(&image), (&[0, 1][..], &[2][..], &[][..], 0));
    let topic = || ResourceName::Topic("t".to_owned());
    let decision = alter(&image, topic(), &[set("min.insync.replicas", "2")]).unwrap();
    commit(&mut image, decision);
    assert_eq!(partition(&image).elr, []);
    let before = proposal(&image, &[0]);
    let decision = alter(&image, topic(), &[set("min.insync.replicas", "3")]).unwrap();
    commit(&mut image, decision);
    let late = alter_partitions(&image, &before).unwrap().answer.remove(0);
    assert_eq!(late.unwrap_err().code, ErrorCode::InvalidUpdateVersion);
    propose(&mut image, &[0]).unwrap();
    assert_eq!(partition(&image).elr, [1]);
}

#[test]
fn a_minimum_from_the_properties_is_seen_before_anybody_leaves() {
    // Made while the minimum was Kafka's default of 1.
    let mut image = cluster(3);
    let topic = NewTopic {
        assignments: vec![vec![0, 1, 2]],
        ..new_topic("t")
    };
    create(&mut image, topic);
    let late = proposal(&image, &[0]);
    let properties = [("min.insync.replicas".to_owned(), "2".to_owned())].into();
    let decision = pin_min_insync_replicas(&image, &properties).unwrap();
    let first = Record::from(Fact::Config(ConfigRecord {
        kind: ResourceKind::Broker.into(),
        name: String::new(),
        key: "min.insync.replicas".to_owned(),
        value: Some("2".to_owned()),
    }));
    assert_eq!(decision.records[0], first);
    commit(&mut image, decision);
    let late = alter_partitions(&image, &late).unwrap().answer.remove(0);
    assert_eq!(late.unwrap_err().code, ErrorCode::InvalidUpdateVersion);
    propose(&mut image, &[0]).unwrap();
    assert_eq!(
        partition(&image).elr.len(),
        2,
        "whoever leaves stays eligible"
    );
}

#[test]
fn the_minimum_of_the_properties_becomes_metadata_once() {
    let mut image = cluster(1);
    let properties = [("min.insync.replicas".to_owned(), "2".to_owned())].into();
    let decision = pin_min_insync_replicas(&image, &BTreeMap::new()).unwrap();
    assert_eq!(decision.records, []);
    let decision = pin_min_insync_replicas(&image, &properties).unwrap();
    assert_eq!(decision.records.len(), 1);
    commit(&mut image, decision);
    alter_broker_default(&mut image, "min.insync.replicas", "1");
    let decision = pin_min_insync_replicas(&image, &properties).unwrap();
    assert_eq!(decision.records, []);
}
