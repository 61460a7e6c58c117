//! Transactions: their coordinator, the partitions and the offsets that take part, their markers, and what readers see.

mod lives;
mod markers;
mod offsets;
mod readers;
mod refusals;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, BrokerId, CreateTopicsRequest,
    DescribeTransactionsRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ListOffsetsRequest, ListTransactionsRequest, MetadataRequest, ProduceRequest, ProducerId,
    TransactionalId, TxnOffsetCommitRequest,
};
use uuid::Uuid;

use super::{Asker, TIMEOUT_MS, group, text, topic};

/// Partitions of it take part.
const LEDGER: &str = "ledger";
const LEDGER_PARTITIONS: i32 = 4;
/// Has offsets that are committed in transactions.
const GROUP: &str = "ledgers";
/// None ends by itself while this runs.
const TRANSACTION_TIMEOUT_MS: i32 = 600_000;
/// Of records; any time does, both brokers are told it.
const TIME_MS: i64 = 1_500_000_000_000;
/// From this version on brokers ask for the transactions of several.
const BROKERS_ADD_FROM: i16 = 4;
/// From this version of InitProducerId on a producer may say which epoch it had (KIP-360).
const NAMED_FROM: i16 = 3;
/// From this version of EndTxn, TxnOffsetCommit and AddPartitionsToTxn on each transaction has an epoch (KIP-890).
const EPOCHS_FROM: i16 = 5;
/// The newest versions of clients that know nothing of that.
const ADD_VERSION: i16 = 3;
const END_VERSION: i16 = 4;

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    coordinators(asker)?;
    let ledger = create(asker, LEDGER, LEDGER_PARTITIONS)?;
    refusals::strangers(asker)?;
    lives::ask(asker)?;
    refusals::initialised(asker)?;
    refusals::fenced(asker, ledger)?;
    refusals::partitions(asker)?;
    offsets::ask(asker)?;
    markers::ask(asker)?;
    readers::ask(asker)?;
    described(asker)?;
    listed(asker)
}

/// Who takes part in transactions, under which id and epoch.
#[derive(Debug, Clone)]
struct Producer {
    transactional_id: TransactionalId,
    id: ProducerId,
    epoch: i16,
}

impl Producer {
    /// One that no coordinator needs to know.
    fn named(name: &str, id: i64, epoch: i16) -> Self {
        Self {
            transactional_id: TransactionalId(text(name)),
            id: ProducerId(id),
            epoch,
        }
    }

    /// The first of an id; its answer is not kept.
    fn init(asker: &mut Asker, name: &str) -> Result<Self> {
        let answer = asker.until(5, &initialising(name), |answer| answer.error_code == 0)?;
        Ok(Self::named(
            name,
            answer.producer_id.0,
            answer.producer_epoch,
        ))
    }

    fn adding(&self, version: i16, topics: &[(&str, &[i32])]) -> AddPartitionsToTxnRequest {
        if version < BROKERS_ADD_FROM {
            return AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(self.transactional_id.clone())
                .with_v3_and_below_producer_id(self.id)
                .with_v3_and_below_producer_epoch(self.epoch)
                .with_v3_and_below_topics(named_topics(topics));
        }
        AddPartitionsToTxnRequest::default().with_transactions(vec![self.taking_part(topics)])
    }

    /// As brokers name it.
    fn taking_part(&self, topics: &[(&str, &[i32])]) -> AddPartitionsToTxnTransaction {
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(self.transactional_id.clone())
            .with_producer_id(self.id)
            .with_producer_epoch(self.epoch)
            .with_topics(named_topics(topics))
    }

    /// Does it, and keeps no answer.
    fn add(&self, asker: &mut Asker, topics: &[(&str, &[i32])]) -> Result<()> {
        let request = self.adding(ADD_VERSION, topics);
        asker.until(ADD_VERSION, &request, |answer| {
            let topics = answer.results_by_topic_v3_and_below.iter();
            let mut partitions = topics.flat_map(|topic| &topic.results_by_partition);
            partitions.all(|partition| partition.partition_error_code == 0)
        })?;
        Ok(())
    }

