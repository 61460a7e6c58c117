//! Records, and how they are sent and read.

use std::time::Duration;

use anyhow::{Result, anyhow};
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::POLL;
use crate::check::until;

pub(crate) const RECORDS: i64 = 20;
pub(crate) const TIME_FIRST_MS: i64 = 1_700_000_000_000;
pub(crate) const TIME_STEP_MS: i64 = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

pub(crate) async fn send(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    made: &[Record],
) -> Result<()> {
    let mut answers = Vec::new();
    for each in made {
        let headers = each
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        let mut record: FutureRecord<'_, String, String> =
            FutureRecord::to(topic).partition(partition);
        record.key = each.key.as_ref();
        record.payload = each.value.as_ref();
        record.timestamp = each.timestamp_ms;
        record = record.headers(headers);
        answers.push(producer.send_result(record).map_err(|(error, _)| error)?);
    }
    for answer in answers {
        answer.await?.map_err(|(error, _)| error)?;
    }
    Ok(())
}

pub(crate) fn next(consumer: &BaseConsumer, limit: Duration) -> Result<Option<Record>> {
    let Some(message) = consumer.poll(limit) else {
        return Ok(None);
    };
    let message = message?;
    let text =
        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let headers = message.headers().map(|headers| {
        let each = headers.iter();
        each.map(|header| {
            (
                header.key.to_owned(),
                text(header.value).unwrap_or_default(),
            )
        })
        .collect()
    });
    Ok(Some(Record {
        key: text(message.key()),
        value: text(message.payload()),
        headers: headers.unwrap_or_default(),
        timestamp_ms: message.timestamp().to_millis(),
        partition: message.partition(),
        offset: message.offset(),
    }))
}

pub(crate) fn first(consumer: &BaseConsumer) -> Result<Record> {
    let mut found = None;
    // A rebalance ends a poll without a record.
    until("a record", || {
        found = next(consumer, POLL)?;
        Ok(found.is_some())
    })?;
    found.ok_or_else(|| anyhow!("no record"))
}

/// Keys and values that are null, empty and neither, and a header that is there twice.
pub(crate) fn records(partition: i32) -> Vec<Record> {
    let made = (0..RECORDS).map(|i| Record {
        key: (i % 5 != 0).then(|| format!("key-{i}")),
        value: match i {
            3 => None,
            4 => Some(String::new()),
            _ => Some(format!("value-{i} ").repeat(20)),
        },
        headers: [
            ("number", i.to_string()),
            ("empty", String::new()),
            ("number", "again".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into(),
        timestamp_ms: Some(TIME_FIRST_MS + i * TIME_STEP_MS),
        partition,
        offset: i,
    });
    made.collect()
}

pub(crate) fn valued(value: &str) -> Record {
    Record {
        key: None,
        value: Some(value.to_owned()),
        headers: Vec::new(),
        timestamp_ms: None,
        partition: 0,
        offset: 0,
    }
}

pub(crate) fn values(records: &[Record]) -> String {
    let values: Vec<&str> = records
        .iter()
        .filter_map(|it| it.value.as_deref())
        .collect();
    values.join(" ")
}
