//! How a coordinator comes to know its groups.

use std::collections::{BTreeMap, BTreeSet};

use foz_groups::{Coordinator, Effect, GroupConfig, Loader};
use foz_metadata::Image;
use kafka_protocol::ResponseError;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::actor::{Clock, Led, Message};
use crate::blocking::blocking;

/// How a load ended.
pub(super) enum Load {
    Done(Box<Loaded>),
    /// The log, or a record in it, cannot be read.
    Failed,
    /// The coordinator had to resign first: this broker does not lead any longer, or in another epoch.
    Resigned,
}

/// Replays the log; whoever asks meanwhile is told that loading is in progress.
pub(super) async fn load(
    led: &Led,
    config: GroupConfig,
    messages: &mut mpsc::Receiver<Message>,
    clock: Clock,
) -> Load {
    let mut loading = Box::pin(replay(led.clone()));
    let mut topics_deleted = Vec::new();
    let loaded = loop {
        tokio::select! {
            loaded = &mut loading => break loaded,
            message = messages.recv() => match message {
                Some(Message::Ask(asked)) => asked.refuse(ResponseError::CoordinatorLoadInProgress),
                Some(Message::TopicsDeleted(names)) => topics_deleted.extend(names.iter().cloned()),
                None => return Load::Resigned,
            },
        }
    };
    let partition = led.partition.name();
    match loaded {
        Ok((loader, records)) => {
            if !loader.skipped().is_empty() {
                let skipped = counts(loader.skipped());
                warn!(
                    partition,
                    skipped,
                    "records of groups are passed over: groups of kinds that are not kept here"
                );
            }
            let (coordinator, effects) = loader.finish(config, clock.now());
            if records > 0 {
                // Of these the last records are not committed yet.
                let groups_loading = coordinator.loading_count();
                info!(partition, records, groups_loading, "groups loaded");
            }
            Load::Done(Box::new(Loaded {
                coordinator,
                effects,
                topics_deleted,
            }))
        }
        Err(reason) if led.partition.led() != Some(led.leader_epoch) => {
            info!(partition, reason, "groups are not loaded");
            Load::Resigned
        }
        Err(reason) => {
            error!(
                partition,
                leader_epoch = led.leader_epoch,
                reason,
                "groups cannot be loaded: clients are told NOT_COORDINATOR until a broker that can read them \
                 leads the partition; what a later version wrote, that version reads"
            );
            Load::Failed
        }
    }
}

/// A coordinator that can begin.
pub(super) struct Loaded {
    pub(super) coordinator: Coordinator,
    pub(super) effects: Vec<Effect>,
    /// While it was being loaded.
    pub(super) topics_deleted: Vec<String>,
}

/// Reads all that is in the partition, up to the end of its log, and how many records that were. To wait
/// until all is committed could take for ever: too few replicas may be in sync.
async fn replay(led: Led) -> Result<(Loader, usize), String> {
    blocking(move || {
        let mut loader = Loader::new();
        let records = led.partition.replay(led.leader_epoch, |record| {
            let replayed = if record.is_committed {
                loader.replay(record.key, record.value)
            } else {
                loader.replay_uncommitted(record.key, record.value)
            };
            replayed.map_err(|error| {
                let offset = record.offset;
                format!("the record at offset {offset} cannot be read: {error}")
            })
        })?;
        Ok((loader, records))
    })
    .await
}

fn counts(skipped: &BTreeMap<i16, usize>) -> String {
    let counts = skipped.iter();
    let counts = counts.map(|(record_type, count)| format!("{count} of type {record_type}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Topics whose offsets are to be forgotten: those that were deleted while nobody coordinated the
/// groups, which `image` from when the load began does not know, and those `deleted` since.
pub(super) fn gone_topics(
    coordinator: &Coordinator,
    image: &Image,
    deleted: &[String],
) -> BTreeSet<String> {
    let committed = coordinator.committed_topics().into_iter();
    committed
        .filter(|name| image.topic(name).is_none())
        .map(ToOwned::to_owned)
        .chain(deleted.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_over_is_told_by_type() {
        let skipped = BTreeMap::from([(10, 2), (3, 1)]);
        assert_eq!(counts(&skipped), "1 of type 3, 2 of type 10");
    }
}
