//! Configs of groups, which need not be there.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, ConsumerGroupHeartbeatRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

use super::super::connection::{Connection, error, eventually, group_id, text, versions_of};
use super::{APPEND, DELETE, OF_DEFAULT, SET, alter, describe, replace};

const GROUP: i8 = 32;
const OF_GROUP: i8 = 8;
const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const KEYS: usize = 17;

pub(super) fn check(connection: &mut Connection) {
    assert_eq!(listed(connection), [""; 0]);
    for version in versions_of::<IncrementalAlterConfigsRequest>() {
        keys_are_set_one_by_one(connection, version);
        wrong_changes_are_refused(connection, version);
    }
    for version in versions_of::<AlterConfigsRequest>() {
        what_is_not_named_goes_back(connection, version);
    }
    for version in versions_of::<DescribeConfigsRequest>() {
        empty_names_are_refused(connection, version);
    }
    members_are_told_of_the_interval(connection);
    assert_eq!(listed(connection), [""; 0]);
}

fn listed(connection: &mut Connection) -> Vec<String> {
    let request = ListConfigResourcesRequest::default().with_resource_types(vec![GROUP]);
    let response = connection.call(1, &request);
    assert_eq!(error(response.error_code), ErrorCode::None);
    let resources = response.config_resources.into_iter();
    resources
        .map(|it| {
            assert_eq!(it.resource_type, GROUP);
            it.resource_name.to_string()
        })
        .collect()
}

/// Value, source, and the names and sources of all places that have one.
type Described = (String, i8, Vec<(String, i8)>);

fn described(connection: &mut Connection, key: &str) -> Described {
    let mut found = describe(connection, 4, GROUP, "tuned", Some(&[key]));
    assert_eq!(error(found.error_code), ErrorCode::None);
    let found = found.configs.remove(0);
    assert!(!found.read_only && !found.is_sensitive);
    assert!(found.documentation.is_some_and(|it| !it.is_empty()));
    let synonyms = found.synonyms.iter();
    let synonyms = synonyms.map(|it| (it.name.to_string(), it.source));
    let value = found.value.unwrap().to_string();
    (value, found.config_source, synonyms.collect())
}

fn of_brokers(key: &str, value: &str) -> Described {
    let default = (format!("group.{key}"), OF_DEFAULT);
    (value.to_owned(), OF_DEFAULT, vec![default])
}

fn keys_are_set_one_by_one(connection: &mut Connection, version: i16) {
    let all = describe(connection, 4, GROUP, "tuned", None);
    assert_eq!(all.configs.len(), KEYS);
    assert_eq!(described(connection, SESSION), of_brokers(SESSION, "45000"));
    let set = (SESSION, SET, Some("50000"));
    let mut change = |validate_only, change| {
        let code = alter(connection, version, validate_only, GROUP, "tuned", change);
        assert_eq!(code, ErrorCode::None, "{change:?}");
        (described(connection, SESSION), listed(connection))
    };
    assert_eq!(
        change(true, set),
        (of_brokers(SESSION, "45000"), Vec::new())
    );
    let (_, _, mut places) = of_brokers(SESSION, "45000");
    places.insert(0, (SESSION.to_owned(), OF_GROUP));
    let expected = ("50000".to_owned(), OF_GROUP, places);
    assert_eq!(change(false, set), (expected, vec!["tuned".to_owned()]));
    let kept = ("share.auto.offset.reset", SET, Some("by_duration:P1D"));
    change(false, kept);
    change(false, (kept.0, DELETE, None));
    assert_eq!(
        change(false, (SESSION, DELETE, None)),
        (of_brokers(SESSION, "45000"), Vec::new())
    );
    let (value, source, places) = described(connection, kept.0);
    assert_eq!((&*value, source), ("latest", OF_DEFAULT));
    assert_eq!(places, [(kept.0.to_owned(), OF_DEFAULT)]);
}

fn wrong_changes_are_refused(connection: &mut Connection, version: i16) {
    let (invalid, request) = (ErrorCode::InvalidConfig, ErrorCode::InvalidRequest);
    for (group, change, expected) in [
        ("", (SESSION, SET, Some("50000")), request),
        ("tuned", (SESSION, SET, Some("44999")), invalid),
        ("tuned", (SESSION, SET, Some("60001")), invalid),
        ("tuned", (SESSION, SET, Some("long")), invalid),
        ("tuned", (SESSION, SET, None), request),
        ("tuned", (SESSION, APPEND, Some("50000")), invalid),
        ("tuned", (HEARTBEAT, SET, Some("4999")), invalid),
        ("tuned", ("session.timeout.ms", SET, Some("50000")), invalid),
        ("tuned", ("retention.ms", DELETE, None), invalid),
    ] {
        let code = alter(connection, version, false, GROUP, group, change);
        assert_eq!(code, expected, "{group:?} {change:?}");
    }
    assert_eq!(listed(connection), [""; 0]);
}

fn what_is_not_named_goes_back(connection: &mut Connection, version: i16) {
    let both = [(SESSION, Some("50000")), (HEARTBEAT, Some("6000"))];
    let mut replaced = |values| {
        let codes = replace(connection, version, false, &[(GROUP, "tuned", values)]);
        assert_eq!(codes, [ErrorCode::None]);
        let [(session, ..), (heartbeat, ..)] =
            [SESSION, HEARTBEAT].map(|key| described(connection, key));
        [session, heartbeat]
    };
    assert_eq!(replaced(&both), ["50000", "6000"]);
    assert_eq!(replaced(&both[1..]), ["45000", "6000"]);
    assert_eq!(replaced(&[]), ["45000", "5000"]);
    let codes = replace(connection, version, false, &[(GROUP, "", &both)]);
    assert_eq!(codes, [ErrorCode::InvalidRequest]);
}

fn empty_names_are_refused(connection: &mut Connection, version: i16) {
    let refused = describe(connection, version, GROUP, "", None);
    assert_eq!(error(refused.error_code), ErrorCode::InvalidRequest);
    assert!(refused.configs.is_empty() && refused.error_message.is_some());
    let known = describe(connection, version, GROUP, "nobody-in-it", None);
    assert_eq!(known.configs.len(), KEYS);
}

/// The group's own, as soon as it is set, and not that of another group.
fn members_are_told_of_the_interval(connection: &mut Connection) {
    let interval = |connection: &mut Connection, group: &str| {
        let join = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(group))
            .with_member_id(text("member"))
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(Vec::new()))
            .with_topic_partitions(Some(Vec::new()));
        eventually(|| {
            let joined: ConsumerGroupHeartbeatResponse = connection.call(1, &join);
            match error(joined.error_code) {
                ErrorCode::None => Ok(joined.heartbeat_interval_ms),
                _ => Err(joined.error_code),
            }
        })
    };
    super::super::groups::wait_for_coordinator(connection, "tuned");
    super::super::groups::wait_for_coordinator(connection, "other");
    assert_eq!(interval(connection, "tuned"), 5_000);
    let set = (HEARTBEAT, SET, Some("9000"));
    alter(connection, 1, false, GROUP, "tuned", set);
    eventually(|| match interval(connection, "tuned") {
        9_000 => Ok(()),
        other => Err(other),
    });
    assert_eq!(interval(connection, "other"), 5_000);
    alter(
        connection,
        1,
        false,
        GROUP,
        "tuned",
        (HEARTBEAT, DELETE, None),
    );
    eventually(|| match interval(connection, "tuned") {
        5_000 => Ok(()),
        other => Err(other),
    });
}
