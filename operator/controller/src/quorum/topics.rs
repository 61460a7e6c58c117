//! Making and deleting topics, and bringing back what was deleted.

use foz_api::v1::create_topics_request::NewTopic;
use foz_api::v1::create_topics_response::Result as CreateResult;
use foz_api::v1::delete_topics_response::Result as DeleteResult;
use foz_api::v1::list_deleted_topics_response::DeletedTopic;
use foz_api::v1::{
    CreateTopicsRequest, DeleteTopicsRequest, ListDeletedTopicsRequest, RestoreTopicRequest,
    RestoreTopicResponse, TopicRef,
};

use crate::quorum::{Quorum, QuorumError};

/// What came of a deletion.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deletion {
    /// For the topic.
    pub result: DeleteResult,
    /// Living brokers that have not applied it yet.
    pub behind: Vec<i32>,
}

impl Quorum {
    /// Makes a topic, with others that are to be made now.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`].
    pub async fn create_topic(&self, topic: NewTopic) -> Result<CreateResult, QuorumError> {
        let create = |topics: Vec<NewTopic>| async move {
            let answer = self.change(|mut client, operator_epoch| {
                let request = CreateTopicsRequest {
                    topics: topics.clone(),
                    validate_only: false,
                    operator_epoch,
                };
                async move { client.create_topics(request).await }
            });
            Ok(answer.await?.into_inner().results)
        };
        self.creations.call(topic, create).await
    }

    /// Deletes a topic, with others that are to be deleted now.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`].
    pub async fn delete_topic(&self, topic: TopicRef) -> Result<Deletion, QuorumError> {
        let delete = |topics: Vec<TopicRef>| async move {
            let answer = self.change(|mut client, operator_epoch| {
                let request = DeleteTopicsRequest {
                    topics: topics.clone(),
                    operator_epoch,
                };
                async move { client.delete_topics(request).await }
            });
            let answer = answer.await?.into_inner();
            let behind = answer.behind;
            let results = answer.results.into_iter().map(|result| Deletion {
                result,
                behind: behind.clone(),
            });
            Ok(results.collect())
        };
        self.deletions.call(topic, delete).await
    }

    /// The deleted topics of a name, what was deleted last first; asked together with other names.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`].
    pub async fn deleted_topics(&self, name: &str) -> Result<Vec<DeletedTopic>, QuorumError> {
        let list = |names: Vec<String>| async move {
            let answer = self.read(|mut client| {
                let request = ListDeletedTopicsRequest {
                    names: names.clone(),
                };
                async move { client.list_deleted_topics(request).await }
            });
            let topics = answer.await?.into_inner().topics;
            let of = |name: &String| {
                topics
                    .iter()
                    .filter(|it| it.name == *name)
                    .cloned()
                    .collect()
            };
            Ok(names.iter().map(of).collect())
        };
        self.lookups.call(name.to_owned(), list).await
    }

    /// Brings back the deleted topic of this id.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`].
    pub async fn restore_topic(&self, id: &[u8]) -> Result<RestoreTopicResponse, QuorumError> {
        let topic = TopicRef {
            id: id.to_vec(),
            ..TopicRef::default()
        };
        let answer = self.change(|mut client, operator_epoch| {
            let request = RestoreTopicRequest {
                topic: Some(topic.clone()),
                new_name: String::new(),
                operator_epoch,
            };
            async move { client.restore_topic(request).await }
        });
        Ok(answer.await?.into_inner())
    }
}
