//! What is wrong with a producer, its epoch or what it names.

use anyhow::{Context, Result};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, ProducerId, TransactionalId};
use uuid::Uuid;

use super::super::{NOWHERE, group, text};
use super::{
    ADD_VERSION, Asker, BROKERS_ADD_FROM, EPOCHS_FROM, GROUP, LEDGER, NAMED_FROM, Producer,
    initialising, producing, topic_data,
};

const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// More than any producer that asks here has.
const OTHER_IDS: i64 = 1_000;

/// Every API of an id that nobody initialised.
pub(super) fn strangers(asker: &mut Asker) -> Result<()> {
    for (what, producer) in [
        ("a stranger", Producer::named("stranger", 77_777, 0)),
        ("an empty transactional id", Producer::named("", 77_777, 0)),
        (
            "a stranger without an id",
            Producer::named("stranger", -1, -1),
        ),
    ] {
        every_api(asker, what, &producer)?;
    }
    for timeout_ms in [0, -1, 900_001, i32::MAX] {
        asker.ask_each(&format!("a timeout of {timeout_ms}"), 0..=5, |_| {
            initialising("refused").with_transaction_timeout_ms(timeout_ms)
        })?;
    }
    asker.ask_each("an empty transactional id", 0..=5, |_| initialising(""))
}

/// With one partition and one group.
fn every_api(asker: &mut Asker, what: &str, producer: &Producer) -> Result<()> {
    asker.ask_each(what, 0..=5, |version| {
        producer.adding(version, &[(LEDGER, &[1])])
    })?;
    asker.ask_each(&format!("verified, {what}"), BROKERS_ADD_FROM..=5, |_| {
        verifying(producer)
    })?;
    asker.ask_each(what, 0..=4, |_| producer.adding_offsets(GROUP))?;
    asker.ask_each(what, 0..=5, |_| producer.committing(GROUP, LEDGER, 1, 1))?;
    asker.ask_each(&format!("committed, {what}"), 0..=5, |_| {
        producer.ending(true)
    })?;
    asker.ask_each(&format!("aborted, {what}"), 0..=5, |_| {
        producer.ending(false)
    })
}

fn verifying(producer: &Producer) -> AddPartitionsToTxnRequest {
    let transaction = producer
        .taking_part(&[(LEDGER, &[1])])
        .with_verify_only(true);
    AddPartitionsToTxnRequest::default().with_transactions(vec![transaction])
}

/// Ids that are initialised again, and while a transaction is open.
pub(super) fn initialised(asker: &mut Asker) -> Result<()> {
    for version in 0..=5 {
        let name = format!("init-{version}");
        let first = Producer::init(asker, &name)?;
        asker.ask("a second time", version, &initialising(&name))?;
        if version >= NAMED_FROM {
            named(asker, version, &first)?;
        }
        let last = asker
            .ask("a last time", version, &initialising(&name))?
            .context("no answer")?;
        let open = Producer::named(&name, last.producer_id.0, last.producer_epoch);
        open.add(asker, &[(LEDGER, &[2])])?;
        asker.ask("while a transaction is open", version, &initialising(&name))?;
        open.await_end(asker, false)?;
        asker.ask(&format!("fenced, {name}"), 0, &open.describing())?;
        asker.ask("after it was aborted", version, &initialising(&name))?;
        asker.ask(
            "with another timeout",
            version,
            &initialising(&name).with_transaction_timeout_ms(700_000),
        )?;
        asker.ask(
            &format!("with another timeout, {name}"),
            0,
            &open.describing(),
        )?;
        asker.ask(
            &format!("of a fenced producer, {name}"),
            ADD_VERSION,
            &open.adding(ADD_VERSION, &[(LEDGER, &[2])]),
        )?;
        asker.ask(
            &format!("of a fenced producer, {name}"),
            EPOCHS_FROM,
            &open.ending(true),
        )?;
    }
    Ok(())
}

/// By an id and an epoch of which the second one is right at first (KIP-360).
fn named(asker: &mut Asker, version: i16, first: &Producer) -> Result<()> {
    for (what, id, epoch) in [
        ("with its epoch", first.id.0, 1),
        ("with the epoch before", first.id.0, 1),
        ("with an older epoch", first.id.0, 0),
        ("with an epoch too new", first.id.0, 9),
        ("with another id", first.id.0 + OTHER_IDS, 2),
        ("with an id and no epoch", first.id.0, -1),
        ("with an epoch and no id", -1, 2),
    ] {
        let request = initialising(&first.transactional_id.0)
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch);
        asker.ask(what, version, &request)?;
    }
    let request = initialising(&format!("unknown-{version}"))
        .with_producer_id(ProducerId(first.id.0 + OTHER_IDS))
        .with_producer_epoch(3);
    asker.ask("an unknown one with id and epoch", version, &request)?;
    Ok(())
}

