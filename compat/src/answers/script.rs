//! What is asked. The order matters: later requests meet what earlier ones left.

mod cluster;
mod configs;
mod groups;
mod offsets;
mod records;
mod topics;

use anyhow::Result;
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::asker::Asker;

/// A topic of three partitions that stays.
const ORDERS: &str = "orders";
/// One that never is.
const NOWHERE: &str = "nowhere";
const TIMEOUT_MS: i32 = 10_000;

/// Asks everything.
pub(super) fn run(asker: &mut Asker) -> Result<()> {
    cluster::is_up(asker)?;
    topics::create(asker)?;
    cluster::ask(asker)?;
    topics::ask(asker)?;
    configs::ask(asker)?;
    records::ask(asker)?;
    groups::ask(asker)?;
    offsets::ask(asker)?;
    topics::delete(asker)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}
