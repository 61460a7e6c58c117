//! A broker that is gone for good is forgotten.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, UnregisterBrokerRequest};

use crate::testbed::{Testbed, sorted};
use crate::versions::connection::{Answered, Connection, error, eventually};

fn brokers(connection: &mut Connection) -> Vec<i32> {
    let request = DescribeClusterRequest::default().with_include_fenced_brokers(true);
    let brokers = connection.call(2, &request).brokers;
    sorted(&brokers.iter().map(|it| it.broker_id).collect::<Vec<_>>())
}

#[test]
fn a_broker_that_is_gone_is_unregistered_once() {
    let mut testbed = Testbed::start(1, 2);
    testbed.brokers[1].kill();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    assert_eq!(brokers(&mut connection), [0, 1]);
    let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(1));
    // While its lease holds it counts as alive.
    eventually(|| {
        let response = connection.call(0, &request);
        match error(response.error_code) {
            ErrorCode::None => Ok(()),
            _ => Err(response),
        }
    });
    assert_eq!(brokers(&mut connection), [0], "seen at once");
    let again = connection.call(0, &request);
    let unknown = ErrorCode::BrokerIdNotRegistered;
    assert_eq!(error(again.error_code), unknown);
    drop(connection);
    // It may come back, and is known again.
    testbed.brokers[1].spawn();
    testbed.brokers[1].wait_ready();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    assert_eq!(brokers(&mut connection), [0, 1]);
}
