//! A replica that its broker cannot use leads nothing and is in sync with nobody, until its broker registers anew and can.

use foz_metadata::image::{Image, NO_LEADER};
use foz_metadata::rules::{
    ChangeReplicationFactor, DataDirectory, DeletedTopicRef, DeniedReason, ElectLeaders,
    ElectionKind, ErrorCode, RegisterBroker, ReplicationFactorChange, ReportOfflineReplicas,
    ResourceName, RestoreTopic, change_replication_factor, delete_topics, elect_leaders,
    end_restarts_done, register_broker, report_offline_replicas, restore_topic,
};
use foz_metadata::rules::{DeleteTopics, TopicRef};
use uuid::Uuid;

use crate::support::{
    alter, cluster, commit, create, denied, epoch, fence, grant, moving, new_topic, partition,
    partition_on, proposal, propose, reassign, registration, restart, restart_of, set, state,
    unfence,
};

const FIRST: u128 = 1000;
const SECOND: u128 = 5000;

/// What is on the directory that failed, when its broker comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    Failed,
    /// Its end is in doubt, as it was away.
    Back,
    Swapped,
}

fn report(image: &mut Image, node_id: i32) -> usize {
    let request = request(image, node_id);
    let decision = report_offline_replicas(image, &request).unwrap();
    let written = decision.records.len();
    commit(image, decision);
    written
}

fn request(image: &Image, node_id: i32) -> ReportOfflineReplicas {
    let topics = image.topics().map(|topic| (topic.id, 0));
    let deleted = image.deleted_topics().map(|deleted| (deleted.topic.id, 0));
    ReportOfflineReplicas {
        node_id,
        broker_epoch: epoch(image, node_id),
        replicas: topics.chain(deleted).collect(),
    }
}

/// The next process of broker 0. The log of `t` is in its second directory.
fn register(image: &mut Image, second: Second) {
    let known = image.broker(0).unwrap();
    let directory = |id, disk_epoch| DataDirectory {
        id: Uuid::from_u128(id),
        disk_epoch,
        intact: true,
        logs: Vec::new(),
    };
    let of_second = known
        .directories
        .iter()
        .find(|it| it.id.as_u128() == SECOND);
    let mut directories = vec![directory(FIRST, known.epoch)];
    let deleted = image.deleted_topics().next().map(|it| it.topic.id);
    let topic_id = image.topic("t").map(|topic| topic.id).or(deleted);
    let topic_id = topic_id.unwrap_or(Uuid::nil());
    match second {
        Second::Failed => {}
        Second::Back => directories.push(DataDirectory {
            logs: vec![(topic_id, 0)],
            ..directory(SECOND, of_second.map_or(-1, |it| it.epoch))
        }),
        Second::Swapped => directories.push(directory(SECOND + 1, -1)),
    }
    let request = RegisterBroker {
        directories,
        offline_directories: i32::from(second == Second::Failed),
        ..registration(0, known.incarnation.as_u128() + 1)
    };
    let decision = register_broker(image, &request).unwrap();
    commit(image, decision);
}

/// The topic `t` on these, and broker 0 has two directories.
fn topic_on(replicas: &[i32], min_insync: &str) -> Image {
    let mut image = cluster(3);
    fence(&mut image, 0);
    register(&mut image, Second::Back);
    unfence(&mut image, 0);
    let topic = foz_metadata::rules::NewTopic {
        assignments: vec![replicas.to_vec()],
        config: [("min.insync.replicas".to_owned(), min_insync.to_owned())].into(),
        ..new_topic("t")
    };
    create(&mut image, topic);
    image
}

/// Why nobody was elected, where that is said.
fn elect_by_hand(image: &mut Image) -> Option<String> {
    let request = ElectLeaders {
        kind: ElectionKind::Unclean,
        partitions: None,
        operator_epoch: 0,
    };
    let decision = elect_leaders(image, &request).unwrap();
    let written = decision.records.len();
    let results = commit(image, decision).into_iter();
    let refusals: Vec<_> = results.filter_map(|it| it.2.err()).collect();
    assert!(refusals.is_empty() || written == 0);
    let refusal = refusals.into_iter().next()?;
    assert_eq!(refusal.code, ErrorCode::EligibleLeadersNotAvailable);
    Some(refusal.message)
}

