//! exactly-once: consume-transform-produce makes one visible output from each value of the source.

use std::collections::{BTreeMap, BTreeSet};

use crate::anomaly::{Anomaly, Kind};
use crate::findings::Findings;
use crate::paged::Paged;
use crate::rules::transactions::Transactions;
use crate::tables::{Tables, Value};

#[derive(Debug, Clone, Default)]
pub(crate) struct ExactlyOnce {
    /// By topic of output and of source: what each value of the output was made from, plus 1.
    made_from: BTreeMap<(u32, u32), Paged<u64>>,
    /// Output and source.
    drained: BTreeSet<(u32, u32)>,
}

impl ExactlyOnce {
    pub(crate) fn made(&mut self, (output, source): (u32, u32), value: u64, from: u64) {
        let made = self
            .made_from
            .entry((output, source))
            .or_insert_with(Paged::new);
        if let Some(slot) = made.slot(value, u64::MAX) {
            *slot = from.saturating_add(1);
        }
    }

    pub(crate) fn drained(&mut self, output: u32, source: u32) {
        self.drained.insert((output, source));
        self.made_from
            .entry((output, source))
            .or_insert_with(Paged::new);
    }

    pub(crate) fn finish(
        self,
        tables: &Tables,
        transactions: &Transactions,
        findings: &mut Findings,
    ) {
        for ((output, source), made) in &self.made_from {
            // By value of the source: its visible output, plus 1.
            let mut outputs = Paged::<u64>::new();
            for (value, from) in made.iter().filter(|(_, from)| **from != 0) {
                let slot = tables.topics[*output as usize].values.get(value);
                let Some(slot) = slot.filter(|slot| visible(slot)) else {
                    continue;
                };
                let from = *from - 1;
                let Some(first) = outputs.slot(from, u64::MAX) else {
                    continue;
                };
                if *first == 0 {
                    *first = value.saturating_add(1);
                    continue;
                }
                let first = *first - 1;
                findings.add(Kind::ExactlyOnce, || {
                    let says = format!(
                        "made from value {from} of {}, as value {first} was already",
                        tables.topics[*source as usize].name
                    );
                    let before = tables.topics[*output as usize].values.get(first);
                    Anomaly::new(Kind::ExactlyOnce, says)
                        .partition(tables, slot.partition)
                        .offset(slot.offset)
                        .value(value)
                        .events([slot.sent, slot.read, before.map_or(0, |before| before.sent)])
                });
            }
            if !self.drained.contains(&(*output, *source)) {
                continue;
            }
            let topic = &tables.topics[*output as usize];
            if topic.deletes {
                let says = "may have lost outputs to retention: exactly-once is not judged";
                findings.incomplete(format!("{} {says}", topic.name));
            } else {
                missing(tables, transactions, (*output, *source), &outputs, findings);
            }
        }
    }
}

fn missing(
    tables: &Tables,
    transactions: &Transactions,
    (output, source): (u32, u32),
    outputs: &Paged<u64>,
    findings: &mut Findings,
) {
    for (value, slot) in tables.topics[source as usize].values.iter() {
        let there =
            slot.is_sent() && slot.is(Value::IN_FINAL) && transactions.must_be_visible(slot);
        if !there || outputs.get(value).is_some_and(|output| *output != 0) {
            continue;
        }
        findings.add(Kind::ExactlyOnce, || {
            let says = format!(
                "nothing in {} was made from it",
                tables.topics[output as usize].name
            );
            Anomaly::new(Kind::ExactlyOnce, says)
                .partition(tables, slot.partition)
                .offset(slot.offset)
                .value(value)
                .events([slot.sent, slot.read])
        });
    }
}

fn visible(slot: &Value) -> bool {
    let flag = if slot.transaction == 0 {
        Value::READ
    } else {
        Value::READ_COMMITTED
    };
    slot.is_sent() && slot.is(flag)
}
