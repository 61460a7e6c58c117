//! How a coordinator comes to know its groups.

use std::collections::BTreeSet;
use std::time::Instant;

use foz_groups::{Coordinator, Effect, GroupConfig, Loader};
use foz_metadata::Image;
use kafka_protocol::ResponseError;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::actor::{Clock, Message};
use crate::blocking::blocking;
use crate::coordinator_log::{CoordinatorLog, LoadTimes, by_type};
use crate::partition::{Content, Replayed, ReplayedLog};

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
    log: &CoordinatorLog,
    config: GroupConfig,
    messages: &mut mpsc::Receiver<Message>,
    clock: Clock,
    load_times: &LoadTimes,
) -> Load {
    let began = Instant::now();
    let mut loading = Box::pin(replay(log.clone()));
    let mut topics_deleted = Vec::new();
    let loaded = loop {
        tokio::select! {
            loaded = &mut loading => break loaded,
            message = messages.recv() => match message {
                Some(Message::Ask(asked)) => asked.refuse(ResponseError::CoordinatorLoadInProgress),
                // Nobody knows yet.
                Some(Message::CommittedOffsets { .. }) => {}
                Some(Message::TopicsDeleted(names)) => topics_deleted.extend(names.iter().cloned()),
                None => return Load::Resigned,
            },
        }
    };
    let partition = log.partition.name();
    match loaded {
        Ok((loader, replayed)) => {
            if !loader.skipped().is_empty() {
                let skipped = by_type(loader.skipped());
                warn!(
                    partition,
                    skipped,
                    "records of groups are passed over: groups of kinds that are not kept here"
                );
            }
            let (coordinator, effects) = loader.finish(config, clock.now());
            let took = began.elapsed();
            load_times.loaded(replayed, took);
            let ReplayedLog { records, bytes } = replayed;
            if records > 0 {
                // Of these the last records are not committed yet.
                let groups_loading = coordinator.loading_count();
                let took_ms = took.as_millis() as u64;
                info!(
                    partition,
                    records, bytes, took_ms, groups_loading, "groups loaded"
                );
            }
            Load::Done(Box::new(Loaded {
                coordinator,
                effects,
                topics_deleted,
            }))
        }
        Err(reason) if log.partition.led() != Some(log.leader_epoch) => {
            info!(partition, reason, "groups are not loaded");
            Load::Resigned
        }
        Err(reason) => {
            error!(
                partition,
                leader_epoch = log.leader_epoch,
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

async fn replay(log: CoordinatorLog) -> Result<(Loader, ReplayedLog), String> {
    blocking(move || {
        let mut loader = Loader::new();
        let replayed = log.replay(|record| {
            let Replayed {
                is_committed,
                transaction_of,
                content,
                ..
            } = record;
            match content {
                Content::Record { key, value } if is_committed => {
                    loader.replay(transaction_of, key, value)
                }
                Content::Record { key, value } => {
                    loader.replay_uncommitted(transaction_of, key, value)
                }
                Content::Marker { is_commit } => {
                    end_transaction(&mut loader, transaction_of, is_committed, is_commit);
                    Ok(())
                }
            }
        })?;
        Ok((loader, replayed))
    })
    .await
}

fn end_transaction(
    loader: &mut Loader,
    transaction_of: Option<i64>,
    is_committed: bool,
    is_commit: bool,
) {
    match transaction_of {
        Some(producer_id) if is_committed => loader.end_transaction(producer_id, is_commit),
        Some(producer_id) => loader.end_transaction_uncommitted(producer_id, is_commit),
        None => {}
    }
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
