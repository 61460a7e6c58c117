//! leader-epoch-regression: leader epochs never go down as offsets go up.

use crate::anomaly::{Anomaly, Kind};
use crate::findings::Findings;
use crate::tables::Tables;

pub(crate) fn judge(tables: &Tables, findings: &mut Findings) {
    for (index, partition) in tables.partitions.iter().enumerate() {
        let mut highest = (-1, 0, 0);
        for (offset, slot) in partition.offsets.iter() {
            if slot.leader_epoch < 0 {
                continue;
            }
            let (epoch, at, event) = highest;
            if slot.leader_epoch >= epoch {
                highest = (slot.leader_epoch, offset, slot.event);
                continue;
            }
            findings.add(Kind::LeaderEpochRegression, || {
                let says = format!(
                    "leader epoch {} here, {epoch} at the lower offset {at}",
                    slot.leader_epoch
                );
                Anomaly::new(Kind::LeaderEpochRegression, says)
                    .partition(tables, index as u32)
                    .offset(offset as i64)
                    .value(slot.value)
                    .events([event, slot.event])
            });
        }
    }
}
