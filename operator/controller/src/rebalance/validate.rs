//! Validate: from what a person wrote to a type that cannot be wrong. Pure.

use std::collections::BTreeSet;

use foz_crd::Rebalance;
use foz_crd::rebalance::RebalanceMode;

use crate::cluster::validate::InvalidField;
use crate::names::CONTROLLER_NODE_ID_BASE;
use crate::quorum::rebalance::Goal;

/// What is to be moved, with every field checked. The API server has enforced the same rules; an object may have been
/// stored under an older schema.
///
/// # Errors
/// Every field that is wrong; at least one.
pub fn validate(rebalance: &Rebalance) -> Result<Goal, Vec<InvalidField>> {
    let spec = &rebalance.spec;
    let brokers: BTreeSet<i32> = spec.brokers.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut invalid = |value: String, right: &str| {
        wrong.push(InvalidField {
            field: "spec.brokers".to_owned(),
            value,
            right: right.to_owned(),
        });
    };
    for broker in &brokers {
        if !(0..CONTROLLER_NODE_ID_BASE).contains(broker) {
            invalid(
                broker.to_string(),
                "right are node ids of brokers, 0 to 999",
            );
        }
    }
    match (spec.mode, brokers.is_empty()) {
        (RebalanceMode::Full, false) => {
            invalid(
                format!("{brokers:?}"),
                "mode Full is about all brokers: leave it out",
            );
        }
        (RebalanceMode::AddedBrokers | RebalanceMode::DrainBrokers, true) => {
            invalid(
                "empty".to_owned(),
                "right are the brokers that were added, or are to be emptied",
            );
        }
        _ => {}
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(match spec.mode {
        RebalanceMode::Full => Goal::Full,
        RebalanceMode::AddedBrokers => Goal::AddedBrokers(brokers),
        RebalanceMode::DrainBrokers => Goal::DrainBrokers(brokers),
    })
}

#[cfg(test)]
mod tests {
    use super::validate;
    use crate::quorum::rebalance::Goal;
    use foz_crd::Rebalance;
    use serde_json::json;

    #[test]
    fn brokers_are_named_where_the_mode_is_about_some() {
        let found = |mode: &str, brokers: &[i32]| {
            let rebalance: Rebalance = serde_json::from_value(json!({
                "apiVersion": "foz.dev/v1alpha1", "kind": "Rebalance",
                "metadata": {"name": "a", "namespace": "kafka"},
                "spec": {"clusterRef": {"name": "demo"}, "mode": mode, "brokers": brokers},
            }))
            .expect("a Rebalance");
            validate(&rebalance).map_err(|wrong| wrong[0].to_string())
        };
        assert_eq!(found("Full", &[]), Ok(Goal::Full));
        assert_eq!(
            found("AddedBrokers", &[3, 3, 2]),
            Ok(Goal::AddedBrokers([2, 3].into()))
        );
        let refusal = |mode, brokers| found(mode, brokers).expect_err("refused");
        assert!(refusal("Full", &[1]).starts_with("spec.brokers is {1}; mode Full"));
        assert!(refusal("DrainBrokers", &[]).starts_with("spec.brokers is empty"));
        assert!(refusal("DrainBrokers", &[1000]).starts_with("spec.brokers is 1000;"));
    }
}