    fn adding_offsets(&self, name: &str) -> AddOffsetsToTxnRequest {
        AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.transactional_id.clone())
            .with_producer_id(self.id)
            .with_producer_epoch(self.epoch)
            .with_group_id(group(name))
    }

    /// Does it, and keeps no answer.
    fn add_offsets(&self, asker: &mut Asker, name: &str) -> Result<()> {
        asker.until(ADD_VERSION, &self.adding_offsets(name), |answer| {
            answer.error_code == 0
        })?;
        Ok(())
    }

    fn committing(
        &self,
        name: &str,
        of_topic: &str,
        partition: i32,
        offset: i64,
    ) -> TxnOffsetCommitRequest {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("note")));
        let of_topic = TxnOffsetCommitRequestTopic::default()
            .with_name(topic(of_topic))
            .with_partitions(vec![partition]);
        TxnOffsetCommitRequest::default()
            .with_transactional_id(self.transactional_id.clone())
            .with_group_id(group(name))
            .with_producer_id(self.id)
            .with_producer_epoch(self.epoch)
            .with_generation_id(-1)
            .with_topics(vec![of_topic])
    }

    fn ending(&self, is_committed: bool) -> EndTxnRequest {
        EndTxnRequest::default()
            .with_transactional_id(self.transactional_id.clone())
            .with_producer_id(self.id)
            .with_producer_epoch(self.epoch)
            .with_committed(is_committed)
    }

    /// Does it, waits until every partition has its marker, and keeps no answer.
    fn end(&mut self, asker: &mut Asker, version: i16, is_committed: bool) -> Result<()> {
        let request = self.ending(is_committed);
        let answer = asker.until(version, &request, |answer| answer.error_code == 0)?;
        if version >= EPOCHS_FROM {
            (self.id, self.epoch) = (answer.producer_id, answer.producer_epoch);
        }
        self.await_end(asker, is_committed)
    }

    fn describing(&self) -> DescribeTransactionsRequest {
        DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![self.transactional_id.clone()])
    }

    /// Until every partition has its marker.
    fn await_end(&self, asker: &mut Asker, is_committed: bool) -> Result<()> {
        let state = match is_committed {
            true => "CompleteCommit",
            false => "CompleteAbort",
        };
        asker.until(0, &self.describing(), |answer| {
            let mut states = answer.transaction_states.iter();
            states.all(|it| it.transaction_state.as_str() == state)
        })?;
        Ok(())
    }

    /// One record, the one with this sequence of this producer and epoch.
    fn batch(&self, sequence: i32, value: &str) -> Result<Bytes> {
        let mut builder = BatchBuilder::new(Compression::None)
            .idempotent(self.id.0, self.epoch, sequence)
            .transactional();
        builder.push(&RecordToWrite {
            timestamp_ms: TIME_MS + i64::from(sequence),
            value: Some(value.as_bytes()),
            ..RecordToWrite::default()
        });
        Ok(Bytes::from(builder.build()?))
    }

    /// By name, so up to version 12.
    fn producing(&self, name: &str, partition: i32, records: Bytes) -> ProduceRequest {
        producing(topic_data(partition, records).with_name(topic(name)))
            .with_transactional_id(Some(self.transactional_id.clone()))
    }
}

fn initialising(name: &str) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(name))))
        .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
}

fn named_topics(topics: &[(&str, &[i32])]) -> Vec<AddPartitionsToTxnTopic> {
    let topics = topics.iter().map(|(name, partitions)| {
        AddPartitionsToTxnTopic::default()
            .with_name(topic(name))
            .with_partitions(partitions.to_vec())
    });
    topics.collect()
}

fn topic_data(partition: i32, records: Bytes) -> TopicProduceData {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    TopicProduceData::default().with_partition_data(vec![data])
}

fn producing(data: TopicProduceData) -> ProduceRequest {
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(TIMEOUT_MS)
        .with_topic_data(vec![data])
}

