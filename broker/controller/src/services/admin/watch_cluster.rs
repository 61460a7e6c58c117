//! What is, then what changes.
//!
//! The watcher pulls: it compares the newest image with the one it told of last. A slow watcher misses
//! steps in between, never the end, and costs no buffer but the image it holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use foz_api::v1::ClusterEvent;
use foz_api::v1::cluster_event::{Event, Features, Synced, TopicDeleted, Voters};
use foz_metadata::image::Resource;
use foz_metadata::{Changes, Image};
use foz_quorum::{MemberStatus, QuorumStatus};
use tokio::sync::mpsc;
use tokio::sync::watch::Receiver;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::convert;
use crate::metadata::Metadata;
use crate::services::calls::{AnswerStream, Calls};

/// Events that wait for the connection.
const EVENTS_MAX: usize = 64;

type Sender = mpsc::Sender<Result<ClusterEvent, Status>>;

pub(super) async fn watch_cluster(
    calls: &Arc<Calls>,
) -> Result<AnswerStream<ClusterEvent>, Status> {
    calls.check_active().await?;
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let calls = calls.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = watch(&calls, &sender) => {}
            () = sender.closed() => {}
            status = calls.until_not_active() => {
                // An error: the watcher has gone.
                let _ = sender.send(Err(status)).await;
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(events)))
}

/// Ends when the watcher has gone.
async fn watch(calls: &Calls, sender: &Sender) {
    let mut offset = calls.shared.metadata.offset();
    offset.mark_unchanged();
    let Some(mut told) = founded(&calls.shared.metadata, &mut offset).await else {
        return;
    };
    let mut status = calls.shared.quorum.status();
    let mut told_voters = voters(&status.borrow_and_update());
    let mut events = everything(&told, &told_voters);
    loop {
        for event in events {
            if sender
                .send(Ok(ClusterEvent { event: Some(event) }))
                .await
                .is_err()
            {
                return;
            }
        }
        tokio::select! {
            changed = offset.changed() => {
                if changed.is_err() {
                    return;
                }
                let newest = calls.shared.metadata.image();
                events = differences(&told, &newest);
                told = newest;
            }
            voters = other_voters(&mut status, &told_voters) => {
                told_voters.clone_from(&voters);
                events = vec![Event::VotersChanged(voters)];
            }
        }
    }
}

/// The first image that has the cluster's id, which is told only once: an operator asks already while the first active
/// controller founds the cluster. `None`: this controller ends.
async fn founded(metadata: &Metadata, offset: &mut Receiver<i64>) -> Option<Arc<Image>> {
    loop {
        let image = metadata.image();
        if !image.cluster_id().is_empty() {
            return Some(image);
        }
        offset.changed().await.ok()?;
    }
}

/// Returns when they are others than these. The quorum's status changes with each of its entries.
async fn other_voters(status: &mut Receiver<QuorumStatus>, told: &Voters) -> Voters {
    let changed = status.wait_for(|status| voters(status) != *told).await;
    let voters = changed.ok().map(|status| voters(&status));
    match voters {
        Some(voters) => voters,
        // The quorum has stopped; the stream ends with it.
        None => std::future::pending().await,
    }
}

fn voters(status: &QuorumStatus) -> Voters {
    let (voters, learners): (Vec<&MemberStatus>, Vec<&MemberStatus>) =
        status.members.iter().partition(|member| member.is_voter);
    let node_ids = |members: Vec<&MemberStatus>| {
        let node_ids: BTreeSet<i32> = members.iter().map(|it| it.member.node_id).collect();
        node_ids.into_iter().collect()
    };
    Voters {
        voters: node_ids(voters),
        learners: node_ids(learners),
        removed: status.retired.clone(),
    }
}

fn everything(image: &Image, voters: &Voters) -> Vec<Event> {
    let mut events = differences(&Image::default(), image);
    events.push(Event::VotersChanged(voters.clone()));
    events.push(Event::Synced(Synced {
        metadata_offset: image.offset(),
        cluster_id: image.cluster_id().to_owned(),
    }));
    events
}

