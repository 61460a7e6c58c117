//! DescribeClientQuotas (48) and AlterClientQuotas (49), KIP-546. This version enforces no quotas: none is shown, and none
//! can be set, since a quota that is taken and does nothing is worse than none. What Kafka refuses is refused before that.

use std::collections::{BTreeMap, HashMap, HashSet};

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_client_quotas_request::EntryData;
use kafka_protocol::messages::alter_client_quotas_response as answered;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
};

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

const MATCH_EXACT: i8 = 0;
const MATCH_DEFAULT: i8 = 1;
const MATCH_SPECIFIED: i8 = 2;

const USER_AND_CLIENT_KEYS: &[&str] = &[
    "producer_byte_rate",
    "consumer_byte_rate",
    "request_percentage",
    "controller_mutation_rate",
];
const IP_KEYS: &[&str] = &["connection_creation_rate"];
/// The others are whole numbers.
const FRACTIONAL_KEYS: &[&str] = &["request_percentage", "controller_mutation_rate"];

type Refused = (ErrorCode, String);
/// Names by type; no name stands for the default of that type.
type Entity<'a> = BTreeMap<&'a str, Option<&'a str>>;

pub(crate) async fn describe(
    context: RequestContext,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let allowed = context.allows(Operation::DescribeConfigs, &Resource::Cluster);
    let found = allowed.then_some(()).ok_or_else(|| {
        let message = "not allowed to see quotas".to_owned();
        (ErrorCode::ClusterAuthorizationFailed, message)
    });
    match found.and_then(|()| check_filter(&request.components)) {
        Ok(()) => DescribeClientQuotasResponse::default().with_entries(Some(Vec::new())),
        Err((error, message)) => DescribeClientQuotasResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
            .with_entries(None),
    }
}

pub(crate) async fn alter(
    context: RequestContext,
    request: AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let allowed = context.allows(Operation::AlterConfigs, &Resource::Cluster);
    let entities: Vec<Entity<'_>> = request.entries.iter().map(entity).collect();
    let mut times: HashMap<&Entity<'_>, usize> = HashMap::new();
    for entity in &entities {
        *times.entry(entity).or_default() += 1;
    }
    let entries = request
        .entries
        .iter()
        .zip(&entities)
        .map(|(entry, entity)| {
            let (error, message) = if allowed {
                refusal(entry, entity, times[entity] > 1)
            } else {
                let message = "not allowed to change quotas".to_owned();
                (ErrorCode::ClusterAuthorizationFailed, message)
            };
            let entity = entry.entity.iter().map(|part| {
                answered::EntityData::default()
                    .with_entity_type(part.entity_type.clone())
                    .with_entity_name(part.entity_name.clone())
            });
            answered::EntryData::default()
                .with_error_code(error.code())
                .with_error_message(Some(text(message)))
                .with_entity(entity.collect())
        });
    AlterClientQuotasResponse::default().with_entries(entries.collect())
}

fn check_filter(components: &[ComponentData]) -> Result<(), Refused> {
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    let mut types = HashSet::new();
    for component in components {
        let kind = component.entity_type.as_str();
        if kind.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        if types.contains(kind) {
            return invalid(format!(
                "Entity type {kind} cannot appear more than once in the filter."
            ));
        }
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            let message = format!("Unsupported entity type {kind}");
            return Err((ErrorCode::UnsupportedVersion, message));
        }
        match (component.match_type, &component._match) {
            (MATCH_EXACT, Some(_)) | (MATCH_DEFAULT | MATCH_SPECIFIED, None) => {}
            (MATCH_EXACT, None) => {
                return invalid(format!(
                    "{kind}: match type {MATCH_EXACT} (exact) needs a name to match"
                ));
            }
            (other @ (MATCH_DEFAULT | MATCH_SPECIFIED), Some(name)) => {
                return invalid(format!(
                    "{kind}: match type {other} takes no name to match, not {name:?}"
                ));
            }
            (other, _) => return invalid(format!("Unknown match type {other}")),
        }
        types.insert(kind);
    }
    if types.contains(IP) && types.len() > 1 {
        return invalid("a filter has either ip or user and client-id".to_owned());
    }
    Ok(())
}

fn entity(entry: &EntryData) -> Entity<'_> {
    let parts = entry.entity.iter();
    parts
        .map(|part| (&*part.entity_type, part.entity_name.as_deref()))
        .collect()
}

/// Why this entry is not carried out.
fn refusal(entry: &EntryData, entity: &Entity<'_>, is_named_again: bool) -> Refused {
    let wrong = if is_named_again {
        Some("the entity is in the request more than once".to_owned())
    } else {
        wrong_entity(entity).or_else(|| wrong_change(entry, entity))
    };
    match wrong {
        Some(message) => (ErrorCode::InvalidRequest, message),
        None => {
            let message = "this version enforces no quotas, so none can be set".to_owned();
            (ErrorCode::UnsupportedVersion, message)
        }
    }
}

fn wrong_entity(entity: &Entity<'_>) -> Option<String> {
    if entity.is_empty() {
        return Some("Invalid empty client quota entity".to_owned());
    }
    for (kind, name) in entity {
        if ![USER, CLIENT_ID, IP].contains(kind) {
            return Some(format!("Unhandled client quota entity type: {kind}"));
        }
        if *name == Some("") {
            return Some(format!("Empty {kind} not supported"));
        }
    }
    (entity.contains_key(IP) && entity.len() > 1)
        .then(|| "an entity is either an ip or a user and client-id".to_owned())
}

