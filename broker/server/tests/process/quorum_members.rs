//! What Kafka's tools show of the controllers, and do to them.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::{AddRaftVoterRequest, RemoveRaftVoterRequest};

use crate::testbed::Testbed;
use crate::versions::connection::{Answered, Connection, error, eventually};
use crate::versions::quorum::{metadata, voters};

#[test]
fn a_controller_is_taken_out_comes_back_and_is_missed_when_it_dies() {
    let mut testbed = Testbed::start(3, 1);
    let answered = Answered::default();
    let ids = |connection: &mut Connection| -> Vec<i32> {
        voters(connection)
            .iter()
            .map(|it| it.replica_id.0)
            .collect()
    };
    let leader = {
        let mut connection = Connection::open(&testbed.brokers[0], &answered);
        assert_eq!(ids(&mut connection), [1000, 1001, 1002]);
        metadata(&mut connection, 2).leader_id.0
    };
    let other = (1000..1003).find(|id| *id != leader).unwrap();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let voter = voters(&mut connection)
        .into_iter()
        .find(|it| it.replica_id.0 == other)
        .unwrap();
    let removal = RemoveRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_voter_id(other)
        .with_voter_directory_id(voter.replica_directory_id);
    // The group changes one member at a time.
    eventually(|| {
        let response = connection.call(0, &removal);
        match error(response.error_code) {
            ErrorCode::None => Ok(()),
            _ => Err(response),
        }
    });
    assert_eq!(ids(&mut connection).len(), 2);
    let again = connection.call(0, &removal);
    assert_eq!(error(again.error_code), ErrorCode::VoterNotFound);
    // It takes a new name in the group, which its next process begins with.
    let position = usize::try_from(other - 1000).unwrap();
    let added = AddRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_timeout_ms(30_000)
        .with_voter_id(other)
        .with_voter_directory_id(voter.replica_directory_id);
    connection.send(0, &added);
    testbed.controllers[position].wait_failure();
    testbed.controllers[position].spawn();
    let response = connection.receive::<AddRaftVoterRequest>(0);
    assert_eq!(error(response.error_code), ErrorCode::None, "{response:?}");
    let back = voters(&mut connection);
    assert_eq!(ids(&mut connection), [1000, 1001, 1002]);
    let mut back = back.iter().filter(|it| it.replica_id.0 == other);
    assert_ne!(
        back.next().unwrap().replica_directory_id,
        voter.replica_directory_id
    );

    testbed.controllers[position].kill();
    eventually(|| {
        let found = metadata(&mut connection, 2);
        let time = |id: i32| {
            let mut voters = found.current_voters.iter();
            let voter = voters.find(|it| it.replica_id.0 == id).unwrap();
            voter.last_fetch_timestamp
        };
        // Longer than an election timeout.
        match time(found.leader_id.0) - time(other) {
            2_000.. => Ok(()),
            since => Err((since, Box::new(found))),
        }
    });
}
