//! What is asked. The order matters: later requests meet what earlier ones left.

mod cluster;
mod configs;
mod groups;
mod offsets;
mod records;
mod static_members;
mod topics;
mod transactions;

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
    static_members::ask(asker)?;
    transactions::ask(asker)?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::RangeInclusive;

    use foz_protocol::apis::APIS;
    use kafka_protocol::messages::ApiKey;

    use super::super::asker::CONNECTION;
    use super::super::difference::read_answers;
    use crate::compressed::decompress;

    /// Which Kafka cannot be asked, and why.
    const NOT_ASKED: &[(ApiKey, RangeInclusive<i16>, &str)] = &[];

    #[test]
    fn every_version_of_every_api_is_answered_by_kafka_or_has_a_reason() {
        let kept = decompress(include_bytes!("../../answers.txt.zst")).unwrap();
        let answers = read_answers(&kept).unwrap();
        let asked: BTreeSet<(&str, &str)> = answers
            .iter()
            // A connection that is closed or silent says nothing of the API.
            .filter(|(_, lines)| !lines.contains_key(CONNECTION))
            .filter_map(|(request, _)| {
                let (api, rest) = request.split_once(", ")?;
                let (_, version) = rest.rsplit_once(", v")?;
                Some((api, version))
            })
            .collect();
        let mut missing = Vec::new();
        for api in APIS {
            for version in api.min..=api.max {
                let is_asked = asked.contains(&(api.name, version.to_string().as_str()));
                let has_reason = NOT_ASKED
                    .iter()
                    .any(|(key, versions, _)| *key == api.key && versions.contains(&version));
                if is_asked == has_reason {
                    let what = match is_asked {
                        true => "is asked, and has a reason why not",
                        false => "is not asked",
                    };
                    missing.push(format!("{} {version} {what}", api.name));
                }
            }
        }
        assert!(missing.is_empty(), "{}", missing.join("\n"));
        for (key, _, reason) in NOT_ASKED {
            assert!(!reason.is_empty(), "{key:?}");
        }
    }
}
