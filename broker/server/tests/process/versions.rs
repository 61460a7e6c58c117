//! Every API at every version that is answered, with requests that mean something. A response that sets
//! a field which its version lacks cannot be encoded, and closes the connection: each version counts.

mod answered;
mod cluster;
mod configs;
pub(crate) mod connection;
pub(crate) mod deleting_records;
mod elections;
mod epochs;
pub(crate) mod fetching;
mod groups;
mod log_dirs;
mod long_polls;
mod offsets;
mod paging;
mod producing;
pub(crate) mod quorum;
mod reassignments;
mod security;
mod topics;
pub(crate) mod transaction_coordinators;
pub(crate) mod transactional_offsets;
mod transactions;

use answered::{Answered, TABLE};
use connection::Connection;

use crate::testbed::Testbed;

type Area = fn(&mut Connection);

const AREAS: &[(&str, Area)] = &[
    ("cluster", cluster::check),
    ("configs", configs::check),
    ("deleting records", deleting_records::check),
    ("elections", elections::check),
    ("epochs", epochs::check),
    ("fetching", fetching::check),
    ("groups", groups::check),
    ("log dirs", log_dirs::check),
    ("long polls", long_polls::check),
    ("offsets", offsets::check),
    ("paging", paging::check),
    ("producing", producing::check),
    ("quorum", quorum::check),
    ("reassignments", reassignments::check),
    ("security", security::check),
    ("topics", topics::check),
    ("transaction coordinators", transaction_coordinators::check),
    ("transactional offsets", transactional_offsets::check),
    ("transactions", transactions::check),
];

#[test]
fn every_api_answers_every_version_it_advertises() {
    let mut testbed = Testbed::start(1, 1);
    let answered = Answered::default();
    epochs::prepare(&mut testbed, &answered);
    let broker = &testbed.brokers[0];
    std::thread::scope(|scope| {
        for (name, check) in AREAS {
            let area = std::thread::Builder::new().name((*name).to_owned());
            area.spawn_scoped(scope, || check(&mut Connection::open(broker, &answered)))
                .unwrap();
        }
    });
    assert_eq!(answered.missing(), Vec::<String>::new(), "not asked at all");
    let table = answered.table();
    if table != TABLE {
        let new = concat!(env!("CARGO_TARGET_TMPDIR"), "/answered.tsv");
        std::fs::write(new, &table).unwrap();
        panic!("versions/answered.tsv is not what was asked for; that is {new}");
    }
}
