//! An id from its first request to its last, in each version: once committed, once aborted.

use anyhow::{Context, Result};

use super::{Asker, EPOCHS_FROM, GROUP, LEDGER, Producer, initialising};

/// What records are sent by, beside which version of EndTxn.
const PRODUCE_VERSIONS: [i16; 6] = [3, 7, 8, 9, 11, 12];
const PARTITION: i32 = 0;

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    for (version, produce_version) in (0..).zip(PRODUCE_VERSIONS) {
        life(asker, version, produce_version)?;
        nothing(asker, version)?;
    }
    taking_part_by_itself(asker)
}

fn life(asker: &mut Asker, version: i16, produce_version: i16) -> Result<()> {
    let name = format!("life-{version}");
    let first = asker
        .ask("the first of an id", version, &initialising(&name))?
        .context("no answer")?;
    let mut producer = Producer::named(&name, first.producer_id.0, first.producer_epoch);
    asker.ask(&format!("new, {name}"), 0, &producer.describing())?;
    let mut sequence = 0;
    for (outcome, is_committed) in [("committed", true), ("aborted", false)] {
        let what = |what: &str| format!("{what}, {name}, to be {outcome}");
        asker.ask(
            &what("a partition"),
            version,
            &producer.adding(version, &[(LEDGER, &[PARTITION])]),
        )?;
        asker.ask(
            &what("a partition again"),
            version,
            &producer.adding(version, &[(LEDGER, &[PARTITION])]),
        )?;
        let records = producer.batch(sequence, outcome)?;
        sequence += 1;
        asker.ask(
            &what("a record"),
            produce_version,
            &producer.producing(LEDGER, PARTITION, records.clone()),
        )?;
        asker.ask(
            &what("a record again"),
            produce_version,
            &producer.producing(LEDGER, PARTITION, records),
        )?;
        asker.ask(
            &what("a group"),
            version.min(4),
            &producer.adding_offsets(GROUP),
        )?;
        asker.ask(
            &what("an offset"),
            version,
            &producer.committing(GROUP, LEDGER, PARTITION, 1),
        )?;
        asker.ask(&what("under way"), 0, &producer.describing())?;
        let before = producer.clone();
        let ended = asker
            .ask(&what("the end"), version, &producer.ending(is_committed))?
            .context("no answer")?;
        if version >= EPOCHS_FROM {
            (producer.id, producer.epoch) = (ended.producer_id, ended.producer_epoch);
            sequence = 0;
        }
        producer.await_end(asker, is_committed)?;
        asker.ask(&what("ended"), 0, &producer.describing())?;
        asker.ask(
            &what("the end again"),
            version,
            &before.ending(is_committed),
        )?;
        asker.ask(
            &what("the other end"),
            version,
            &before.ending(!is_committed),
        )?;
        asker.ask(&what("ended twice"), 0, &producer.describing())?;
    }
    Ok(())
}

/// Of a producer that nothing took part with.
fn nothing(asker: &mut Asker, version: i16) -> Result<()> {
    let name = format!("nothing-{version}");
    let mut producer = Producer::init(asker, &name)?;
    for (outcome, is_committed) in [("committed", true), ("aborted", false)] {
        let ended = asker
            .ask(
                &format!("of nothing, {name}, {outcome}"),
                version,
                &producer.ending(is_committed),
            )?
            .context("no answer")?;
        if ended.error_code == 0 {
            producer.await_end(asker, is_committed)?;
            if version >= EPOCHS_FROM {
                (producer.id, producer.epoch) = (ended.producer_id, ended.producer_epoch);
            }
        }
        asker.ask(
            &format!("nothing {outcome}, {name}"),
            0,
            &producer.describing(),
        )?;
    }
    Ok(())
}

/// As clients of `transaction.version` 2 do, which add nothing.
fn taking_part_by_itself(asker: &mut Asker) -> Result<()> {
    let mut producer = Producer::init(asker, "by-itself")?;
    for (outcome, is_committed) in [("committed", true), ("aborted", false)] {
        let what = |what: &str| format!("{what}, by itself, to be {outcome}");
        let records = producer.batch(0, outcome)?;
        asker.ask(
            &what("a record"),
            12,
            &producer.producing(LEDGER, 3, records),
        )?;
        asker.ask(
            &what("an offset"),
            EPOCHS_FROM,
            &producer.committing(GROUP, LEDGER, 3, 1),
        )?;
        asker.ask(&what("under way"), 0, &producer.describing())?;
        let ended = asker
            .ask(
                &what("the end"),
                EPOCHS_FROM,
                &producer.ending(is_committed),
            )?
            .context("no answer")?;
        (producer.id, producer.epoch) = (ended.producer_id, ended.producer_epoch);
        producer.await_end(asker, is_committed)?;
        asker.ask(&what("ended"), 0, &producer.describing())?;
    }
    // The epoch of a transaction that ended is of no use any more.
    let before = Producer {
        epoch: producer.epoch - 1,
        ..producer.clone()
    };
    let late = before.batch(1, "late")?;
    asker.ask(
        "a record of a transaction that ended",
        12,
        &before.producing(LEDGER, 3, late),
    )?;
    asker.ask(
        "an offset of a transaction that ended",
        EPOCHS_FROM,
        &before.committing(GROUP, LEDGER, 3, 2),
    )?;
    let plain = producer.batch(0, "x")?;
    let nobody = Producer::named("", producer.id.0, producer.epoch);
    for (what, request) in [
        (
            "an empty transactional id",
            nobody.producing(LEDGER, 3, plain.clone()),
        ),
        (
            "no transactional id",
            nobody
                .producing(LEDGER, 3, plain)
                .with_transactional_id(None),
        ),
    ] {
        asker.ask_each(&format!("transactional, {what}"), [3, 11, 12], |_| {
            request.clone()
        })?;
    }
    Ok(())
}
