//! Markers on their way to the leaders of partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use foz_metadata::Image;
use foz_metadata::image::NO_LEADER;
use foz_records::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use foz_records::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use foz_transactions::{MarkerOutcome, MarkerToken, SendMarkers, TopicPartition};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;
use tokio::sync::mpsc;

use crate::broker::Broker;
use crate::node_queues::{Asked, BYTES_TOGETHER_MAX, NodeQueues};
use crate::replication::NodeConnection;

/// What nodes speak with each other. A newer one only after a feature level says that all can.
const VERSION: i16 = 2;
/// Leaders answer by then, whether the markers are on all replicas in sync or not.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Of an end, or of a partition, besides the name of its topic.
const LEAST_BYTES: usize = 40;

/// What became of markers, for the coordinator that sent them.
pub(super) type Reported = (MarkerToken, Vec<(TopicPartition, MarkerOutcome)>);
pub(super) type Outcomes = mpsc::UnboundedSender<Reported>;

/// Markers on their way. Of each partition that takes part in a transaction there is one at most, and the coordinator has
/// the transaction in memory anyway.
pub(super) type MarkerQueues = NodeQueues<Sending>;

/// Markers of one transaction for partitions that one broker leads. They are dropped when their coordinator has resigned.
#[derive(Debug)]
pub(super) struct Sending {
    markers: SendMarkers,
    outcomes: Outcomes,
}

/// Has the leaders write the markers; what becomes of them is told to `outcomes`, but for those that nobody can write
/// now, which are returned.
pub(super) fn send(
    broker: &Arc<Broker>,
    image: &Image,
    markers: &SendMarkers,
    outcomes: &Outcomes,
) -> Vec<(TopicPartition, MarkerOutcome)> {
    let (by_leader, not_sent) = by_leader(image, &markers.partitions);
    for (leader, partitions) in by_leader {
        for partitions in parts(partitions) {
            let sending = Sending {
                markers: SendMarkers {
                    partitions,
                    ..markers.clone()
                },
                outcomes: outcomes.clone(),
            };
            broker.transactions.markers.ask(broker, leader, sending);
        }
    }
    not_sent
}

impl Asked for Sending {
    type Answer = Errors;

    const PURPOSE: &'static str = "markers";
    /// Before `transaction.version` 2 it could end the next transaction.
    const MAY_COME_TWICE: bool = false;

    fn bytes(&self) -> usize {
        let partitions = self.markers.partitions.iter();
        LEAST_BYTES + partitions.map(bytes_of).sum::<usize>()
    }

    fn is_given_up(&self) -> bool {
        self.outcomes.is_closed()
    }

    /// Answers name the producer. A former coordinator may have sent the same end.
    fn alone(&self) -> StrBytes {
        StrBytes::from_string(self.markers.producer_id.to_string())
    }

    async fn ask(connection: &mut NodeConnection, together: &[Self]) -> io::Result<Errors> {
        let request = request_of(together);
        let answer = connection.call_record(ApiKey::WriteTxnMarkers, VERSION, &request, WAIT_MAX);
        Ok(errors_of(answer.await?))
    }

    /// The coordinator sends again what failed, by then perhaps to another leader.
    fn tell(self, answer: Option<&Errors>) {
        let outcomes = outcomes_of(&self.markers, answer);
        // A coordinator that has resigned does not mind.
        let _ = self.outcomes.send((self.markers.token, outcomes));
    }
}

/// At most: a request names each topic once.
fn bytes_of(partition: &TopicPartition) -> usize {
    LEAST_BYTES + partition.topic.len()
}

/// What one request takes.
fn parts(partitions: BTreeSet<TopicPartition>) -> Vec<BTreeSet<TopicPartition>> {
    let mut parts = Vec::new();
    let mut part = BTreeSet::new();
    let mut bytes = LEAST_BYTES;
    for partition in partitions {
        let more = bytes_of(&partition);
        if bytes + more > BYTES_TOGETHER_MAX {
            parts.push(std::mem::take(&mut part));
            bytes = LEAST_BYTES;
        }
        bytes += more;
        part.insert(partition);
    }
    parts.push(part);
    parts
}

type ByLeader = BTreeMap<i32, BTreeSet<TopicPartition>>;