#[test]
fn others_lead_and_what_it_has_counts_again_when_it_is_back() {
    type State<'a> = (&'a [i32], &'a [i32], &'a [i32], i32);
    let cases: [(&[i32], &str, State<'_>, [i32; 3]); 7] = [
        // Replicas, min.insync.replicas, the state while broker 0 cannot use its own, and who leads then when it is still
        // so after a restart, when the directory is back, and when it was swapped.
        (&[0], "1", (&[], &[], &[0], NO_LEADER), [NO_LEADER, 0, 0]),
        (&[0, 1], "1", (&[1], &[], &[], 1), [1, 1, 1]),
        (&[1, 0], "1", (&[1], &[], &[], 1), [1, 1, 1]),
        (&[0, 1], "2", (&[1], &[], &[], 1), [1, 1, 1]),
        (&[0, 1, 2], "1", (&[1, 2], &[], &[], 1), [1, 1, 1]),
        (&[1, 0, 2], "2", (&[1, 2], &[], &[], 1), [1, 1, 1]),
        (&[0, 1, 2], "3", (&[1, 2], &[], &[], 1), [1, 1, 1]),
    ];
    for (replicas, min_insync, offline, leaders) in cases {
        for (second, leader) in [Second::Failed, Second::Back, Second::Swapped]
            .into_iter()
            .zip(leaders)
        {
            let what = format!("{replicas:?} {min_insync} {second:?}");
            let mut image = topic_on(replicas, min_insync);
            assert_eq!(report(&mut image, 0), 1, "{what}");
            assert_eq!(state(&image), offline, "{what}");
            assert_eq!(partition(&image).offline, [0], "{what}");
            assert_eq!(report(&mut image, 0), 0, "nothing is new: {what}");
            let refused = elect_by_hand(&mut image);
            assert_eq!(refused.is_some(), replicas == [0], "{what}");
            assert_eq!(state(&image), offline, "by no will: {what}");
            image = Image::decode(&image.encode()).unwrap();
            fence(&mut image, 0);
            register(&mut image, Second::Failed);
            assert_eq!(partition(&image).offline, [0], "{what}");
            register(&mut image, second);
            unfence(&mut image, 0);
            assert_eq!(partition(&image).leader, leader, "{what}");
            let is_offline = partition(&image).offline == [0];
            assert_eq!(is_offline, second == Second::Failed, "{what}");
            let lost = second == Second::Swapped && replicas.len() > 1;
            assert_eq!(partition(&image).never_in_sync.contains(&0), lost, "{what}");
        }
    }
}

/// What the others lack: an empty log in its place would make them throw away what they have.
#[test]
fn who_was_alone_in_sync_leads_again_only_with_its_disk() {
    for (second, leader) in [
        (Second::Failed, NO_LEADER),
        (Second::Back, 0),
        (Second::Swapped, NO_LEADER),
    ] {
        let mut image = topic_on(&[0, 1, 2], "1");
        propose(&mut image, &[0]).unwrap();
        report(&mut image, 0);
        assert_eq!(state(&image), (&[][..], &[][..], &[0][..], NO_LEADER));
        fence(&mut image, 0);
        register(&mut image, second);
        unfence(&mut image, 0);
        assert_eq!(partition(&image).leader, leader, "{second:?}");
        elect_by_hand(&mut image);
        let leader = if leader == 0 { 0 } else { 1 };
        assert_eq!(partition(&image).leader, leader, "{second:?}");
    }
}

