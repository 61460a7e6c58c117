//! What brokers let groups say of themselves.

use std::collections::BTreeMap;

use super::alter_configs::NewValue;
use super::{ErrorCode, Refusal};
use crate::config::{Resolver, SESSIONS, bounds};
use crate::image::Image;

/// Refuses a value beyond the bounds that are set for all brokers, and sessions that do not outlast the pause between two
/// heartbeats. Where a bound comes later, coordinators take it in the place of the value.
pub(super) fn check_group_configs(
    image: &Image,
    properties: &BTreeMap<String, String>,
    group_id: &str,
    changes: &[NewValue],
) -> Result<(), Refusal> {
    let resolver = Resolver::new(image, -1, properties);
    for (key, value) in changes {
        let Some(value) = value else { continue };
        let Ok(number) = value.parse::<i64>() else {
            continue;
        };
        let [min, max] = bounds(key.name).map(|key| {
            let bound = resolver.broker(key?.name)?;
            Some((bound.key.name, bound.as_i64()?))
        });
        if let Some((bound, min)) = min.filter(|(_, min)| number < *min) {
            return refused(format!("{} is {number}, less than {bound}={min}", key.name));
        }
        if let Some((bound, max)) = max.filter(|(_, max)| number > *max) {
            return refused(format!("{} is {number}, more than {bound}={max}", key.name));
        }
    }
    for (session, heartbeat) in SESSIONS {
        let is_changed = |name: &str| changes.iter().any(|(key, _)| key.name == name);
        if !is_changed(session) && !is_changed(heartbeat) {
            continue;
        }
        let after = |name: &str| {
            let changed = changes.iter().find(|(key, _)| key.name == name);
            match changed {
                Some((_, Some(value))) => value.parse().ok(),
                Some((key, None)) => {
                    let broker_key = key.synonyms.first()?.name;
                    resolver.broker(broker_key)?.as_i64()
                }
                None => resolver.group(group_id, name)?.as_i64(),
            }
        };
        let (Some(session_ms), Some(heartbeat_ms)) = (after(session), after(heartbeat)) else {
            continue;
        };
        if session_ms <= heartbeat_ms {
            return refused(format!(
                "{session} would be {session_ms} and must be more than {heartbeat}, which would be {heartbeat_ms}"
            ));
        }
    }
    Ok(())
}

fn refused(message: String) -> Result<(), Refusal> {
    Err(Refusal::new(ErrorCode::InvalidConfig, message))
}
