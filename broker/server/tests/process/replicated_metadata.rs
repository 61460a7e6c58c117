//! How a partition looks while its replicas go and come: leader, ISR, offline replicas, ELR (KIP-966). A
//! replica that comes back with an emptied disk is not taken for what it was.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, ElectLeadersRequest, MetadataRequest,
};

use crate::testbed::{Node, Testbed, sorted};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, produce_request, topic_name, versions_of,
};

const NO_LEADER: i32 = -1;
const UNCLEAN: i8 = 1;
const OFFLINE_REPLICAS_FROM: i16 = 5;
const LEADER_EPOCHS_FROM: i16 = 7;
const REPLICAS: [i32; 3] = [0, 1, 2];

/// A partition as a broker shows it.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    leader: i32,
    isr: Vec<i32>,
    offline: Vec<i32>,
    elr: Vec<i32>,
    last_known_elr: Vec<i32>,
}

impl Shown {
    fn of(partition: &DescribeTopicPartitionsResponsePartition) -> Self {
        let ids = |ids: &Option<Vec<BrokerId>>| sorted(ids.as_ref().expect("never null"));
        Self {
            leader: partition.leader_id.0,
            isr: sorted(&partition.isr_nodes),
            offline: sorted(&partition.offline_replicas),
            elr: ids(&partition.eligible_leader_replicas),
            last_known_elr: ids(&partition.last_known_elr),
        }
    }
}

/// Waits until the partition is shown so; then by each version of Metadata too.
fn await_shown(viewer: &mut Connection, expected: &Shown) {
    let wanted = TopicRequest::default().with_name(topic_name("orders"));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![wanted])
        .with_response_partition_limit(10);
    let partition = eventually(|| {
        let response = viewer.call(0, &request);
        let partition = response.topics[0].partitions[0].clone();
        match Shown::of(&partition) {
            shown if shown == *expected => Ok(partition),
            other => Err(other),
        }
    });
    // Without a leader too: the leader says it all.
    assert_eq!(error(partition.error_code), ErrorCode::None);
    assert_eq!(sorted(&partition.replica_nodes), REPLICAS);
    for version in versions_of::<MetadataRequest>() {
        let topic = viewer.topic(version, "orders");
        assert_eq!(error(topic.error_code), ErrorCode::None);
        let shown = &topic.partitions[0];
        assert_eq!(shown.leader_id, expected.leader);
        let alive = |ids: &[i32]| {
            let ids = ids.iter().copied();
            ids.filter(|id| !expected.offline.contains(id)).collect()
        };
        let (replicas, isr): (Vec<i32>, Vec<i32>) = if version == 0 {
            (alive(&REPLICAS), alive(&expected.isr))
        } else {
            (REPLICAS.to_vec(), expected.isr.clone())
        };
        assert_eq!(sorted(&shown.replica_nodes), replicas, "{version}");
        assert_eq!(sorted(&shown.isr_nodes), isr, "{version}");
        let outcome = if expected.leader == NO_LEADER {
            ErrorCode::LeaderNotAvailable
        } else if replicas.len() < REPLICAS.len() {
            ErrorCode::ReplicaNotAvailable
        } else {
            ErrorCode::None
        };
        assert_eq!(error(shown.error_code), outcome, "{version}");
        if version >= OFFLINE_REPLICAS_FROM {
            assert_eq!(sorted(&shown.offline_replicas), expected.offline);
        }
        if version >= LEADER_EPOCHS_FROM {
            assert_eq!(shown.leader_epoch, partition.leader_epoch);
        }
    }
}

fn come_back(broker: &mut Node) {
    broker.spawn();
    broker.wait_ready();
}

fn come_back_empty(broker: &mut Node) {
    std::fs::remove_dir_all(broker.directory.join("data")).unwrap();
    come_back(broker);
}

fn produce(leader: &Node, topic: &Topic, acks: i16) -> ErrorCode {
    let answered = Answered::default();
    let mut connection = Connection::open(leader, &answered);
    let records = Some(batch(1, &["a"]));
    let response = connection.call(9, &produce_request(9, topic, acks, &[(0, records)]));
    error(response.responses[0].partition_responses[0].error_code)
}