/// Of others while a transaction is open, which goes on.
pub(super) fn fenced(asker: &mut Asker, ledger: Uuid) -> Result<()> {
    let mut producer = Producer::init(asker, "fenced")?;
    for _ in 0..3 {
        producer = Producer::init(asker, "fenced")?;
    }
    producer.add(asker, &[(LEDGER, &[1])])?;
    producer.add_offsets(asker, GROUP)?;
    let with = |id: i64, epoch: i16| Producer::named("fenced", id, epoch);
    let right = producer.id.0;
    for (what, other) in [
        ("an old epoch", with(right, producer.epoch - 2)),
        ("the epoch before", with(right, producer.epoch - 1)),
        ("an epoch too new", with(right, producer.epoch + 4)),
        ("another id", with(right + OTHER_IDS, producer.epoch)),
        ("no id", with(-1, -1)),
    ] {
        every_api(asker, what, &other)?;
    }
    asker.ask("others fail, fenced", 0, &producer.describing())?;
    asker.ask_each("verified, a partition", BROKERS_ADD_FROM..=5, |_| {
        verifying(&producer)
    })?;
    for (what, other, sequence) in [
        ("another id", with(right + OTHER_IDS, producer.epoch), 0),
        ("the epoch before", with(right, producer.epoch - 1), 0),
        ("an epoch too new", with(right, producer.epoch + 4), 0),
        ("a sequence in the middle", producer.clone(), 4),
    ] {
        let records = other.batch(sequence, "x")?;
        for partition in [1, 2] {
            asker.ask_each(
                &format!("transactional, {what}, to {partition}"),
                [3, 11],
                |_| other.producing(LEDGER, partition, records.clone()),
            )?;
        }
    }
    let records = producer.batch(0, "x")?;
    asker.ask_each("transactional, not added", [3, 10, 11], |_| {
        producer.producing(LEDGER, 2, records.clone())
    })?;
    asker.ask_each(
        "transactional, of another transactional id",
        [3, 11],
        |_| {
            let id = TransactionalId(text("life-0"));
            producer
                .producing(LEDGER, 1, records.clone())
                .with_transactional_id(Some(id))
        },
    )?;
    asker.ask_each("transactional, acks 1", [3, 11], |_| {
        producer.producing(LEDGER, 1, records.clone()).with_acks(1)
    })?;
    asker.ask("transactional, by topic id", 13, &{
        producing(topic_data(1, records.clone()).with_topic_id(ledger))
            .with_transactional_id(Some(producer.transactional_id.clone()))
    })?;
    producer.end(asker, ADD_VERSION, true)?;
    asker.ask_each("transactional, after the end", [3, 11], |_| {
        producer.producing(LEDGER, 1, records.clone())
    })?;
    asker.ask_each("not in a transaction", 0..=4, |_| {
        producer.committing(GROUP, LEDGER, 1, 1)
    })
}

/// What can be added, and what cannot.
pub(super) fn partitions(asker: &mut Asker) -> Result<()> {
    for version in 0..=5 {
        let producer = Producer::init(asker, &format!("parts-{version}"))?;
        for (what, topics) in [
            (
                "unknown ones beside a known one",
                &[(LEDGER, &[0, 9][..]), (NOWHERE, &[0])][..],
            ),
            ("a negative partition", &[(LEDGER, &[-1])]),
            ("a topic of the broker's own", &[(CONSUMER_OFFSETS, &[0])]),
            ("an empty topic name", &[("", &[0])]),
            ("a topic without partitions", &[(LEDGER, &[])]),
            ("no topics", &[]),
            ("a partition twice", &[(LEDGER, &[2, 2])]),
            ("two partitions", &[(LEDGER, &[1, 3])]),
        ] {
            asker.ask(what, version, &producer.adding(version, topics))?;
            asker.ask(
                &format!("after {what}, v{version}"),
                0,
                &producer.describing(),
            )?;
        }
        asker.ask(
            &format!("a group without a name, {version}"),
            version.min(4),
            &producer.adding_offsets(""),
        )?;
        if version < BROKERS_ADD_FROM {
            continue;
        }
        let stranger = Producer::named("stranger", 77_777, 0);
        let one = &[(LEDGER, &[0][..])];
        for (what, transactions) in [
            ("no transactions", vec![]),
            (
                "a stranger beside a known one",
                vec![producer.taking_part(one), stranger.taking_part(one)],
            ),
            (
                "a transaction twice",
                vec![producer.taking_part(one), producer.taking_part(one)],
            ),
            (
                "added and verified",
                vec![
                    producer.taking_part(one),
                    producer.taking_part(one).with_verify_only(true),
                ],
            ),
        ] {
            let request = AddPartitionsToTxnRequest::default().with_transactions(transactions);
            asker.ask(what, version, &request)?;
        }
    }
    let producer = Producer::init(asker, "unknown-group")?;
    asker.ask_each("to a group that is not", 0..=4, |_| {
        producer
            .adding_offsets(GROUP)
            .with_group_id(group("no-such-group"))
    })
}
