//! The cases about transactions.

use anyhow::{Result, anyhow, bail};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};

use crate::check::{equal, until};
use crate::record::{first, send, valued, values};
use crate::{Outcome, PASSED, PATIENCE, Scenario};

impl Scenario {
    pub(crate) async fn transactions(&self) -> Outcome {
        if let Some(reason) = self.lacks("transactions") {
            return Ok(Some(reason));
        }
        let topic = self.name("transactions");
        self.create(&topic, 2).await?;
        let producer = self.transactional()?;
        for value in ["committed", "aborted", "last"] {
            producer.begin_transaction()?;
            for partition in [0, 1] {
                send(&producer, &topic, partition, &[valued(value)]).await?;
            }
            if value == "aborted" {
                producer.abort_transaction(PATIENCE)?;
            } else {
                producer.commit_transaction(PATIENCE)?;
            }
        }
        for partition in [0, 1] {
            equal(
                self.isolated(partition, 2)?,
                "committed last".to_owned(),
                "read_committed",
            )?;
            let all = self.read(
                &topic,
                partition,
                0,
                3,
                &[("isolation.level", "read_uncommitted")],
            )?;
            equal(
                values(&all),
                "committed aborted last".to_owned(),
                "read_uncommitted",
            )?;
        }
        PASSED
    }

    pub(crate) async fn transaction_open(&self) -> Outcome {
        if let Some(reason) = self.lacks("transactions") {
            return Ok(Some(reason));
        }
        let producer = self.transactional()?;
        producer.begin_transaction()?;
        send(&producer, &self.name("transactions"), 1, &[valued("open")]).await?;
        equal(
            self.isolated(1, 2)?,
            "committed last".to_owned(),
            "read_committed while it is open",
        )?;
        producer.commit_transaction(PATIENCE)?;
        equal(
            self.isolated(1, 3)?,
            "committed last open".to_owned(),
            "read_committed after it",
        )?;
        PASSED
    }

    pub(crate) async fn transaction_offsets(&self) -> Outcome {
        if let Some(reason) = self.lacks("transactions") {
            return Ok(Some(reason));
        }
        let consumer = self.consumer("offsets", &[])?;
        consumer.subscribe(&[&self.topic])?;
        first(&consumer)?;
        let metadata = consumer
            .group_metadata()
            .ok_or_else(|| anyhow!("no member yet"))?;
        let producer = self.transactional()?;
        for (offset, commits) in [(7, true), (9, false)] {
            producer.begin_transaction()?;
            send(
                &producer,
                &self.name("transactions"),
                0,
                &[valued("with offsets")],
            )
            .await?;
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&self.topic, 1, Offset::Offset(offset))?;
            producer.send_offsets_to_transaction(&offsets, &metadata, PATIENCE)?;
            if commits {
                producer.commit_transaction(PATIENCE)?;
            } else {
                producer.abort_transaction(PATIENCE)?;
            }
            // The end is answered before all of its markers are written.
            until("only the committed one counts", || {
                let mut asked = TopicPartitionList::new();
                asked.add_partition(&self.topic, 1);
                let committed = consumer.committed_offsets(asked, PATIENCE)?;
                let place = committed.find_partition(&self.topic, 1);
                Ok(place.map(|it| it.offset()) == Some(Offset::Offset(7)))
            })?;
        }
        PASSED
    }

    pub(crate) async fn transaction_fenced(&self) -> Outcome {
        if let Some(reason) = self.lacks("transactions") {
            return Ok(Some(reason));
        }
        let topic = self.name("transactions");
        let old = self.transactional()?;
        old.begin_transaction()?;
        send(&old, &topic, 0, &[valued("of the old")]).await?;
        let _fresh = self.transactional()?;
        let late = async || -> Result<()> {
            send(&old, &topic, 0, &[valued("too late")]).await?;
            Ok(old.commit_transaction(PATIENCE)?)
        };
        let Err(error) = late().await else {
            bail!("the old producer was not fenced");
        };
        // The record is only purged where the producer already knows.
        let fenced = old.client().fatal_error().map(|(code, _)| code);
        if fenced != Some(RDKafkaErrorCode::Fenced) {
            bail!("{error:#}, and the fatal error is {fenced:?}");
        }
        PASSED
    }
}
