//! lost-write and unseen: what was acknowledged, or read once, must be in the log at the end.

use crate::anomaly::{Anomaly, Kind};
use crate::findings::Findings;
use crate::rules::transactions::Transactions;
use crate::tables::{Offset, Partition, Tables, Value};

/// Values that were promised and are gone because the topic's retention may do so.
pub(crate) fn judge(tables: &Tables, transactions: &Transactions, findings: &mut Findings) -> u64 {
    let mut deleted = 0;
    let finals: Vec<Final> = tables
        .partitions
        .iter()
        .map(|partition| cover(tables, partition, findings))
        .collect();
    for (value, slot) in tables.sent_values() {
        let promised = slot.is(Value::PROMISED) || slot.is(Value::READ);
        if !promised || slot.is(Value::IN_FINAL) || !transactions.must_be_visible(slot) {
            continue;
        }
        match fate(tables, &finals[slot.partition as usize], slot) {
            Fate::Fine => {}
            Fate::Deleted => deleted += 1,
            Fate::Gone(kind, reader, says) => {
                findings.add(kind, || lost(tables, kind, value, slot, reader, &says));
            }
        }
    }
    deleted
}

/// What the final reads of a partition cover.
struct Final {
    begin: i64,
    end: i64,
    /// Of the last piece.
    event: u32,
    pieces: Vec<(i64, i64, u32)>,
}

enum Fate {
    Fine,
    Deleted,
    Gone(Kind, u32, String),
}

fn cover(tables: &Tables, partition: &Partition, findings: &mut Findings) -> Final {
    let mut pieces = partition.finals.clone();
    pieces.sort_unstable();
    let name = format!(
        "{}-{}",
        tables.topics[partition.topic as usize].name, partition.number
    );
    let Some(first) = pieces.first() else {
        findings.incomplete(format!(
            "{name} was never read to the end: losses may be hidden"
        ));
        return Final {
            begin: 0,
            end: 0,
            event: 0,
            pieces,
        };
    };
    let (begin, mut end, mut event) = *first;
    for (from, to, at) in &pieces {
        if *from > end {
            findings.incomplete(format!(
                "the final read of {name} leaves out {end} to {from}"
            ));
        }
        if *to >= end {
            (end, event) = (*to, *at);
        }
    }
    Final {
        begin,
        end,
        event,
        pieces,
    }
}

fn fate(tables: &Tables, read: &Final, slot: &Value) -> Fate {
    let partition = &tables.partitions[slot.partition as usize];
    let deletes = tables.topics[partition.topic as usize].deletes;
    let offset = slot.offset;
    if offset < 0 {
        // Acknowledged without an offset: where it should be is not known.
        if read.pieces.is_empty() || deletes {
            return Fate::Fine;
        }
        return Fate::Gone(
            Kind::Unseen,
            read.event,
            "the final read has it nowhere".to_owned(),
        );
    }
    if deletes && offset < partition.begin_offset {
        return Fate::Deleted;
    }
    if partition
        .offsets
        .get(offset as u64)
        .is_some_and(|at| at.is(Offset::MISMATCH))
    {
        return Fate::Fine;
    }
    if read.pieces.is_empty() {
        let passed = partition.lowest_read <= offset && offset < partition.highest_read;
        if slot.is(Value::READ) || !passed {
            return Fate::Fine;
        }
        let says = format!(
            "offset {} was read, this value never",
            partition.highest_read
        );
        return Fate::Gone(Kind::LostWrite, partition.highest_read_event, says);
    }
    if offset >= read.end {
        let says = format!("the final read ends at {}", read.end);
        return Fate::Gone(Kind::Unseen, read.event, says);
    }
    if offset < read.begin {
        let says = format!(
            "the log begins at {} although nothing may delete records",
            read.begin
        );
        return Fate::Gone(Kind::LostWrite, read.event, says);
    }
    match read
        .pieces
        .iter()
        .find(|(from, to, _)| (*from..*to).contains(&offset))
    {
        Some((_, _, event)) => {
            let says = "the final read went past its offset without it".to_owned();
            Fate::Gone(Kind::LostWrite, *event, says)
        }
        None => Fate::Fine, // told as incomplete
    }
}

fn lost(tables: &Tables, kind: Kind, value: u64, slot: &Value, reader: u32, says: &str) -> Anomaly {
    let client = tables.clients[slot.client as usize].number;
    let known = match (slot.is(Value::ACKED), slot.is(Value::READ)) {
        (true, true) => format!("acknowledged to client {client} and read once"),
        (true, false) => format!("acknowledged to client {client}"),
        _ => format!("read once, sent by client {client}"),
    };
    let answered = if slot.is(Value::ACKED) {
        slot.answered
    } else {
        0
    };
    let anomaly = Anomaly::new(kind, format!("{known}; {says}"))
        .partition(tables, slot.partition)
        .value(value)
        .events([slot.sent, answered, slot.read, reader]);
    if slot.offset >= 0 {
        anomaly.offset(slot.offset)
    } else {
        anomaly
    }
}
