//! Topics go by name or by id, with what is set on them.

use std::collections::BTreeMap;

use foz_metadata::image::Image;
use foz_metadata::rules::{DeleteTopics, ErrorCode, NewTopic, TopicRef, delete_topics};
use uuid::Uuid;

use crate::support::{alter_broker_default, cluster, commit, create, new_topic};

#[test]
fn topics_are_deleted_by_name_and_by_id_with_their_configs() {
    let mut image = cluster(1);
    for name in ["a", "b"] {
        let config = BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]);
        create(
            &mut image,
            NewTopic {
                config,
                ..new_topic(name)
            },
        );
    }
    let id_of_b = image.topic("b").unwrap().id;
    let by_name = |name: &str| TopicRef {
        name: name.to_owned(),
        id: None,
    };
    let by_id = |name: &str, id| TopicRef {
        name: name.to_owned(),
        id: Some(id),
    };
    let codes = |image: &Image, topics: Vec<TopicRef>| {
        let request = DeleteTopics {
            topics,
            now_ms: 1,
            operator_epoch: 0,
        };
        let decision = delete_topics(image, &BTreeMap::new(), &request).unwrap();
        decision
            .answer
            .into_iter()
            .map(|result| result.map_err(|refusal| refusal.code).map(|_| ()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        codes(
            &image,
            vec![
                by_name("x"),
                by_id("", Uuid::from_u128(9)),
                by_id("a", id_of_b)
            ]
        ),
        [
            Err(ErrorCode::UnknownTopicOrPartition),
            Err(ErrorCode::UnknownTopicId),
            Err(ErrorCode::UnknownTopicId)
        ]
    );
    assert_eq!(
        codes(&image, vec![by_name("b"), by_id("b", id_of_b)]),
        [Err(ErrorCode::InvalidRequest); 2]
    );
    let request = DeleteTopics {
        topics: vec![by_name("a"), by_id("", id_of_b)],
        now_ms: 1,
        operator_epoch: 0,
    };
    let decision = delete_topics(&image, &BTreeMap::new(), &request).unwrap();
    commit(&mut image, decision);
    assert_eq!((image.topic_count(), image.configured().count()), (0, 0));
    alter_broker_default(&mut image, "delete.topic.enable", "false");
    let again = NewTopic {
        id: Uuid::from_u128(77),
        ..new_topic("a")
    };
    create(&mut image, again);
    assert_eq!(
        codes(&image, vec![by_name("a")]),
        [Err(ErrorCode::TopicDeletionDisabled)]
    );
}
