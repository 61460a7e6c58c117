//! Changing settings of a topic or of all brokers.

use std::collections::BTreeSet;

use foz_api::v1::alter_configs_request::Resource;
use foz_api::v1::alter_configs_response::{Effect, Result as AlterResult};
use foz_api::v1::{AlterConfigsRequest, ConfigChange, ConfigOperation, ResourceType};

use crate::config_diff::ConfigDiff;
use crate::quorum::{Quorum, QuorumError};

/// What came of a change of settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Altered {
    /// Keys that were set or deleted.
    pub changed: BTreeSet<String>,
    /// Of them those that were deleted.
    pub deleted: BTreeSet<String>,
    /// Of them those that take effect when brokers restart.
    pub needs_restart: BTreeSet<String>,
    /// Why keys were refused, a sentence each.
    pub refused: Vec<String>,
}

impl Quorum {
    /// Sets and deletes settings of a topic, or of all brokers (`name` is then empty). The quorum takes
    /// all changes of a request or none: when it refuses, each key is tried by itself without effect,
    /// and those that are right are then changed together.
    ///
    /// # Errors
    /// When a call fails; see [`QuorumError`].
    pub async fn alter(
        &self,
        resource: ResourceType,
        name: &str,
        diff: &ConfigDiff,
    ) -> Result<Altered, QuorumError> {
        let mut changes = changes(diff);
        let mut result = self
            .call_alter(resource, name, changes.clone(), false)
            .await?;
        let mut refused = Vec::new();
        if let Some(first) = refusal(&result) {
            let mut good = Vec::new();
            for change in changes {
                let alone = self
                    .call_alter(resource, name, vec![change.clone()], true)
                    .await?;
                match refusal(&alone) {
                    None => good.push(change),
                    Some(message) => refused.push(message),
                }
            }
            changes = good;
            if changes.is_empty() {
                return Ok(Altered {
                    refused,
                    ..Altered::default()
                });
            }
            if refused.is_empty() {
                // Each is right, and together they are not.
                return Ok(Altered {
                    refused: vec![first],
                    ..Altered::default()
                });
            }
            result = self
                .call_alter(resource, name, changes.clone(), false)
                .await?;
            if let Some(message) = refusal(&result) {
                refused.push(message);
                return Ok(Altered {
                    refused,
                    ..Altered::default()
                });
            }
        }
        Ok(altered(&changes, &result, refused))
    }

    async fn call_alter(
        &self,
        resource: ResourceType,
        name: &str,
        changes: Vec<ConfigChange>,
        validate_only: bool,
    ) -> Result<AlterResult, QuorumError> {
        let resource = Resource {
            r#type: resource.into(),
            name: name.to_owned(),
            changes,
        };
        let alter = |resources: Vec<Resource>| async move {
            let answer = self.change(|mut client, operator_epoch| {
                let request = AlterConfigsRequest {
                    resources: resources.clone(),
                    validate_only,
                    replaces: false,
                    operator_epoch,
                };
                async move { client.alter_configs(request).await }
            });
            Ok(answer.await?.into_inner().results)
        };
        if validate_only {
            let results = alter(vec![resource]).await?;
            return Ok(results.into_iter().next().unwrap_or_default());
        }
        self.alterations.call(resource, alter).await
    }
}

fn altered(changes: &[ConfigChange], result: &AlterResult, refused: Vec<String>) -> Altered {
    let deletes = |change: &&ConfigChange| change.operation() == ConfigOperation::Delete;
    let waits = result
        .effects
        .iter()
        .filter(|effect| effect.effect() == Effect::NeedsRestart);
    Altered {
        changed: changes.iter().map(|change| change.key.clone()).collect(),
        deleted: changes
            .iter()
            .filter(deletes)
            .map(|change| change.key.clone())
            .collect(),
        needs_restart: waits.map(|effect| effect.key.clone()).collect(),
        refused,
    }
}

fn changes(diff: &ConfigDiff) -> Vec<ConfigChange> {
    let change = |key: &String, operation: ConfigOperation, value: &str| ConfigChange {
        key: key.clone(),
        operation: operation.into(),
        value: value.to_owned(),
    };
    let set = diff
        .set
        .iter()
        .map(|(key, value)| change(key, ConfigOperation::Set, value));
    let delete = diff
        .delete
        .iter()
        .map(|key| change(key, ConfigOperation::Delete, ""));
    set.chain(delete).collect()
}

fn refusal(result: &AlterResult) -> Option<String> {
    let outcome = result.outcome.as_ref()?;
    (outcome.kafka_code != 0).then(|| outcome.message.clone())
}