#[test]
fn who_asks_for_any_leader_hears_that_there_is_none() {
    let mut image = topic_on(&[0, 1], "1");
    propose(&mut image, &[0]).unwrap();
    report(&mut image, 0);
    fence(&mut image, 1);
    let refused = elect_by_hand(&mut image);
    assert_eq!(
        refused.as_deref(),
        Some("t-0: none of the replicas [0, 1] is alive and can use its log")
    );
    unfence(&mut image, 1);
    assert_eq!(elect_by_hand(&mut image), None);
    assert_eq!(partition(&image).leader, 1);
}

/// Other partitions may be due for a change of their own: that is another one's to make.
#[test]
fn a_report_changes_only_what_it_names() {
    let mut image = topic_on(&[0, 1], "1");
    let other = foz_metadata::rules::NewTopic {
        assignments: vec![vec![1, 0]],
        ..new_topic("u")
    };
    create(&mut image, other);
    // It has no leader, and an unclean one is allowed since.
    fence(&mut image, 0);
    register(&mut image, Second::Back);
    unfence(&mut image, 0);
    fence(&mut image, 1);
    assert_eq!(image.partition("u", 0).unwrap().leader, NO_LEADER);
    let allowed = [set("unclean.leader.election.enable", "true")];
    let topic = ResourceName::Topic("u".to_owned());
    let decision = alter(&image, topic, &allowed).unwrap();
    commit(&mut image, decision);
    assert_eq!(image.partition("u", 0).unwrap().leader, NO_LEADER);
    let mut request = request(&image, 0);
    let named = image.topic("t").unwrap().id;
    request.replicas.retain(|(topic_id, _)| *topic_id == named);
    let decision = report_offline_replicas(&image, &request).unwrap();
    assert_eq!(decision.records.len(), 1);
    commit(&mut image, decision);
    assert_eq!(image.partition("u", 0).unwrap().leader, NO_LEADER);
}

#[test]
fn of_too_many_replicas_it_goes_first() {
    for (in_sync, left) in [
        // 1 is not in sync either, and may be soon; that 0 is preferred saves it not.
        (&[2][..], &[2, 1][..]),
        (&[1, 2], &[1, 2]),
    ] {
        let mut image = topic_on(&[0, 1, 2], "1");
        report(&mut image, 0);
        if in_sync == [2] {
            fence(&mut image, 1);
            unfence(&mut image, 1);
        }
        assert_eq!(partition(&image).isr, in_sync);
        let request = ChangeReplicationFactor {
            topics: vec![ReplicationFactorChange {
                name: "t".to_owned(),
                id: None,
                replication_factor: 2,
            }],
            validate_only: false,
            operator_epoch: 0,
        };
        let decision = change_replication_factor(&image, &request).unwrap();
        commit(&mut image, decision).remove(0).unwrap();
        assert_eq!(partition(&image).target_replicas(), left);
    }
    // What it has may be all there is.
    let mut image = topic_on(&[0, 1, 2], "1");
    propose(&mut image, &[0]).unwrap();
    report(&mut image, 0);
    let request = ChangeReplicationFactor {
        topics: vec![ReplicationFactorChange {
            name: "t".to_owned(),
            id: None,
            replication_factor: 1,
        }],
        validate_only: false,
        operator_epoch: 0,
    };
    let decision = change_replication_factor(&image, &request).unwrap();
    commit(&mut image, decision).remove(0).unwrap();
    assert_eq!(partition(&image).target_replicas(), [0]);
}

#[test]
fn nobody_lets_it_into_an_isr_before_it_has_registered_anew() {
    let mut image = topic_on(&[1, 0, 2], "1");
    propose(&mut image, &[1, 2]).unwrap();
    report(&mut image, 0);
    // It had fetched everything, and then its disk failed.
    let refusal = propose(&mut image, &[1, 2, 0]).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::IneligibleReplica);
    assert_eq!(
        refusal.message,
        "t-0: broker 0 cannot use the log of its replica"
    );
    let late = proposal(&image, &[1, 2, 0]);
    fence(&mut image, 0);
    register(&mut image, Second::Swapped);
    unfence(&mut image, 0);
    assert_eq!(partition(&image).offline, []);
    let decision = foz_metadata::rules::alter_partitions(&image, &late).unwrap();
    let refusal = commit(&mut image, decision).remove(0).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidUpdateVersion);
    propose(&mut image, &[1, 2, 0]).unwrap();
}

