//! Where a broker keeps its logs.

use uuid::Uuid;

use super::apply::read_id;
use crate::record::{DirectoryRecord, RegisterBrokerRecord, id_bytes};

/// One of the `log.dirs` of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Of its `meta.properties`.
    pub id: Uuid,
    /// The newest registration that it was part of.
    pub epoch: i64,
    /// Registrations before that one, since the broker was last unfenced with it, that the right disk may name as well. A
    /// broker that ends before it has heard of its registration comes back with an older one; and what a process asked
    /// before it ended may arrive after the registration of the next.
    pub previous_epochs: Vec<i64>,
}

impl Directory {
    pub(crate) fn to_record(&self) -> DirectoryRecord {
        DirectoryRecord {
            id: id_bytes(self.id),
            epoch: self.epoch,
            previous_epochs: self.previous_epochs.clone(),
        }
    }

    fn from_record(record: &DirectoryRecord) -> Result<Self, String> {
        Ok(Self {
            id: read_id(&record.id)?,
            epoch: record.epoch,
            previous_epochs: record.previous_epochs.clone(),
        })
    }

    /// Those of a broker. Older versions told their ids alone, and what went for all of them.
    pub(super) fn all_of(record: &RegisterBrokerRecord) -> Result<Vec<Self>, String> {
        let of_older_versions = record.directory_ids.iter().map(|id| {
            Ok(Self {
                id: read_id(id)?,
                epoch: record.epoch,
                previous_epochs: record.previous_epochs.clone(),
            })
        });
        let directories = record.directories.iter().map(Self::from_record);
        of_older_versions.chain(directories).collect()
    }
}
