//! Tells the active controller how large the partitions are that this broker leads and what is written to and read
//! from them, how far it is with those that a reassignment brings, and how full its disk is. Rebalances go by that.

mod figures;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use foz_api::CallError;
use foz_api::v1::node_client::NodeClient;
use foz_api::v1::{PartitionCopy, PartitionLoad, ReportLoadRequest};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::broker::Broker;
use crate::disk_room::{AllRoom, disk_room};
use crate::partition::{Key, monotonic};
use figures::{Counted, Figures, LoadFigures};

const REPORT_EVERY: Duration = Duration::from_secs(10);
/// As many as the controller takes in one call.
const PARTITIONS_PER_CALL_MAX: usize = 10_000;
/// The next report comes all the same.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What is so now.
struct Look {
    led: Vec<(Key, Counted)>,
    copies: Vec<PartitionCopy>,
    /// `None`: not known.
    disks: Option<AllRoom>,
}

/// From when the broker is alive until `stop`.
pub(super) async fn report_load(broker: Arc<Broker>, stop: CancellationToken) {
    let mut alive = broker.alive.subscribe();
    tokio::select! {
        () = stop.cancelled() => return,
        alive = alive.wait_for(|alive| *alive) => if alive.is_err() { return },
    }
    let mut tick = tokio::time::interval(REPORT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut figures = LoadFigures::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            reported = report(&broker, &mut figures) => if let Err(error) = reported {
                debug!(%error, "the load was not told; it is with the next report");
            }
        }
    }
}

async fn report(broker: &Arc<Broker>, figures: &mut LoadFigures) -> Result<(), CallError> {
    let looking = Arc::clone(broker);
    // A disk that does not answer holds up nobody else.
    let Ok(look) = tokio::task::spawn_blocking(move || look(&looking)).await else {
        return Ok(());
    };
    figures.count(monotonic(), &look.led);
    let term = tell(broker, figures, &look).await?;
    // Another controller knows nothing of what was told before.
    if figures.heard_from(term) {
        tell(broker, figures, &look).await?;
    }
    Ok(())
}

/// Tells what differs; the term of the controller that took it.
async fn tell(broker: &Broker, figures: &mut LoadFigures, look: &Look) -> Result<i64, CallError> {
    let news = figures.news();
    let mut calls: Vec<&[(Key, Figures)]> = news.chunks(PARTITIONS_PER_CALL_MAX).collect();
    if calls.is_empty() {
        calls.push(&[]);
    }
    let mut term = 0;
    for part in calls {
        let request = ReportLoadRequest {
            node_id: broker.node_id,
            broker_epoch: broker.epoch(),
            partitions: part.iter().map(load).collect(),
            disk_bytes_total: look.disks.map_or(0, |it| it.together.bytes_total),
            disk_bytes_free: look.disks.map_or(0, |it| it.together.bytes_free),
            fullest_disk_bytes_total: look.disks.map_or(0, |it| it.fullest.bytes_total),
            fullest_disk_bytes_free: look.disks.map_or(0, |it| it.fullest.bytes_free),
            roomiest_disk_bytes_total: look.disks.map_or(0, |it| it.roomiest.bytes_total),
            roomiest_disk_bytes_free: look.disks.map_or(0, |it| it.roomiest.bytes_free),
            copies: look.copies.clone(),
        };
        let asking = broker.controllers.call(async |channel| {
            let mut request = tonic::Request::new(request.clone());
            request.set_timeout(ANSWER_MAX);
            let answer = NodeClient::new(channel).report_load(request).await?;
            Ok(answer.into_inner())
        });
        term = asking.await?.term;
        figures.told(part);
    }
    Ok(term)
}

fn load((key, figures): &(Key, Figures)) -> PartitionLoad {
    PartitionLoad {
        topic_id: key.0.as_bytes().to_vec(),
        index: key.1,
        bytes: long(figures.bytes),
        bytes_in_per_second: long(figures.bytes_in_per_second),
        bytes_out_per_second: long(figures.bytes_out_per_second),
    }
}

/// Sizes of logs are known in memory: nothing is looked for on the disk.
fn look(broker: &Broker) -> Look {
    let image = broker.image();
    let mut look = Look {
        led: Vec::new(),
        copies: Vec::new(),
        disks: all_room(broker),
    };
    for partition in broker.partitions.all() {
        let key = partition.key();
        let size_bytes = partition.size_bytes();
        if partition.led().is_some() {
            let traffic = partition.traffic();
            let counted = Counted {
                size_bytes: u64::try_from(size_bytes).unwrap_or_default(),
                appended_bytes: traffic.appended_bytes(),
                fetched_bytes: traffic.fetched_bytes(),
            };
            look.led.push((key, counted));
            continue;
        }
        let topic = image.topic_by_id(key.0);
        let known = topic.and_then(|topic| topic.partition(key.1));
        let is_new = known.is_some_and(|it| it.adding_replicas.contains(&broker.node_id));
        if is_new && look.copies.len() < PARTITIONS_PER_CALL_MAX {
            look.copies.push(PartitionCopy {
                topic_id: key.0.as_bytes().to_vec(),
                index: key.1,
                bytes: size_bytes,
            });
        }
    }
    look
}

/// Of the disks of all data directories, each once. `None` where one does not tell.
fn all_room(broker: &Broker) -> Option<AllRoom> {
    let mut disks = BTreeSet::new();
    let mut rooms = Vec::new();
    for directory in broker.partitions.directories().usable() {
        let path = directory.path();
        if disks.insert(std::fs::metadata(path).ok()?.dev()) {
            rooms.push(disk_room(path).ok()?);
        }
    }
    AllRoom::of(&rooms)
}

fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