fn wrong_change(entry: &EntryData, entity: &Entity<'_>) -> Option<String> {
    let keys = if entity.contains_key(IP) {
        IP_KEYS
    } else {
        USER_AND_CLIENT_KEYS
    };
    let mut changed = HashSet::new();
    entry.ops.iter().find_map(|change| {
        let (key, value) = (change.key.as_str(), change.value);
        if !changed.insert(key) {
            return Some(format!("Duplicate quota key {key}"));
        }
        if change.remove {
            return None;
        }
        if !keys.contains(&key) {
            return Some(format!("Invalid configuration key {key}"));
        }
        // NaN is not greater than anything.
        let is_positive = value > 0.0;
        if !is_positive {
            return Some(format!("Quota {key} must be greater than 0, not {value}"));
        }
        let is_whole = value.fract() == 0.0 || FRACTIONAL_KEYS.contains(&key);
        (!is_whole).then(|| format!("{key} cannot be a fractional value, as {value} is"))
    })
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::alter_client_quotas_request::{EntityData, OpData};
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn component(kind: &'static str, match_type: i8, name: Option<&'static str>) -> ComponentData {
        ComponentData::default()
            .with_entity_type(StrBytes::from_static_str(kind))
            .with_match_type(match_type)
            .with_match(name.map(StrBytes::from_static_str))
    }

    #[test]
    fn filters_that_kafka_refuses_are_refused() {
        let good: &[&[ComponentData]] = &[
            &[],
            &[component(IP, MATCH_SPECIFIED, None)],
            &[
                component(USER, MATCH_EXACT, Some("ann")),
                component(CLIENT_ID, MATCH_DEFAULT, None),
            ],
        ];
        for filter in good {
            assert_eq!(check_filter(filter), Ok(()), "{filter:?}");
        }
        let invalid = ErrorCode::InvalidRequest;
        let twice = component(USER, MATCH_SPECIFIED, None);
        let bad: &[(&[ComponentData], ErrorCode)] = &[
            (&[component("", MATCH_EXACT, Some("a"))], invalid),
            (
                &[component("group", MATCH_EXACT, Some("a"))],
                ErrorCode::UnsupportedVersion,
            ),
            (&[twice.clone(), twice.clone()], invalid),
            (&[component(USER, MATCH_EXACT, None)], invalid),
            (&[component(USER, MATCH_DEFAULT, Some("a"))], invalid),
            (&[component(USER, MATCH_SPECIFIED, Some("a"))], invalid),
            (&[component(USER, 3, None)], invalid),
            (&[component(USER, -1, Some("a"))], invalid),
            (&[component(IP, MATCH_DEFAULT, None), twice], invalid),
        ];
        for (filter, expected) in bad {
            let (error, _) = check_filter(filter).unwrap_err();
            assert_eq!(error, *expected, "{filter:?}");
        }
    }

    fn change(
        entity: &[(&'static str, Option<&'static str>)],
        changes: &[(&'static str, f64)],
    ) -> EntryData {
        let entity = entity.iter().map(|(kind, name)| {
            EntityData::default()
                .with_entity_type(StrBytes::from_static_str(kind))
                .with_entity_name(name.map(StrBytes::from_static_str))
        });
        let changes = changes.iter().map(|(key, value)| {
            OpData::default()
                .with_key(StrBytes::from_static_str(key))
                .with_value(*value)
        });
        EntryData::default()
            .with_entity(entity.collect())
            .with_ops(changes.collect())
    }

    fn refused(entry: &EntryData) -> Refused {
        refusal(entry, &entity(entry), false)
    }

    #[test]
    fn a_right_change_is_refused_since_there_are_no_quotas() {
        let changes = [
            change(
                &[(USER, Some("ann")), (CLIENT_ID, None)],
                &[("producer_byte_rate", 1.0)],
            ),
            change(&[(USER, None)], &[("request_percentage", 12.5)]),
            change(
                &[(IP, Some("10.0.0.1"))],
                &[("connection_creation_rate", 3.0)],
            ),
        ];
        for entry in changes {
            let (error, message) = refused(&entry);
            assert_eq!(error, ErrorCode::UnsupportedVersion, "{message}");
        }
        let mut removal = change(&[(USER, None)], &[("of old", 0.0)]);
        removal.ops[0].remove = true;
        assert_eq!(refused(&removal).0, ErrorCode::UnsupportedVersion);
    }

    #[test]
    fn a_wrong_change_is_told_what_is_wrong() {
        let rate = ("producer_byte_rate", 1.0);
        let ann = (USER, Some("ann"));
        let wrong = [
            (change(&[], &[rate]), "empty"),
            (change(&[("group", Some("g"))], &[rate]), "group"),
            (change(&[(USER, Some(""))], &[rate]), "Empty user"),
            (change(&[(IP, None), ann], &[rate]), "either"),
            (
                change(&[ann], &[("connection_creation_rate", 1.0)]),
                "connection_creation_rate",
            ),
            (change(&[(IP, None)], &[rate]), "producer_byte_rate"),
            (change(&[ann], &[("producer_byte_rate", 0.0)]), "not 0"),
            (
                change(&[ann], &[("producer_byte_rate", f64::NAN)]),
                "not NaN",
            ),
            (change(&[ann], &[("producer_byte_rate", 1.5)]), "fractional"),
            (change(&[ann], &[rate, rate]), "Duplicate"),
        ];
        for (entry, part) in wrong {
            let (error, message) = refused(&entry);
            assert_eq!(error, ErrorCode::InvalidRequest, "{message}");
            assert!(message.contains(part), "{message}");
        }
    }
}