/// Which broker is to write which markers, and what is to be said of the others.
fn by_leader(
    image: &Image,
    partitions: &BTreeSet<TopicPartition>,
) -> (ByLeader, Vec<(TopicPartition, MarkerOutcome)>) {
    let mut by_leader = ByLeader::new();
    let mut not_sent = Vec::new();
    for partition in partitions {
        let leader = image
            .partition(&partition.topic, partition.partition)
            .map(|found| found.leader);
        match leader {
            None => not_sent.push((partition.clone(), MarkerOutcome::PartitionGone)),
            Some(NO_LEADER) => {
                let outcome = MarkerOutcome::Failed(ResponseError::LeaderNotAvailable);
                not_sent.push((partition.clone(), outcome));
            }
            Some(leader) => {
                by_leader
                    .entry(leader)
                    .or_default()
                    .insert(partition.clone());
            }
        }
    }
    (by_leader, not_sent)
}

fn request_of(sendings: &[Sending]) -> WriteTxnMarkersRequest {
    let markers = sendings.iter().map(|Sending { markers, .. }| {
        let mut topics: Vec<WritableTxnMarkerTopic> = Vec::new();
        // They come sorted by topic.
        for TopicPartition { topic, partition } in &markers.partitions {
            match topics.last_mut().filter(|last| last.name == *topic) {
                Some(last) => last.partition_indexes.push(*partition),
                None => topics.push(WritableTxnMarkerTopic {
                    name: Arc::clone(topic),
                    partition_indexes: vec![*partition],
                }),
            }
        }
        WritableTxnMarker {
            producer_id: markers.producer_id,
            producer_epoch: markers.producer_epoch,
            transaction_result: markers.commit,
            topics,
            coordinator_epoch: markers.coordinator_epoch,
            transaction_version: markers.transaction_version as i8,
        }
    });
    WriteTxnMarkersRequest {
        markers: markers.collect(),
    }
}

/// By producer id, topic and partition. No two ends of a request have a producer and a partition in common.
type Errors = HashMap<(i64, Arc<str>, i32), i16>;

fn errors_of(response: WriteTxnMarkersResponse) -> Errors {
    let mut errors = Errors::new();
    for marker in response.markers {
        for topic in marker.topics {
            for partition in topic.partitions {
                let name = Arc::clone(&topic.name);
                let key = (marker.producer_id, name, partition.partition_index);
                errors.insert(key, partition.error_code);
            }
        }
    }
    errors
}

/// Without an answer nobody knows whether a leader has written them.
fn outcomes_of(
    markers: &SendMarkers,
    errors: Option<&Errors>,
) -> Vec<(TopicPartition, MarkerOutcome)> {
    let outcome = |partition: &TopicPartition| {
        let Some(errors) = errors else {
            return MarkerOutcome::Failed(ResponseError::NotLeaderOrFollower);
        };
        let topic = Arc::clone(&partition.topic);
        match errors.get(&(markers.producer_id, topic, partition.partition)) {
            Some(code) => match ResponseError::try_from_code(*code) {
                None => MarkerOutcome::Written,
                Some(error) => MarkerOutcome::Failed(error),
            },
            None => MarkerOutcome::Failed(ResponseError::UnknownServerError),
        }
    };
    let partitions = markers.partitions.iter();
    partitions
        .map(|partition| (partition.clone(), outcome(partition)))
        .collect()
}

#[cfg(test)]
mod tests {
    use foz_records::Message;
    use foz_records::write_txn_markers_response::{
        WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    };

    use super::*;

    fn partition(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }

    fn sending(producer_id: i64, partitions: &[(&str, i32)]) -> Sending {
        let partitions = partitions.iter().map(|(topic, it)| partition(topic, *it));
        Sending {
            markers: SendMarkers {
                token: MarkerToken {
                    coordinator_epoch: 3,
                    end: 1,
                    send: 1,
                },
                transactional_id: "id".into(),
                producer_id,
                producer_epoch: 5,
                coordinator_epoch: 3,
                commit: true,
                transaction_version: 2,
                partitions: partitions.collect(),
            },
            outcomes: mpsc::unbounded_channel().0,
        }
    }

    fn result(producer_id: i64, topic: &str, errors: &[(i32, i16)]) -> WritableTxnMarkerResult {
        let partitions =
            errors.iter().map(
                |(partition_index, error_code)| WritableTxnMarkerPartitionResult {
                    partition_index: *partition_index,
                    error_code: *error_code,
                },
            );
        WritableTxnMarkerResult {
            producer_id,
            topics: vec![WritableTxnMarkerTopicResult {
                name: topic.into(),
                partitions: partitions.collect(),
            }],
        }
    }

