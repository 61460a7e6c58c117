//! Calls that change or describe topics.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::error::check;
use super::{Client, ClientError, Target};

/// How long the cluster may take for a change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// `ConfigResource.Type.TOPIC`.
const TOPIC_RESOURCE: i8 = 2;

/// A topic to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// `None` is the cluster's default (`num.partitions`).
    pub partitions: Option<i32>,
    /// `None` is the cluster's default (`default.replication.factor`).
    pub replication_factor: Option<i16>,
    /// By Kafka's names.
    pub configs: BTreeMap<String, String>,
}

/// A topic that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// How many partitions it got, when the broker says.
    pub partitions: Option<i32>,
    /// Which replication factor it got, when the broker says.
    pub replication_factor: Option<i16>,
}

/// A change of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// To this value.
    Set(String, String),
    /// Back to the default.
    Delete(String),
}

/// One configuration of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// `None` when it is hidden.
    pub value: Option<String>,
    /// Set on the topic itself.
    pub is_set_on_topic: bool,
}

impl Client {
    /// Makes a topic.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's reason.
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<CreatedTopic, ClientError> {
        let configs = topic.configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let entry = CreatableTopic::default()
            .with_name(TopicName(text(&topic.name)))
            .with_num_partitions(topic.partitions.unwrap_or(-1))
            .with_replication_factor(topic.replication_factor.unwrap_or(-1))
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![entry])
            .with_timeout_ms(CHANGE_TIMEOUT.as_millis() as i32);
        let response = self
            .request(Target::Controller, ApiKey::CreateTopics, i16::MAX, &request)
            .await?;
        let what = || format!("creating topic {}", topic.name);
        let created = response.topics.first().ok_or_else(|| no_answer(&what()))?;
        check(created.error_code, created.error_message.as_deref(), what)?;
        Ok(CreatedTopic {
            partitions: (created.num_partitions > 0).then_some(created.num_partitions),
            replication_factor: (created.replication_factor > 0)
                .then_some(created.replication_factor),
        })
    }

    /// Deletes a topic and its data.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's reason.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(text(name))])
            .with_timeout_ms(CHANGE_TIMEOUT.as_millis() as i32);
        // From 6 on, topics are named in another field.
        let response = self
            .request(Target::Controller, ApiKey::DeleteTopics, 5, &request)
            .await?;
        let what = || format!("deleting topic {name}");
        let deleted = response
            .responses
            .first()
            .ok_or_else(|| no_answer(&what()))?;
        check(deleted.error_code, deleted.error_message.as_deref(), what)
    }

    /// Raises the number of partitions to `count`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's reason.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<(), ClientError> {
        let topic = CreatePartitionsTopic::default()
            .with_name(TopicName(text(name)))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(CHANGE_TIMEOUT.as_millis() as i32);
        let response = self
            .request(
                Target::Controller,
                ApiKey::CreatePartitions,
                i16::MAX,
                &request,
            )
            .await?;
        let what = || format!("raising the partitions of topic {name} to {count}");
        let result = response.results.first().ok_or_else(|| no_answer(&what()))?;
        check(result.error_code, result.error_message.as_deref(), what)
    }

    /// Changes configurations of a topic, all or none.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's reason.
    pub async fn alter_topic_configs(
        &self,
        name: &str,
        changes: &[ConfigChange],
    ) -> Result<(), ClientError> {
        let configs = changes.iter().map(|change| match change {
            ConfigChange::Set(key, value) => AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(0)
                .with_value(Some(text(value))),
            ConfigChange::Delete(key) => AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(1)
                .with_value(None),
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(text(name))
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let api = ApiKey::IncrementalAlterConfigs;
        let response = self
            .request(Target::Controller, api, i16::MAX, &request)
            .await?;
        let what = || format!("changing the configuration of topic {name}");
        let result = response
            .responses
            .first()
            .ok_or_else(|| no_answer(&what()))?;
        check(result.error_code, result.error_message.as_deref(), what)
    }

    /// All configurations of a topic.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's reason.
    pub async fn topic_configs(&self, name: &str) -> Result<Vec<ConfigEntry>, ClientError> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(text(name))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let response = self
            .request(Target::Any, ApiKey::DescribeConfigs, i16::MAX, &request)
            .await?;
        let what = || format!("reading the configuration of topic {name}");
        let result = response.results.first().ok_or_else(|| no_answer(&what()))?;
        check(result.error_code, result.error_message.as_deref(), what)?;
        // `DescribeConfigsResponse.ConfigSource.DYNAMIC_TOPIC_CONFIG`.
        const SET_ON_TOPIC: i8 = 1;
        let entries = result.configs.iter().map(|config| ConfigEntry {
            name: config.name.to_string(),
            value: config.value.as_ref().map(ToString::to_string),
            is_set_on_topic: config.config_source == SET_ON_TOPIC,
        });
        Ok(entries.collect())
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn no_answer(what: &str) -> ClientError {
    ClientError::Invalid(format!("{what}: the broker's answer does not mention it"))
}
