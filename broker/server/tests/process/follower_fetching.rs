//! Consumers read from the replica in their own rack (KIP-392).

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::{BrokerId, FetchRequest};

use crate::testbed::{Testbed, sorted};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, from_offset, text, values, versions_of,
};
use crate::versions::fetching::{fetch, only};

const RACK_IDS_FROM: i16 = 11;
const RACK_AWARE: &str =
    "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector";
const NOBODY: i32 = -1;

fn in_rack(version: i16, topic: &Topic, offset: i64, rack: &str) -> FetchRequest {
    fetch(version, topic, &[(0, offset)]).with_rack_id(text(rack))
}

/// Broker 0 in rack a leads, broker 1 in rack b follows, broker 2 in rack c has nothing.
fn racks(configure: impl Fn(&Testbed)) -> (Testbed, Topic) {
    let mut testbed = Testbed::prepare(1, 3);
    for (broker, rack) in testbed.brokers.iter().zip(["a", "b", "c"]) {
        broker.configure(&format!("broker.rack={rack}"));
    }
    configure(&testbed);
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_on("orders", &[0, 1], &[]);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1]);
    eventually(|| connection.latest_offset("orders", 0));
    connection.produce(&topic, 0, batch(1, &["a", "b"]));
    drop(connection);
    (testbed, topic)
}

#[test]
fn a_consumer_is_sent_to_the_follower_in_its_rack() {
    let (mut testbed, topic) = racks(|testbed| testbed.brokers[0].configure(RACK_AWARE));
    let answered = Answered::default();
    let mut leader = Connection::open(&testbed.brokers[0], &answered);
    let mut follower = Connection::open(&testbed.brokers[1], &answered);
    let all = from_offset(0, &["a", "b"]);
    for version in versions_of::<FetchRequest>() {
        if version < RACK_IDS_FROM {
            // It would not know that it may.
            let asked = fetch(version, &topic, &[(0, 0)]);
            let refused = follower.call(version, &asked);
            let expected = ErrorCode::NotLeaderOrFollower;
            assert_eq!(error(only(&refused).error_code), expected, "{version}");
            continue;
        }
        // At once, however long it is willing to wait, and without records.
        for offset in [0, 2] {
            let asked = in_rack(version, &topic, offset, "b").with_max_wait_ms(60_000);
            let response = leader.call(version, &asked);
            let sent = only(&response);
            assert_eq!(error(sent.error_code), ErrorCode::None);
            assert_eq!(sent.preferred_read_replica, BrokerId(1), "{version}");
            assert!(values(sent.records.as_ref()).is_empty());
        }
        for rack in ["", "a", "c", "nowhere"] {
            let response = leader.call(version, &in_rack(version, &topic, 0, rack));
            let read = only(&response);
            assert_eq!(read.preferred_read_replica, BrokerId(NOBODY), "{rack}");
            assert_eq!(values(read.records.as_ref()), all);
        }
        // The follower may hear a moment later what is committed.
        let found = eventually(|| {
            let response = follower.call(version, &in_rack(version, &topic, 0, "b"));
            let read = only(&response);
            assert_eq!(error(read.error_code), ErrorCode::None);
            assert_eq!(read.preferred_read_replica, BrokerId(NOBODY));
            let found = values(read.records.as_ref());
            if read.high_watermark == 2 {
                Ok(found)
            } else {
                Err(found)
            }
        });
        assert_eq!(found, all);
        // What it does not have is for the leader to judge: the consumer asks there.
        let beyond = follower.call(version, &in_rack(version, &topic, 3, "b"));
        let expected = ErrorCode::OffsetOutOfRange;
        assert_eq!(error(only(&beyond).error_code), expected);
        let mut epochs = [(0, ErrorCode::None), (1, ErrorCode::UnknownLeaderEpoch)].into_iter();
        epochs.by_ref().for_each(|(epoch, expected)| {
            let mut asked = in_rack(version, &topic, 0, "b");
            asked.topics[0].partitions[0].current_leader_epoch = epoch;
            let response = follower.call(version, &asked);
            assert_eq!(error(only(&response).error_code), expected, "{epoch}");
        });
    }
    // Who has no replica is no follower.
    let version = *versions_of::<FetchRequest>().end();
    let mut other = Connection::open(&testbed.brokers[2], &answered);
    let refused = other.call(version, &in_rack(version, &topic, 0, "c"));
    let refused = only(&refused);
    assert_eq!(error(refused.error_code), ErrorCode::NotLeaderOrFollower);
    assert_eq!(refused.current_leader.leader_id, BrokerId(0));

    // A long poll at the follower ends when it hears of something committed.
    follower.send(
        version,
        &in_rack(version, &topic, 2, "b").with_max_wait_ms(60_000),
    );
    leader.produce(&topic, 0, batch(1, &["c"]));
    let response = follower.receive::<FetchRequest>(version);
    assert_eq!(
        values(only(&response).records.as_ref()),
        from_offset(2, &["c"])
    );
    drop((leader, follower, other));

    // A follower that is gone serves nobody: the leader does.
    testbed.brokers[1].kill();
    let mut leader = Connection::open(&testbed.brokers[0], &answered);
    leader.await_partition("orders", |it| sorted(&it.isr_nodes) == [0]);
    let response = leader.call(version, &in_rack(version, &topic, 0, "b"));
    let read = only(&response);
    assert_eq!(read.preferred_read_replica, BrokerId(NOBODY));
    assert_eq!(
        values(read.records.as_ref()),
        from_offset(0, &["a", "b", "c"])
    );
}

#[test]
fn without_a_selector_the_leader_serves_every_rack() {
    let (testbed, topic) = racks(|_| {});
    let answered = Answered::default();
    let mut leader = Connection::open(&testbed.brokers[0], &answered);
    let response = leader.call(13, &in_rack(13, &topic, 0, "b"));
    let read = only(&response);
    assert_eq!(read.preferred_read_replica, BrokerId(NOBODY));
    assert_eq!(values(read.records.as_ref()), from_offset(0, &["a", "b"]));
}
