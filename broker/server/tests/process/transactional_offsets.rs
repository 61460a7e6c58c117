//! Consume, transform, produce, on three brokers, over raw connections: what was read counts as read when what was made of it
//! is there, whoever is killed when.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::FindCoordinatorRequest;

use crate::testbed::Testbed;
use crate::transaction_coordinators::{
    FIRST, SECOND, Story, await_committed, coordinator, three_brokers,
};
use crate::versions::connection::{Answered, Connection, error, eventually, text};
use crate::versions::transaction_coordinators::{Producer, await_coordinator};
use crate::versions::transactional_offsets::{add_request, commit_request, fetch};

const INPUT: &str = "input";

/// The broker that coordinates the group.
fn group_coordinator<'a>(
    testbed: &'a Testbed,
    answered: &'a Answered,
    group: &str,
) -> Connection<'a> {
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
    let node = eventually(|| {
        let alive = testbed.brokers.iter().find(|broker| broker.is_running());
        let mut connection = Connection::open(alive.unwrap(), answered);
        let found = connection.call(4, &request).coordinators.remove(0);
        match error(found.error_code) {
            ErrorCode::None if testbed.brokers[found.node_id.0 as usize].is_running() => {
                Ok(found.node_id.0)
            }
            other => Err((other, found.node_id)),
        }
    });
    Connection::open(&testbed.brokers[node as usize], answered)
}

/// The group, and the producer, of a program.
struct Processing<'a> {
    story: Story<'a>,
    group: &'a str,
}

impl Processing<'_> {
    /// Acknowledged when this returns.
    fn commit(&self, offset: i64) {
        let answered = Answered::default();
        let (testbed, producer) = (&*self.story.testbed, &self.story.producer);
        let has_epochs = self.story.versions.has_epochs();
        if !has_epochs {
            let request = add_request(producer, self.group);
            eventually(|| {
                let mut connection = coordinator(testbed, &answered, &producer.transactional_id);
                // The coordinator may be newer than the connection (ADR 0027).
                let added = connection.try_call(3, &request);
                match added.map(|added| error(added.error_code)) {
                    Ok(ErrorCode::None) => Ok(()),
                    other => Err(other.map_err(|error| error.to_string())),
                }
            });
        }
        let version = if has_epochs { 5 } else { 3 };
        let request = commit_request(producer, self.group, INPUT, 0, offset);
        eventually(|| {
            let mut connection = group_coordinator(testbed, &answered, self.group);
            let committed = connection.call(version, &request);
            match error(committed.topics[0].partitions[0].error_code) {
                ErrorCode::None => Ok(()),
                other => Err(other),
            }
        });
    }

    fn committed(&self, require_stable: bool) -> Result<i64, ErrorCode> {
        let answered = Answered::default();
        let mut connection = group_coordinator(self.story.testbed, &answered, self.group);
        fetch(&mut connection, self.group, INPUT, require_stable)
    }

    /// Nobody is told another offset meanwhile.
    fn await_stable(&self, expected: i64) {
        eventually(|| match self.committed(true) {
            Ok(offset) => {
                assert_eq!(offset, expected);
                Ok(())
            }
            Err(other) => Err(other),
        });
    }

    /// Whoever coordinates the group knows of the open transaction.
    fn await_unstable(&self) {
        eventually(|| match self.committed(true) {
            Err(ErrorCode::UnstableOffsetCommit) => Ok(()),
            Err(other) => Err(other),
            Ok(offset) => panic!("{offset} is told, and the transaction is open"),
        });
    }

    fn kill_group_coordinator(&mut self) {
        let answered = Answered::default();
        let connection = group_coordinator(self.story.testbed, &answered, self.group);
        let port = connection.broker.kafka_port;
        drop(connection);
        let mut brokers = self.story.testbed.brokers.iter_mut();
        let killed = brokers.find(|broker| broker.kafka_port == port).unwrap();
        killed.kill();
    }

    fn restart(&mut self) {
        self.story.restart();
        let answered = Answered::default();
        let mut connection = Connection::open(&self.story.testbed.brokers[0], &answered);
        eventually(|| {
            let found = connection.topic(12, "__consumer_offsets");
            match found.partitions.iter().all(|it| it.isr_nodes.len() == 3) {
                true => Ok(()),
                false => Err(found),
            }
        });
    }
}

#[test]
fn an_input_counts_as_read_when_its_output_is_committed_whichever_coordinator_dies_when() {
    let mut testbed = three_brokers();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    connection.create_replicated_topic(INPUT, 1, 3);
    drop(connection);
    for (name, versions) in [("first", FIRST), ("second", SECOND)] {
        let answered = Answered::default();
        let mut connection = Connection::open(&testbed.brokers[0], &answered);
        let topic = connection.create_replicated_topic(name, 2, 3);
        await_coordinator(&mut connection, name);
        drop(connection);
        let mut connection = coordinator(&testbed, &answered, name);
        let producer = Producer::init(&mut connection, name);
        drop(connection);
        let story = Story {
            testbed: &mut testbed,
            versions,
            topic,
            producer,
            sequence: 0,
        };
        let mut processing = Processing { story, group: name };
        processing.story.write("a");
        processing.commit(1);
        processing.await_unstable();
        processing.story.end(true);
        processing.await_stable(1);

        // Between the commit of the offset and the marker.
        processing.story.write("b");
        processing.commit(2);
        processing.kill_group_coordinator();
        processing.await_unstable();
        assert_eq!(processing.committed(false), Ok(1));
        processing.story.end(true);
        processing.await_stable(2);
        processing.restart();
        processing.await_stable(2);

        // The same, and what was made of it is given up.
        processing.story.write("c");
        processing.commit(3);
        processing.kill_group_coordinator();
        processing.story.end(false);
        processing.await_stable(2);
        processing.restart();

        // Right after the decision: the marker is written, or on its way, or did not come yet.
        processing.story.write("d");
        processing.commit(4);
        processing.story.end(true);
        processing.kill_group_coordinator();
        processing.await_stable(4);
        processing.restart();

        // The coordinator of the transaction with its decision.
        processing.story.write("e");
        processing.commit(5);
        processing.story.end(true);
        processing.story.kill_coordinator();
        processing.await_stable(5);
        processing.restart();
        processing.await_stable(5);
        await_committed(
            processing.story.testbed,
            &processing.story.topic,
            &["a", "b", "d", "e"],
        );
    }
}
