//! The cases but those about transactions.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use rdkafka::admin::{
    AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{FutureProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::check::{code, equal, one, refused, until};
use crate::member::share;
use crate::record::{
    RECORDS, Record, TIME_FIRST_MS, TIME_STEP_MS, first, next, records, send, valued, values,
};
use crate::{Outcome, PARTITIONS, PASSED, PATIENCE, POLL, Scenario};

/// A consumer wants one, though what it reads is assigned.
const NO_GROUP: &str = "none";

impl Scenario {
    pub(crate) async fn create_topic(&self) -> Outcome {
        self.create(&self.topic, 3).await?;
        refused(
            RDKafkaErrorCode::TopicAlreadyExists,
            self.create(&self.topic, 3).await,
        )?;
        until("the topic", || Ok(self.replicas(&self.topic)?.len() == 3))?;
        equal(self.replicas(&self.topic)?, vec![3, 3, 3], "replicas")?;
        PASSED
    }

    pub(crate) async fn create_partitions(&self) -> Outcome {
        self.grow(PARTITIONS).await?;
        until("5 partitions", || {
            Ok(self.replicas(&self.topic)?.len() == PARTITIONS)
        })?;
        refused(RDKafkaErrorCode::InvalidPartitions, self.grow(4).await)?;
        PASSED
    }

    pub(crate) async fn topic_configs(&self) -> Outcome {
        // The client has only the old request, which replaces all that was set.
        let resource = ResourceSpecifier::Topic(&self.topic);
        let alter = AlterConfig::new(resource)
            .set("max.message.bytes", "1000000")
            .set("retention.ms", "-1");
        one(self
            .admin
            .alter_configs([&alter], &AdminOptions::new())
            .await?)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let resource = ResourceSpecifier::Topic(&self.topic);
            let found = self
                .admin
                .describe_configs([&resource], &AdminOptions::new())
                .await?;
            let found = found
                .into_iter()
                .next()
                .ok_or_else(|| anyhow!("no answer"))?
                .map_err(code)?;
            let value = |name: &str| found.get(name).and_then(|entry| entry.value.clone());
            if value("max.message.bytes").as_deref() == Some("1000000") {
                equal(value("retention.ms").as_deref(), Some("-1"), "retention.ms")?;
                equal(
                    value("segment.bytes").as_deref(),
                    Some("1073741824"),
                    "segment.bytes",
                )?;
                return PASSED;
            }
            if Instant::now() > deadline {
                bail!("max.message.bytes is {:?}", value("max.message.bytes"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn produce(&self, codec: &str, partition: i32) -> Outcome {
        let producer = self.producer(&[("compression.type", codec), ("linger.ms", "20")])?;
        send(&producer, &self.topic, partition, &records(partition)).await?;
        equal(
            self.read(&self.topic, partition, 0, RECORDS, &[])?,
            records(partition),
            "what is read",
        )?;
        PASSED
    }

    pub(crate) async fn too_large(&self) -> Outcome {
        let producer = self.producer(&[("message.max.bytes", "3000000")])?;
        let large = [valued(&"x".repeat(1_500_000))];
        refused(
            RDKafkaErrorCode::MessageSizeTooLarge,
            send(&producer, &self.topic, 0, &large).await,
        )?;
        PASSED
    }

    pub(crate) async fn consume_by_offset(&self) -> Outcome {
        let found = self.read(&self.topic, 0, 15, RECORDS - 15, &[])?;
        equal(found[0].offset, 15, "the first")?;
        PASSED
    }

    pub(crate) async fn consume_by_time(&self) -> Outcome {
        let consumer = self.consumer(NO_GROUP, &[])?;
        let mut asked = TopicPartitionList::new();
        for (partition, time) in [(0, 7 * TIME_STEP_MS - 1), (1, RECORDS * TIME_STEP_MS)] {
            asked.add_partition_offset(
                &self.topic,
                partition,
                Offset::Offset(TIME_FIRST_MS + time),
            )?;
        }
        let found = consumer.offsets_for_times(asked, PATIENCE)?;
        let of = |partition| {
            found
                .find_partition(&self.topic, partition)
                .map(|it| it.offset())
        };
        equal(of(0), Some(Offset::Offset(7)), "the offset of a time")?;
        equal(of(1), Some(Offset::End), "that of one behind all")?;
        PASSED
    }

    pub(crate) async fn list_offsets(&self) -> Outcome {
        equal(self.first_and_end()?, (0, RECORDS), "the first and the end")?;
        PASSED
    }

    pub(crate) async fn offset_out_of_range(&self) -> Outcome {
        let read = self.read(&self.topic, 0, 1000, 1, &[("auto.offset.reset", "error")]);
        refused(RDKafkaErrorCode::AutoOffsetReset, read)?;
        PASSED
    }

    pub(crate) async fn idempotent(&self) -> Outcome {
        let topic = self.name("idempotent");
        self.create(&topic, 1).await?;
        let producer =
            self.producer(&[("enable.idempotence", "true"), ("batch.num.messages", "7")])?;
        let made: Vec<Record> = (0..200).map(|i| valued(&i.to_string())).collect();
        send(&producer, &topic, 0, &made).await?;
        let found = self.read(&topic, 0, 0, 200, &[])?;
        equal(values(&found), values(&made), "values")?;
        PASSED
    }

    pub(crate) async fn rebalance(&self, group: &str, config: &[(&str, &str)]) -> Outcome {
        let one = self.join(group, config)?;
        until("one member has all partitions", || {
            Ok(one.owned().len() == PARTITIONS)
        })?;
        let two = self.join(group, config)?;
        share(&one, &two)?;
        two.leave()?;
        until("the one that is left has all of them", || {
            Ok(one.owned().len() == PARTITIONS)
        })?;
        one.leave()?;
        PASSED
    }

    pub(crate) async fn static_member(&self) -> Outcome {
        let one = self.join("static", &[("group.instance.id", "one")])?;
        let two = self.join("static", &[("group.instance.id", "two")])?;
        share(&one, &two)?;
        // It does not leave: the same instance gets the same partitions without a rebalance.
        let owned = one.owned();
        one.leave()?;
        let again = self.join("static", &[("group.instance.id", "one")])?;
        until("it has what it had", || Ok(again.owned() == owned))?;
        equal(
            two.owned().len(),
            PARTITIONS - owned.len(),
            "what the other has",
        )?;
        again.leave()?;
        two.leave()?;
        PASSED
    }

    pub(crate) async fn new_protocol(&self) -> Outcome {
        if let Some(reason) = self.lacks("consumer groups") {
            return Ok(Some(reason));
        }
        self.rebalance("new", &[("group.protocol", "consumer")])
            .await
    }

    pub(crate) async fn commits(&self) -> Outcome {
        let consumer = self.consumer("commits", &[])?;
        consumer.subscribe(&[&self.topic])?;
        let first = first(&consumer)?;
        let later = first.offset + 1;
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.topic, first.partition, Offset::Offset(later))?;
        if let Some(mut place) = offsets.find_partition(&self.topic, first.partition) {
            place.set_metadata("noted");
        }
        consumer.commit(&offsets, CommitMode::Sync)?;
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.topic, first.partition);
        let committed = consumer.committed_offsets(asked, PATIENCE)?;
        let place = committed
            .find_partition(&self.topic, first.partition)
            .ok_or_else(|| anyhow!("no answer"))?;
        equal(
            (place.offset(), place.metadata()),
            (Offset::Offset(later), "noted"),
            "committed",
        )?;
        drop(consumer);
        let consumer = self.consumer("commits", &[])?;
        consumer.subscribe(&[&self.topic])?;
        let rest = PARTITIONS as i64 * RECORDS - later;
        let mut found = Vec::new();
        until("the rest", || {
            found.extend(next(&consumer, POLL)?);
            Ok(found.len() as i64 >= rest)
        })?;
        let next = found
            .iter()
            .filter(|it| it.partition == first.partition)
            .map(|it| it.offset)
            .min();
        equal(next, Some(later), "the next")?;
        PASSED
    }

    pub(crate) async fn group_admin(&self) -> Outcome {
        let group = self.name("commits");
        let found = self
            .admin
            .inner()
            .fetch_group_list(Some(&group), PATIENCE)?;
        let states: Vec<(&str, &str)> = found
            .groups()
            .iter()
            .map(|it| (it.name(), it.state()))
            .collect();
        equal(states, vec![(group.as_str(), "Empty")], "groups")?;
        PASSED
    }

    pub(crate) async fn group_changes(&self) -> Outcome {
        let group = self.name("commits");
        let delete = async || {
            one(self
                .admin
                .delete_groups(&[&group], &AdminOptions::new())
                .await?)
        };
        delete().await?;
        refused(RDKafkaErrorCode::GroupIdNotFound, delete().await)?;
        PASSED
    }

    pub(crate) async fn delete_records(&self) -> Outcome {
        let delete = async |offset| -> Result<()> {
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&self.topic, 0, Offset::Offset(offset))?;
            let deleted = self
                .admin
                .delete_records(&offsets, &AdminOptions::new())
                .await?;
            let place = deleted
                .find_partition(&self.topic, 0)
                .ok_or_else(|| anyhow!("no answer"))?;
            Ok(place.error()?)
        };
        delete(5).await?;
        equal(self.first_and_end()?, (5, RECORDS), "the first and the end")?;
        equal(
            self.read(&self.topic, 0, 5, RECORDS - 5, &[])?[0].offset,
            5,
            "what is read first",
        )?;
        refused(RDKafkaErrorCode::OffsetOutOfRange, delete(1000).await)?;
        PASSED
    }

    pub(crate) async fn delete_topic(&self) -> Outcome {
        let topic = self.name("idempotent");
        let delete = async || {
            one(self
                .admin
                .delete_topics(&[&topic], &AdminOptions::new())
                .await?)
        };
        delete().await?;
        until("it is gone", || Ok(self.replicas(&topic)?.is_empty()))?;
        refused(RDKafkaErrorCode::UnknownTopicOrPartition, delete().await)?;
        PASSED
    }

    pub(crate) fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.setup.prefix)
    }

    pub(crate) fn lacks(&self, feature: &str) -> Option<String> {
        let is_there = self.setup.has.iter().any(|has| has == feature);
        (!is_there).then(|| format!("the server has no {feature}"))
    }

    pub(crate) async fn create(&self, topic: &str, partitions: i32) -> Result<()> {
        let new =
            NewTopic::new(topic, partitions, TopicReplication::Fixed(3)).set("retention.ms", "-1");
        one(self
            .admin
            .create_topics([&new], &AdminOptions::new())
            .await?)
    }

    pub(crate) async fn grow(&self, count: usize) -> Result<()> {
        let new = NewPartitions::new(&self.topic, count);
        one(self
            .admin
            .create_partitions([&new], &AdminOptions::new())
            .await?)
    }

    pub(crate) fn replicas(&self, topic: &str) -> Result<Vec<usize>> {
        let found = self.admin.inner().fetch_metadata(None, PATIENCE)?;
        let topic = found.topics().iter().find(|it| it.name() == topic);
        let partitions = topic.map(|it| it.partitions()).unwrap_or_default();
        Ok(partitions.iter().map(|it| it.replicas().len()).collect())
    }

    pub(crate) fn first_and_end(&self) -> Result<(i64, i64)> {
        Ok(self
            .admin
            .inner()
            .fetch_watermarks(&self.topic, 0, PATIENCE)?)
    }

    pub(crate) fn producer(&self, config: &[(&str, &str)]) -> Result<FutureProducer> {
        let mut all = ClientConfig::new();
        all.set("bootstrap.servers", &self.setup.bootstrap)
            .set("acks", "all");
        for (name, value) in config {
            all.set(*name, *value);
        }
        Ok(all.create()?)
    }

    pub(crate) fn transactional(&self) -> Result<FutureProducer> {
        let id = self.name("transactions");
        let producer = self.producer(&[
            ("transactional.id", &id),
            ("transaction.timeout.ms", "30000"),
        ])?;
        producer.init_transactions(PATIENCE)?;
        Ok(producer)
    }

    pub(crate) fn consumer(&self, group: &str, config: &[(&str, &str)]) -> Result<BaseConsumer> {
        let mut all = ClientConfig::new();
        all.set("bootstrap.servers", &self.setup.bootstrap)
            .set("group.id", self.name(group));
        all.set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest");
        let is_classic = !config.iter().any(|(name, _)| *name == "group.protocol");
        if is_classic {
            all.set("session.timeout.ms", "10000")
                .set("heartbeat.interval.ms", "300");
        }
        for (name, value) in config {
            all.set(*name, *value);
        }
        Ok(all.create()?)
    }

    /// So many records, and not one more.
    pub(crate) fn read(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        count: i64,
        config: &[(&str, &str)],
    ) -> Result<Vec<Record>> {
        let consumer = self.consumer(NO_GROUP, config)?;
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        consumer.assign(&place)?;
        let mut found = Vec::new();
        until("records", || {
            found.extend(next(&consumer, POLL)?);
            Ok(found.len() as i64 >= count)
        })?;
        found.extend(next(&consumer, POLL)?);
        equal(found.len() as i64, count, "records read")?;
        Ok(found)
    }

    pub(crate) fn isolated(&self, partition: i32, count: i64) -> Result<String> {
        let level = [("isolation.level", "read_committed")];
        Ok(values(&self.read(
            &self.name("transactions"),
            partition,
            0,
            count,
            &level,
        )?))
    }
}
