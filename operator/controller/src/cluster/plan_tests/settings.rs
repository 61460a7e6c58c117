//! Settings of all brokers.

use super::{plan_of, settled, settled_status, view_mut};
use crate::cluster::fixtures::validated;
use crate::cluster::observed::Observed;
use crate::cluster::plan::{Action, plan};
use crate::cluster::validate::ValidatedCluster;

#[test]
fn settings_are_written_down_and_then_set() {
    let mut cluster = validated();
    cluster
        .config
        .insert("log.retention.ms".into(), "1000".into());
    let plan = plan(
        &cluster,
        &settled(&validated()),
        &settled_status(&validated()),
    );
    let [Action::RecordManagedKeys(keys), Action::AlterConfigs(diff)] = plan.actions.as_slice()
    else {
        panic!("{:?}", plan.actions);
    };
    assert_eq!(
        keys,
        &[
            "default.replication.factor",
            "log.retention.ms",
            "min.insync.replicas"
        ]
    );
    assert_eq!(diff.keys(), "log.retention.ms");
}

#[test]
fn a_setting_taken_out_is_deleted_and_those_of_others_stay() {
    let mut observed = settled(&validated());
    view_mut(&mut observed)
        .broker_config
        .insert("others.key".into(), "1".into());
    let mut cluster = validated();
    cluster.config.insert("log.retention.ms".into(), "5".into());
    let status = settled_status(&cluster);
    view_mut(&mut observed)
        .broker_config
        .extend(cluster.config.clone());
    cluster.config.remove("log.retention.ms");
    let plan = plan(&cluster, &observed, &status);
    let [Action::AlterConfigs(diff)] = plan.actions.as_slice() else {
        panic!("{:?}", plan.actions);
    };
    assert!(diff.set.is_empty());
    assert_eq!(diff.delete.iter().collect::<Vec<_>>(), ["log.retention.ms"]);
}

/// New topics of a cluster that grows are on more brokers; what was set by other means stays.
#[test]
fn defaults_follow_the_number_of_brokers() {
    let mut small = validated();
    small.brokers = 1;
    small.config.clear();
    let mut observed = settled(&small);
    assert_eq!(plan_of(&small, &observed).actions, []);
    let grown = ValidatedCluster {
        brokers: 3,
        ..small.clone()
    };
    let settings = |observed: &Observed| {
        let plan = plan(&grown, observed, &settled_status(&small));
        let setting = |action: &Action| match action {
            Action::AlterConfigs(diff) => Some(diff.clone()),
            _ => None,
        };
        plan.actions.iter().find_map(setting).expect("settings")
    };
    let found = settings(&observed);
    assert_eq!(
        found.keys(),
        "default.replication.factor, min.insync.replicas"
    );
    assert!(found.delete.is_empty());
    view_mut(&mut observed)
        .broker_config
        .insert("default.replication.factor".into(), "1".into());
    assert_eq!(settings(&observed).keys(), "min.insync.replicas");
}
