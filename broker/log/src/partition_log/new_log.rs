//! What tests of this folder begin with.

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::PartitionLog;
use crate::{FileHandles, TopicPartition};

/// An empty log in `directory`, with the defaults.
pub(super) fn new_log(directory: &Path) -> PartitionLog {
    let handles = FileHandles::new(4);
    let partition = TopicPartition::new("t", 0);
    PartitionLog::create(
        directory,
        partition,
        Uuid::nil(),
        Arc::default(),
        &handles,
        0,
    )
    .unwrap()
}