#[test]
fn a_report_of_another_registration_says_nothing() {
    let mut image = topic_on(&[0, 1, 2], "1");
    let mut late = request(&image, 0);
    restart_broker(&mut image);
    let refusal = report_offline_replicas(&image, &late).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::StaleBrokerEpoch);
    late.node_id = 9;
    let refusal = report_offline_replicas(&image, &late).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::BrokerIdNotRegistered);
    // Of topics that are gone, or not its own.
    let mut other = request(&image, 0);
    other.replicas = [(Uuid::from_u128(1), 0), (image.topic("t").unwrap().id, 1)].into();
    let decision = report_offline_replicas(&image, &other).unwrap();
    assert_eq!(decision.records, []);
    let image = partition_on(3, &[1, 2], "1");
    let decision = report_offline_replicas(&image, &request(&image, 0)).unwrap();
    assert_eq!(decision.records, []);
}

fn restart_broker(image: &mut Image) {
    fence(image, 0);
    register(image, Second::Back);
    unfence(image, 0);
}

#[test]
fn a_deleted_topic_comes_back_without_it() {
    let mut image = topic_on(&[0, 1], "1");
    let request = DeleteTopics {
        topics: vec![TopicRef {
            name: "t".to_owned(),
            id: None,
        }],
        now_ms: 1,
        operator_epoch: 0,
    };
    let decision = delete_topics(&image, &std::collections::BTreeMap::new(), &request).unwrap();
    commit(&mut image, decision).remove(0).unwrap();
    assert_eq!((report(&mut image, 0), report(&mut image, 0)), (1, 0));
    let deleted = image.deleted_topics().next().unwrap();
    let found = &deleted.topic.partitions[0];
    assert_eq!((&*found.isr, &*found.offline), (&[1][..], &[0][..]));
    let image = Image::decode(&image.encode()).unwrap();
    let deleted = image.deleted_topics().next().unwrap();
    assert_eq!(deleted.topic.partitions[0].offline, [0]);
    let restore = |image: &mut Image| {
        let request = RestoreTopic {
            topic: DeletedTopicRef::Name("t".to_owned()),
            new_name: None,
            now_ms: 2,
            operator_epoch: 0,
        };
        let decision = restore_topic(image, &std::collections::BTreeMap::new(), &request).unwrap();
        commit(image, decision);
    };
    // 0 is preferred, and cannot use what it has.
    let mut restored = image.clone();
    restore(&mut restored);
    assert_eq!(state(&restored), (&[1][..], &[][..], &[][..], 1));
    assert_eq!(partition(&restored).offline, [0]);
    propose(&mut restored, &[1, 0]).unwrap_err();
    // Its directory is back before or after that, or was swapped.
    for second in [Second::Back, Second::Swapped] {
        for is_restored in [false, true] {
            let mut image = if is_restored {
                restored.clone()
            } else {
                image.clone()
            };
            fence(&mut image, 0);
            register(&mut image, second);
            unfence(&mut image, 0);
            if !is_restored {
                restore(&mut image);
            }
            let found = partition(&image);
            assert_eq!(
                (&*found.isr, &*found.offline),
                (&[1][..], &[][..]),
                "{second:?}"
            );
            assert_eq!(found.never_in_sync.contains(&0), second == Second::Swapped);
        }
    }
}