#[test]
fn replicas_are_shown_as_they_go_and_come() {
    let mut testbed = Testbed::prepare(1, 4);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let (replicas, viewer) = testbed.brokers.split_at_mut(3);
    let answered = Answered::default();
    let mut viewer = Connection::open(&viewer[0], &answered);
    let topic = viewer.create_on("orders", &REPLICAS, &[("min.insync.replicas", "2")]);
    let shown = |leader, isr: &[i32], offline: &[i32], elr: &[i32], last_known_elr: &[i32]| Shown {
        leader,
        isr: isr.to_vec(),
        offline: offline.to_vec(),
        elr: elr.to_vec(),
        last_known_elr: last_known_elr.to_vec(),
    };
    await_shown(&mut viewer, &shown(0, &REPLICAS, &[], &[], &[]));
    eventually(|| match produce(&replicas[0], &topic, -1) {
        ErrorCode::None => Ok(()),
        error => Err(error),
    });

    // With as many in sync as there must be, nobody else is eligible.
    replicas[2].kill();
    await_shown(&mut viewer, &shown(0, &[0, 1], &[2], &[], &[]));
    // With fewer nothing is acknowledged to acks=all, so broker 1 goes on having everything that was.
    replicas[1].kill();
    await_shown(&mut viewer, &shown(0, &[0], &[1, 2], &[1], &[]));
    let mut leader = Connection::open(&replicas[0], &answered);
    leader.await_partition("orders", |it| sorted(&it.isr_nodes) == [0]);
    drop(leader);
    let refused = ErrorCode::NotEnoughReplicas;
    assert_eq!(produce(&replicas[0], &topic, -1), refused);
    assert_eq!(produce(&replicas[0], &topic, 1), ErrorCode::None);
    replicas[0].kill();
    await_shown(
        &mut viewer,
        &shown(NO_LEADER, &[], &REPLICAS, &[0, 1], &[0]),
    );

    // The last leader without its disk is a stranger.
    come_back_empty(&mut replicas[0]);
    await_shown(&mut viewer, &shown(NO_LEADER, &[], &[1, 2], &[1], &[]));
    // Broker 2 has its data, but left the ISR before the last records: it waits too.
    come_back(&mut replicas[2]);
    await_shown(&mut viewer, &shown(NO_LEADER, &[], &[1], &[1], &[]));
    // An eligible one leads, and has all that was acknowledged to acks=all.
    come_back(&mut replicas[1]);
    await_shown(&mut viewer, &shown(1, &REPLICAS, &[], &[], &[]));
    let answered = Answered::default();
    let mut leader = Connection::open(&replicas[1], &answered);
    assert_eq!(leader.latest_offset("orders", 0), Ok(1));
}

#[test]
fn when_all_that_had_everything_lost_their_disks_somebody_has_to_say_who_leads() {
    let mut testbed = Testbed::prepare(1, 4);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let (replicas, viewer) = testbed.brokers.split_at_mut(3);
    let answered = Answered::default();
    let mut viewer = Connection::open(&viewer[0], &answered);
    viewer.create_on("orders", &REPLICAS, &[("min.insync.replicas", "2")]);
    let shown = |leader, isr: &[i32], offline: &[i32], elr: &[i32], last_known_elr: &[i32]| Shown {
        leader,
        isr: isr.to_vec(),
        offline: offline.to_vec(),
        elr: elr.to_vec(),
        last_known_elr: last_known_elr.to_vec(),
    };
    await_shown(&mut viewer, &shown(0, &REPLICAS, &[], &[], &[]));
    for node_id in [2, 1, 0] {
        replicas[node_id].kill();
        viewer.await_partition("orders", |it| {
            !it.isr_nodes.contains(&BrokerId(node_id as i32))
        });
    }
    await_shown(
        &mut viewer,
        &shown(NO_LEADER, &[], &REPLICAS, &[0, 1], &[0]),
    );
    come_back_empty(&mut replicas[0]);
    await_shown(&mut viewer, &shown(NO_LEADER, &[], &[1, 2], &[1], &[]));
    replicas[0].kill();
    await_shown(&mut viewer, &shown(NO_LEADER, &[], &REPLICAS, &[1], &[]));
    come_back_empty(&mut replicas[1]);
    await_shown(&mut viewer, &shown(NO_LEADER, &[], &[0, 2], &[], &[]));
    come_back(&mut replicas[0]);
    await_shown(&mut viewer, &shown(NO_LEADER, &[], &[2], &[], &[]));
    come_back(&mut replicas[2]);
    await_shown(&mut viewer, &shown(NO_LEADER, &[], &[], &[], &[]));
    // The one that left early has most.
    let wanted = TopicPartitions::default()
        .with_topic(topic_name("orders"))
        .with_partitions(vec![0]);
    let request = ElectLeadersRequest::default()
        .with_election_type(UNCLEAN)
        .with_topic_partitions(Some(vec![wanted]))
        .with_timeout_ms(10_000);
    let response = viewer.call(2, &request);
    assert_eq!(error(response.error_code), ErrorCode::None);
    await_shown(&mut viewer, &shown(2, &REPLICAS, &[], &[], &[]));
}