/// Until each of its partitions has a leader; gives its id.
fn create(asker: &mut Asker, name: &str, partitions: i32) -> Result<Uuid> {
    let new = CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![new])
        .with_timeout_ms(TIMEOUT_MS);
    let answer = asker.until(7, &request, |_| true)?;
    let created = answer.topics.first().context("no topic")?;
    ensure!(
        created.error_code == 0,
        "{name} is not made: {}",
        created.error_code
    );
    let ends = (0..partitions).map(|partition| {
        ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(-1)
    });
    let ends = ListOffsetsTopic::default()
        .with_name(topic(name))
        .with_partitions(ends.collect());
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![ends]);
    asker.until(1, &request, |answer| {
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.all(|partition| partition.error_code == 0)
    })?;
    let named = MetadataRequestTopic::default().with_name(Some(topic(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![named]));
    let metadata = asker.until(12, &request, |_| true)?;
    Ok(metadata.topics.first().context("no topic")?.topic_id)
}

fn coordinators(asker: &mut Asker) -> Result<()> {
    let of = |version: i16, key: &str| {
        let request = FindCoordinatorRequest::default().with_key_type(1);
        if version >= 4 {
            request.with_coordinator_keys(vec![text(key)])
        } else {
            request.with_key(text(key))
        }
    };
    asker.until(1, &of(1, "any"), |answer| answer.error_code == 0)?;
    let all = ListTransactionsRequest::default();
    asker.until(0, &all, |answer| answer.error_code == 0)?;
    asker.ask_each("a transactional id", 1..=6, |version| of(version, "any"))?;
    asker.ask_each("an empty transactional id", 1..=6, |version| {
        of(version, "")
    })?;
    asker.ask_each("when there is none", 0..=2, |_| all.clone())
}

/// What the others left.
fn described(asker: &mut Asker) -> Result<()> {
    let of = |names: &[&str]| {
        let ids = names.iter().map(|name| TransactionalId(text(name)));
        DescribeTransactionsRequest::default().with_transactional_ids(ids.collect())
    };
    for (what, names) in [
        ("no ids", &[][..]),
        ("an empty id", &[""]),
        ("an unknown id", &["nobody"]),
        ("two, of which one is unknown", &["life-0", "nobody"]),
        ("an id twice", &["life-0", "life-0"]),
    ] {
        asker.ask(what, 0, &of(names))?;
    }
    Ok(())
}

fn listed(asker: &mut Asker) -> Result<()> {
    let all = ListTransactionsRequest::default();
    asker.ask_each("all", 0..=2, |_| all.clone())?;
    for state in [
        "Ongoing",
        "Empty",
        "CompleteCommit",
        "CompleteAbort",
        "ongoing",
        "Nonsense",
        "",
    ] {
        let request = all.clone().with_state_filters(vec![text(state)]);
        asker.ask_each(&format!("in state {state:?}"), 0..=2, |_| request.clone())?;
    }
    let two = vec![text("Ongoing"), text("CompleteAbort")];
    asker.ask("in two states", 2, &all.clone().with_state_filters(two))?;
    let life = initialising("life-0");
    let known = asker.until(5, &life, |answer| answer.error_code == 0)?;
    for (what, id) in [
        ("of a producer", known.producer_id.0),
        ("of an unknown producer", 987_654),
        ("of producer -1", -1),
    ] {
        let request = all.clone().with_producer_id_filters(vec![ProducerId(id)]);
        asker.ask_each(what, 0..=2, |_| request.clone())?;
    }
    for (what, duration_ms) in [
        ("for longer than no time", 0),
        ("for longer than a day", 86_400_000),
        ("for longer than minus two", -2),
    ] {
        let request = all.clone().with_duration_filter(duration_ms);
        asker.ask_each(what, 1..=2, |_| request.clone())?;
    }
    for pattern in ["life-.*", "life", "", "none.*", "(", "life-[01]|reader"] {
        let request = all
            .clone()
            .with_transactional_id_pattern(Some(text(pattern)));
        asker.ask(&format!("like {pattern:?}"), 2, &request)?;
    }
    Ok(())
}
