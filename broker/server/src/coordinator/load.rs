//! How a coordinator comes to know its groups.

use std::collections::BTreeSet;

use foz_groups::{Coordinator, Effect, GroupConfig, Loader};
use foz_metadata::Image;
use kafka_protocol::ResponseError;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::actor::{Clock, Led, Message};
use crate::blocking::blocking;

/// Replays the log; whoever asks meanwhile is told that loading is in progress. `None` when the
/// coordinator had to resign before it was done, or when the log cannot be read.
pub(super) async fn load(
    led: &Led,
    config: GroupConfig,
    messages: &mut mpsc::Receiver<Message>,
    clock: Clock,
) -> Option<Loaded> {
    let mut loading = Box::pin(replay(led.clone()));
    let mut topics_deleted = Vec::new();
    let loaded = loop {
        tokio::select! {
            loaded = &mut loading => break loaded,
            message = messages.recv() => match message? {
                Message::Ask(asked) => asked.refuse(ResponseError::CoordinatorLoadInProgress),
                Message::TopicsDeleted(names) => topics_deleted.extend(names.iter().cloned()),
            },
        }
    };
    let partition = led.partition.name();
    match loaded {
        Ok((loader, records)) => {
            let (coordinator, effects) = loader.finish(config, clock.now());
            if records > 0 {
                // Of these the last records are not committed yet.
                let groups_loading = coordinator.loading_count();
                info!(partition, records, groups_loading, "groups loaded");
            }
            Some(Loaded {
                coordinator,
                effects,
                topics_deleted,
            })
        }
        Err(reason) => {
            error!(partition, reason, "groups cannot be loaded");
            None
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
            if let Err(error) = replayed {
                warn!(%error, "a record of __consumer_offsets is skipped");
            }
        })?;
        Ok((loader, records))
    })
    .await
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