    #[test]
    fn a_request_names_each_topic_of_an_end_once() {
        let sendings = [
            sending(7, &[("b", 1), ("a", 2), ("a", 0)]),
            sending(8, &[("a", 0)]),
        ];
        let request = request_of(&sendings);
        let topics = |at: usize| -> Vec<(&str, &[i32])> {
            let topics = request.markers[at].topics.iter();
            topics
                .map(|it| (&*it.name, &*it.partition_indexes))
                .collect()
        };
        assert_eq!(topics(0), [("a", &[0, 2][..]), ("b", &[1])]);
        assert_eq!(topics(1), [("a", &[0][..])]);
        let marker = &request.markers[0];
        assert_eq!((marker.producer_id, marker.producer_epoch), (7, 5));
        assert_eq!(
            (marker.coordinator_epoch, marker.transaction_version),
            (3, 2)
        );
        assert!(marker.transaction_result);
    }

    #[test]
    fn a_large_end_goes_in_parts() {
        let partitions = |count: i32| -> BTreeSet<TopicPartition> {
            (0..count).map(|index| partition("a", index)).collect()
        };
        let most = (BYTES_TOGETHER_MAX - LEAST_BYTES) / bytes_of(&partition("a", 0));
        for (count, expected) in [
            (1, vec![1]),
            (most, vec![most]),
            (2 * most + 1, vec![most, most, 1]),
        ] {
            let all = partitions(count as i32);
            let parts = parts(all.clone());
            let lengths: Vec<usize> = parts.iter().map(BTreeSet::len).collect();
            assert_eq!(lengths, expected);
            let together: BTreeSet<TopicPartition> = parts.into_iter().flatten().collect();
            assert_eq!(together, all);
        }
    }

    /// Names may have 249 bytes.
    #[test]
    fn a_request_stays_within_its_bound() {
        let name = |number: usize| format!("{number:0>249}");
        let names: Vec<String> = (0..5_000).map(name).collect();
        let partitions: Vec<(&str, i32)> = names.iter().map(|name| (name.as_str(), 0)).collect();
        let whole = sending(7, &partitions);
        assert!(whole.bytes() > BYTES_TOGETHER_MAX);
        let parts = parts(whole.markers.partitions);
        assert!(parts.len() > 5);
        for partitions in parts {
            let mut part = sending(7, &[]);
            part.markers.partitions = partitions;
            let body = request_of(&[part]).encode(VERSION).unwrap();
            assert!(body.len() <= BYTES_TOGETHER_MAX, "{}", body.len());
        }
    }

    /// Two sends of one end may go together, with different partitions; another producer may have the same ones.
    #[test]
    fn every_partition_hears_its_own_outcome() {
        let response = WriteTxnMarkersResponse {
            markers: vec![
                result(7, "a", &[(0, 0), (1, 6)]),
                result(8, "a", &[(0, 52), (1, 0)]),
                result(7, "b", &[(0, 9999)]),
            ],
        };
        let errors = errors_of(response);
        let of = |producer_id, partitions: &[(&str, i32)]| {
            let sending = sending(producer_id, partitions);
            let outcomes = outcomes_of(&sending.markers, Some(&errors)).into_iter();
            outcomes.map(|(_, outcome)| outcome).collect::<Vec<_>>()
        };
        let failed = MarkerOutcome::Failed;
        assert_eq!(
            of(7, &[("a", 0), ("a", 1), ("b", 0), ("b", 1)]),
            [
                MarkerOutcome::Written,
                failed(ResponseError::NotLeaderOrFollower),
                failed(ResponseError::Unknown(9999)),
                failed(ResponseError::UnknownServerError),
            ]
        );
        let fenced = failed(ResponseError::TransactionCoordinatorFenced);
        assert_eq!(of(8, &[("a", 0)]), [fenced]);
        assert_eq!(of(8, &[("a", 1)]), [MarkerOutcome::Written]);
        let unanswered = outcomes_of(&sending(7, &[("a", 0)]).markers, None);
        let outcome = failed(ResponseError::NotLeaderOrFollower);
        assert_eq!(unanswered, [(partition("a", 0), outcome)]);
    }
}