#[test]
fn a_reassignment_takes_it_away_and_does_not_end_with_it() {
    let mut image = topic_on(&[0, 1], "1");
    report(&mut image, 0);
    reassign(&mut image, Some(&[1, 2])).unwrap();
    assert_eq!(moving(&image), (&[1, 2, 0][..], &[2][..], &[0][..]));
    propose(&mut image, &[1, 2]).unwrap();
    assert_eq!(moving(&image), (&[1, 2][..], &[][..], &[][..]));
    assert_eq!(partition(&image).offline, []);

    // It comes, and its disk fails.
    let mut image = topic_on(&[1], "1");
    reassign(&mut image, Some(&[0])).unwrap();
    report(&mut image, 0);
    assert_eq!(partition(&image).offline, [0]);
    propose(&mut image, &[1, 0]).unwrap_err();
    reassign(&mut image, None).unwrap();
    assert_eq!(moving(&image), (&[1][..], &[][..], &[][..]));
    assert_eq!(partition(&image).offline, []);
}

#[test]
fn no_restart_grant_waits_for_it() {
    for is_offline in [true, false] {
        let mut image = topic_on(&[0, 1, 2], "1");
        restart_with(&mut image, 0, second(is_offline));
        let done = if is_offline { vec![0] } else { vec![] };
        assert_eq!(grants_done(&mut image), done);
        // The next in turn is not held up either.
        if is_offline {
            restart_with(&mut image, 1, Second::Failed);
            propose(&mut image, &[2, 1]).unwrap();
            assert_eq!(grants_done(&mut image), [1]);
        }
    }
}

/// With `min.insync.replicas` of two the others are both needed, so a roll waits for the disk, or for a third replica
/// elsewhere: nobody takes a partition's last room for failures by himself.
#[test]
fn a_roll_waits_where_the_others_are_all_needed() {
    let mut image = topic_on(&[0, 1, 2], "2");
    restart_with(&mut image, 0, Second::Failed);
    assert_eq!(grants_done(&mut image), [0], "its own grant ends");
    let request = restart_of(&image, 1);
    let (reason, message) = denied(&mut image, &request);
    assert_eq!(reason, DeniedReason::MinInsync);
    assert!(message.contains("t-0"), "{message}");
    // Nobody waits for its own restart, which may bring the disk back.
    restart_with(&mut image, 0, Second::Back);
    assert_eq!(grants_done(&mut image), [0; 0], "it has to catch up now");
    propose(&mut image, &[1, 2, 0]).unwrap();
    assert_eq!(grants_done(&mut image), [0]);
    restart_with(&mut image, 1, Second::Failed);
}

fn second(is_offline: bool) -> Second {
    match is_offline {
        true => Second::Failed,
        false => Second::Swapped,
    }
}

/// With a grant; only broker 0 has a second directory.
fn restart_with(image: &mut Image, node_id: i32, second: Second) {
    grant(image, node_id);
    fence(image, node_id);
    match node_id {
        0 => register(image, second),
        _ => restart(image, node_id, true),
    }
    unfence(image, node_id);
}

fn grants_done(image: &mut Image) -> Vec<i32> {
    let done = end_restarts_done(image).unwrap();
    commit(image, done)
}

/// The report came too late, or never, and the next start finds both directories there and whole.
#[test]
fn a_marked_replica_without_a_log_has_lost_it() {
    for replicas in [&[0][..], &[0, 1, 2]] {
        let mut image = topic_on(replicas, "1");
        report(&mut image, 0);
        fence(&mut image, 0);
        let known = image.broker(0).unwrap();
        let directories = known.directories.iter().map(|it| DataDirectory {
            id: it.id,
            disk_epoch: it.epoch,
            intact: true,
            logs: Vec::new(),
        });
        let request = RegisterBroker {
            directories: directories.collect(),
            ..registration(0, known.incarnation.as_u128() + 1)
        };
        let decision = register_broker(&image, &request).unwrap();
        commit(&mut image, decision);
        unfence(&mut image, 0);
        let found = partition(&image);
        let is_single = replicas == [0];
        assert_eq!(found.offline, []);
        assert_eq!(found.never_in_sync.contains(&0), !is_single, "{found:?}");
        assert_eq!(found.leader, if is_single { 0 } else { 1 });
    }
}
