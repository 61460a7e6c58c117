//! How a coordinator comes to know its transactions.

use std::sync::atomic::Ordering;
use std::time::Instant;

use foz_transactions::{Coordinator, Effect, Loader, TransactionConfig};
use kafka_protocol::ResponseError;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::actor::{Asked, now};
use crate::blocking::blocking;
use crate::broker::Broker;
use crate::coordinator_log::{CoordinatorLog, by_type};
use crate::partition::{Content, ReplayedLog};

/// How a load ended.
pub(super) enum Load {
    Done(Box<Coordinator>, Vec<Effect>),
    /// The log, or a record in it, cannot be read.
    Failed,
    /// The coordinator had to resign first: this broker does not lead any longer, or in another epoch.
    Resigned,
}

/// Replays the log; whoever asks meanwhile is told that loading is in progress.
pub(super) async fn load(
    broker: &Broker,
    log: &CoordinatorLog,
    config: impl FnOnce() -> TransactionConfig,
    queue: &mut mpsc::Receiver<Asked>,
) -> Load {
    let began = Instant::now();
    let mut loading = Box::pin(replay(log.clone()));
    let loaded = loop {
        tokio::select! {
            loaded = &mut loading => break loaded,
            asked = queue.recv() => match asked {
                Some(asked) => asked.refuse(ResponseError::CoordinatorLoadInProgress),
                None => return Load::Resigned,
            },
        }
    };
    let (partition, leader_epoch) = (log.partition.name(), log.leader_epoch);
    match loaded {
        Ok((loader, replayed)) => {
            if !loader.skipped().is_empty() {
                let skipped = by_type(loader.skipped());
                warn!(
                    partition,
                    skipped,
                    "records of transactions are passed over: of types that are not known here"
                );
            }
            // After the last record: what came over those connections may be older than what the records say.
            let connections = broker.client_connections.load(Ordering::Acquire);
            let (coordinator, effects) = loader.finish(config(), leader_epoch, connections, now());
            let took = began.elapsed();
            broker
                .metrics
                .transactions
                .load_times
                .loaded(replayed, took);
            let ReplayedLog { records, bytes } = replayed;
            if records > 0 {
                // Of these the last records are not committed yet.
                let ids_loading = coordinator.loading_count();
                let took_ms = took.as_millis() as u64;
                info!(
                    partition,
                    records, bytes, took_ms, ids_loading, "transactions loaded"
                );
            }
            Load::Done(Box::new(coordinator), effects)
        }
        Err(reason) if log.partition.led() != Some(leader_epoch) => {
            info!(partition, reason, "transactions are not loaded");
            Load::Resigned
        }
        Err(reason) => {
            error!(
                partition,
                leader_epoch,
                reason,
                "transactions cannot be loaded: clients are told NOT_COORDINATOR until a broker that can read them \
                 leads the partition; what a later version wrote, that version reads"
            );
            Load::Failed
        }
    }
}

async fn replay(log: CoordinatorLog) -> Result<(Loader, ReplayedLog), String> {
    blocking(move || {
        let mut loader = Loader::new();
        let replayed = log.replay(|record| match record.content {
            Content::Record { key, value } if record.is_committed => loader.replay(key, value),
            Content::Record { key, value } => loader.replay_uncommitted(key, value),
            // Nobody writes in transactions here.
            Content::Marker { .. } => Ok(()),
        })?;
        Ok((loader, replayed))
    })
    .await
}
