//! reordered: what an idempotent producer sent to a partition stands there in the order of its sends.
//!
//! A value of unknown outcome may come late: a producer that gets a new producer id after a time-out cannot
//! stop a request of the old one. It may not come before what was sent earlier and acknowledged.

use std::collections::HashMap;

use crate::anomaly::{Anomaly, Kind};
use crate::findings::Findings;
use crate::tables::{Tables, Value};

pub(crate) fn judge(tables: &Tables, findings: &mut Findings) {
    // By client and partition: the highest offset so far, and the value at it.
    let mut highest: HashMap<(u32, u32), (i64, u64, u32)> = HashMap::new();
    for (value, slot) in tables.sent_values() {
        if slot.offset < 0 || !tables.clients[slot.client as usize].idempotent {
            continue;
        }
        let acknowledged = slot.is(Value::ACK_OFFSET);
        if !acknowledged && !slot.is(Value::READ_THERE) {
            continue;
        }
        let key = (slot.client, slot.partition);
        let before = highest.get(&key).copied();
        if let Some((offset, earlier, answered)) = before
            && slot.offset < offset
        {
            findings.add(Kind::Reordered, || {
                let client = tables.clients[slot.client as usize].number;
                let says = format!(
                    "client {client} sent it after value {earlier}, which is at offset {offset}"
                );
                Anomaly::new(Kind::Reordered, says)
                    .partition(tables, slot.partition)
                    .offset(slot.offset)
                    .value(value)
                    .events([slot.sent, slot.answered, slot.read, answered])
            });
        } else if acknowledged && before.is_none_or(|(offset, _, _)| slot.offset > offset) {
            highest.insert(key, (slot.offset, value, slot.answered));
        }
    }
}