fn differences(before: &Image, after: &Image) -> Vec<Event> {
    let changes = Changes::between(before, after);
    let mut events = Vec::new();
    for (id, topic) in changes.topics_deleted {
        let (name, id) = (topic.name.to_string(), id.as_bytes().to_vec());
        events.push(Event::TopicDeleted(TopicDeleted { name, id }));
    }
    let mut topics = changes.topics_created;
    topics.extend(changes.partitions_changed.iter().map(|(id, _)| *id));
    for resource in &changes.configs_changed {
        if let Resource::Topic(name) = resource {
            topics.extend(after.topic(name).map(|topic| topic.id));
        }
    }
    for topic in topics.into_iter().filter_map(|id| after.topic_by_id(id)) {
        events.push(Event::TopicChanged(convert::topic(after, topic)));
    }
    for resource in changes.configs_changed {
        events.push(Event::ConfigsChanged(convert::configs_changed(
            after, &resource,
        )));
    }
    // After the topics: who hears that a broker is cordoned has heard of all replicas that it got before.
    for node_id in changes.brokers_changed {
        if let Some(broker) = after.broker(node_id) {
            events.push(Event::BrokerChanged(convert::broker(after, broker)));
        }
    }
    events.extend(
        changes
            .brokers_removed
            .into_iter()
            .map(Event::BrokerRemoved),
    );
    let granted = changes.grants_changed.into_iter();
    let granted = granted.filter_map(|node_id| after.grant(node_id));
    events.extend(granted.map(|grant| Event::GrantChanged(convert::grant(grant))));
    events.extend(changes.grants_ended.into_iter().map(Event::GrantEnded));
    if !before.features().eq(after.features()) {
        let finalized = after.features();
        let finalized = finalized.map(|(name, level)| (name.to_owned(), level));
        events.push(Event::FeaturesChanged(Features {
            finalized: finalized.collect(),
        }));
    }
    let rebalance = after.rebalance().filter(|_| changes.rebalance_changed);
    events.extend(rebalance.map(|it| Event::RebalanceChanged(convert::rebalance(it))));
    events
}

#[cfg(test)]
mod tests {
    use foz_metadata::record::{
        Batch, ClusterRecord, CordonRecord, Fact, PartitionRecord, RegisterBrokerRecord,
        TopicRecord,
    };
    use foz_quorum::StateMachine;
    use futures::FutureExt;

    use super::*;
    use crate::metadata::MetadataState;

    #[test]
    fn nothing_is_told_before_the_cluster_has_an_id() {
        let metadata = Metadata::new();
        let mut offset = metadata.offset();
        assert!(founded(&metadata, &mut offset).now_or_never().is_none());
        let commit = |follows, records| {
            let batch = Batch {
                follows,
                term: 1,
                records,
            };
            assert!(MetadataState(metadata.clone()).apply(1, 1, &batch.encode_to_bytes()));
        };
        commit(0, Vec::new());
        assert!(founded(&metadata, &mut offset).now_or_never().is_none());
        let cluster_id = "MkU3OEVBNTcwNTJENDM2Qg".to_owned();
        commit(1, vec![Fact::Cluster(ClusterRecord { cluster_id }).into()]);
        let image = founded(&metadata, &mut offset).now_or_never().unwrap();
        assert_eq!(image.unwrap().cluster_id(), "MkU3OEVBNTcwNTJENDM2Qg");
    }

    /// A watcher that takes a broker away once it is cordoned and holds nothing must not see the cordon first.
    #[test]
    fn replicas_are_told_before_the_cordon_of_their_broker() {
        let id = |byte: u8| vec![byte; 16].into();
        let register = RegisterBrokerRecord {
            node_id: 3,
            epoch: 1,
            incarnation: id(1),
            host: "localhost".to_owned(),
            port: 9092,
            ..RegisterBrokerRecord::default()
        };
        let batch = |follows, facts: Vec<Fact>| Batch {
            follows,
            term: 1,
            records: facts.into_iter().map(Into::into).collect(),
        };
        let before = Image::default();
        let before = before.apply(&batch(0, vec![Fact::RegisterBroker(register)]));
        let before = before.unwrap();
        let topic = TopicRecord {
            id: id(7),
            name: "orders".to_owned(),
            internal: false,
            restored_partitions: 0,
        };
        let partition = PartitionRecord {
            topic_id: id(7),
            replicas: vec![3],
            isr: vec![3],
            leader: 3,
            ..PartitionRecord::default()
        };
        let cordon = CordonRecord {
            node_id: 3,
            cordoned: true,
        };
        let facts = vec![
            Fact::Topic(topic),
            Fact::Partition(partition),
            Fact::Cordon(cordon),
        ];
        let after = before.apply(&batch(before.offset(), facts)).unwrap();
        let told = differences(&before, &after);
        let is_topic = |event: &Event| matches!(event, Event::TopicChanged(_));
        let is_cordon =
            |event: &Event| matches!(event, Event::BrokerChanged(broker) if broker.cordoned);
        let topic = told.iter().position(is_topic).unwrap();
        let cordon = told.iter().position(is_cordon).unwrap();
        assert!(topic < cordon, "{told:?}");
    }
}
