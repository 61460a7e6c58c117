//! One look at partitions that a fetch asks for.

use std::sync::Arc;

use bytes::Bytes;
use foz_metadata::Image;
use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{FetchPartition, FetchPartitionResponse, IsolationLevel};
use foz_protocol::topic::TopicRef;
use foz_replication::ReplicaSelector;

use super::Asker;
use crate::authorizer::{Operation, Resource};
use crate::handlers::topic_view;
use crate::partition::{
    ConsumerRead, FetchWaiter, FollowerAnswer, FollowerRead, Partition, Read, ReadError,
    monotonic_ms,
};
use crate::request::RequestContext;

/// The version from which consumers may read from followers (KIP-392); others take a follower for a leader.
const FOLLOWER_FETCHING_FROM: i16 = 11;
/// The only class of `replica.selector.class` that there is, in whatever package: Kafka's, or a port of it.
const RACK_AWARE: &str = "RackAwareReplicaSelector";

pub(super) struct Pass<'a> {
    pub(super) context: &'a RequestContext,
    pub(super) image: &'a Image,
    pub(super) asker: Asker,
    pub(super) isolation_level: IsolationLevel,
    /// The consumer's; empty for none.
    pub(super) rack: &'a str,
    /// See [`Begun::after_ms`](foz_replication::Begun::after_ms).
    pub(super) after_ms: Option<i64>,
    pub(super) waiter: &'a Arc<FetchWaiter>,
    /// They are looked at for the first time.
    pub(super) is_new: bool,
    pub(super) room: usize,
    /// For partitions in which a follower catches up.
    pub(super) catch_up_room: usize,
    /// Of records that were read.
    pub(super) bytes: usize,
    /// Of these, where a follower catches up.
    pub(super) catch_up_bytes: usize,
    /// Something that the asker should hear of at once: an error, a leader to go to, records that are
    /// committed by now.
    pub(super) has_news: bool,
}

impl Pass<'_> {
    /// What there is for the partition with this number; and where a follower catches up, how many records it lacks.
    pub(super) fn partition(
        &mut self,
        number: usize,
        (topic, wanted): &(TopicRef, FetchPartition),
    ) -> (FetchPartitionResponse, Option<i64>) {
        let partition = match self.find(topic, wanted.partition) {
            Ok(partition) => partition,
            Err(error) => return (self.failed(wanted.partition, error), None),
        };
        partition.moved.register_fetch(self.waiter, number);
        let bytes_max = usize::try_from(wanted.partition_max_bytes)
            .unwrap_or(0)
            .min(self.room);
        // A batch larger than every limit must get through, or the reader is stuck (KIP-74).
        // Where others always come first, that holds for the first one that catches up too.
        let at_least_one = self.bytes == 0 || (self.catch_up_room > 0 && self.catch_up_bytes == 0);
        let read = match self.asker {
            Asker::Follower {
                node_id,
                broker_epoch,
            } => {
                partition.grown.register_fetch(self.waiter, number);
                let wanted = FollowerRead {
                    node_id,
                    broker_epoch,
                    offset: wanted.fetch_offset,
                    leader_epoch: wanted.current_leader_epoch,
                    last_fetched_epoch: wanted.last_fetched_epoch,
                    log_start_offset: wanted.log_start_offset,
                    bytes_max,
                    catch_up_bytes_max: self.catch_up_room,
                    at_least_one,
                    is_new: self.is_new,
                    after_ms: self.after_ms,
                };
                partition.read_for_follower(&wanted, self.image, monotonic_ms())
            }
            Asker::Consumer | Asker::Pretender => {
                let reader = ConsumerRead {
                    offset: wanted.fetch_offset,
                    leader_epoch: wanted.current_leader_epoch,
                    last_fetched_epoch: wanted.last_fetched_epoch,
                    bytes_max,
                    at_least_one,
                    isolation_level: self.isolation_level,
                    rack: self.rack,
                    selector: self.selector(),
                    may_read_from_follower: self.context.version >= FOLLOWER_FETCHING_FROM,
                };
                partition.read(&reader, self.image).map(to_consumer)
            }
        };
        match read {
            Ok(FollowerAnswer {
                read,
                is_urgent,
                lacks,
            }) => {
                let bytes: usize = read.records.iter().map(Bytes::len).sum();
                self.bytes += bytes;
                self.room = self.room.saturating_sub(bytes);
                if lacks.is_some() {
                    self.catch_up_bytes += bytes;
                    self.catch_up_room = self.catch_up_room.saturating_sub(bytes);
                }
                // KIP-1166: nothing else would tell the follower of an idle partition. One that lacks records
                // hears of it with them.
                let is_committed = lacks.is_none() && read.high_watermark > wanted.high_watermark;
                self.has_news |= read.diverging_epoch.is_some()
                    || read.preferred_read_replica.is_some()
                    || is_committed
                    || is_urgent;
                let response = FetchPartitionResponse {
                    diverging_epoch: read.diverging_epoch,
                    last_stable_offset: read.last_stable_offset,
                    aborted_transactions: read.aborted,
                    preferred_read_replica: read.preferred_read_replica.unwrap_or(-1),
                    ..FetchPartitionResponse::read(
                        wanted.partition,
                        read.high_watermark,
                        read.log_start_offset,
                        read.records,
                    )
                };
                (response, lacks)
            }
            Err(ReadError {
                error,
                high_watermark,
                log_start_offset,
            }) => {
                let response = FetchPartitionResponse {
                    high_watermark,
                    log_start_offset,
                    ..self.failed(wanted.partition, error)
                };
                (response, None)
            }
        }
    }

    fn find(&self, topic: &TopicRef, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        if matches!(self.asker, Asker::Pretender) {
            // As from Kafka without the right to CLUSTER_ACTION, whether there is such a topic or not.
            return Err(ErrorCode::TopicAuthorizationFailed);
        }
        let known = topic_view::find(self.image, topic)?;
        let is_consumer = matches!(self.asker, Asker::Consumer);
        if is_consumer
            && !self
                .context
                .allows(Operation::Read, &Resource::Topic(&known.name))
        {
            return Err(ErrorCode::TopicAuthorizationFailed);
        }
        self.context.broker.partitions.find(&known, index)
    }

    fn selector(&self) -> ReplicaSelector {
        if self.rack.is_empty() {
            return ReplicaSelector::Leader;
        }
        let class = self.context.broker.config("replica.selector.class");
        let class = class.as_ref().and_then(|it| it.value.as_deref());
        if class.is_some_and(|class| class.ends_with(RACK_AWARE)) {
            ReplicaSelector::RackAware
        } else {
            ReplicaSelector::Leader
        }
    }

    fn failed(&mut self, partition: i32, error: ErrorCode) -> FetchPartitionResponse {
        self.has_news = true;
        FetchPartitionResponse::failed(partition, error)
    }
}

/// A consumer is told of neither.
fn to_consumer(read: Read) -> FollowerAnswer {
    FollowerAnswer {
        read,
        is_urgent: false,
        lacks: None,
    }
}
