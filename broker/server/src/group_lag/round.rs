use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use foz_groups::{CommittedOffsets, GroupOffsets, LeftOut, PartitionEnd, PartitionLag};
use foz_metadata::Image;
use foz_metadata::image::NO_LEADER;
use futures::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use uuid::Uuid;

use super::ends::{KnownEnds, Wanted, ask_for_ends};
use crate::broker::Broker;
use crate::handlers::leadership::LedIn;
use crate::partition::monotonic_ms;

/// A coordinator that has not answered by then is left out of the round.
const COMMITTED_MAX: Duration = Duration::from_secs(1);
/// What leaders tell later is nothing to anybody: others' lag does not wait for it, and the next round comes.
const ENDS_MAX: Duration = Duration::from_secs(2);
/// Two series each, of some hundred bytes each: a page of four megabytes, and of 33 where names are as long as they may be.
const OFFSETS_MAX: usize = 20_000;

/// When the round began that there was not.
pub(super) const NEVER: i64 = i64::MIN;

/// What was found at one time.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) began_ms: i64,
    pub(super) coordinators: Vec<CoordinatorLags>,
}

/// The groups of one coordinator.
#[derive(Debug)]
pub(super) struct CoordinatorLags {
    /// They count for as long as this broker leads in that epoch.
    pub(super) led: LedIn,
    pub(super) groups: Vec<GroupLag>,
    pub(super) left_out: LeftOut,
}

#[derive(Debug)]
pub(super) struct GroupLag {
    pub(super) group_id: Arc<str>,
    pub(super) partitions: Vec<PartitionLag>,
}

impl Default for Round {
    fn default() -> Self {
        Self {
            began_ms: NEVER,
            coordinators: Vec::new(),
        }
    }
}

impl Round {
    /// Asks coordinators first, then leaders: an end is not older than the offset that it is compared with, unless its leader did
    /// not answer this time.
    pub(super) async fn go(broker: &Arc<Broker>, known: &mut KnownEnds) -> Self {
        let began_ms = monotonic_ms();
        let mut committed = committed_offsets(broker).await;
        let image = broker.image();
        for (_, committed) in &mut committed {
            committed.retain_existing(|name| {
                let topic = image.topic(name)?;
                Some((topic.id, topic.partitions.len() as i32))
            });
        }
        let mut of_all: Vec<_> = committed.iter_mut().map(|(_, it)| it).collect();
        CommittedOffsets::limit(&mut of_all, OFFSETS_MAX);
        let wanted = wanted(&image, committed.iter().flat_map(|(_, it)| &it.groups));
        known.retain(&wanted);
        let deadline = Instant::now() + ENDS_MAX;
        let asked_ms = monotonic_ms();
        for (topic_id, partition, offset) in ask_for_ends(broker, &image, &wanted, deadline).await {
            known.told(topic_id, partition, offset, asked_ms);
        }
        let took_ms = monotonic_ms() - began_ms;
        debug!(
            partitions = known.len(),
            took_ms, "looked for the lag of groups"
        );
        let coordinators = committed
            .into_iter()
            .map(|(led, committed)| CoordinatorLags {
                led,
                groups: lags(committed.groups, known, asked_ms),
                left_out: committed.left_out,
            });
        Self {
            began_ms,
            coordinators: coordinators.collect(),
        }
    }
}

async fn committed_offsets(broker: &Broker) -> Vec<(LedIn, CommittedOffsets)> {
    let deadline = Instant::now() + COMMITTED_MAX;
    let answered = |answer: oneshot::Receiver<CommittedOffsets>| timeout_at(deadline, answer);
    let asked = broker
        .coordinators
        .committed_offsets(OFFSETS_MAX)
        .into_iter();
    let asked = asked.map(|(led, answer)| async move {
        let committed = answered(answer).await.ok()?.ok()?;
        Some((led, committed))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// By leader.
fn wanted<'a>(
    image: &Image,
    groups: impl Iterator<Item = &'a GroupOffsets>,
) -> BTreeMap<i32, Vec<Wanted>> {
    let offsets = groups.flat_map(|group| &group.offsets);
    let partitions: BTreeSet<(Uuid, i32)> = offsets.map(|it| (it.topic_id, it.partition)).collect();
    let mut by_leader: BTreeMap<i32, Vec<Wanted>> = BTreeMap::new();
    for (topic_id, index) in partitions {
        let Some(topic) = image.topic_by_id(topic_id) else {
            continue;
        };
        let leader = topic.partition(index).map_or(NO_LEADER, |it| it.leader);
        let wanted = by_leader.entry(leader).or_default();
        match wanted.last_mut() {
            Some(last) if last.topic_id == topic_id => last.partitions.push(index),
            _ => wanted.push(Wanted {
                topic: Arc::clone(&topic.name),
                topic_id,
                partitions: vec![index],
            }),
        }
    }
    by_leader
}

fn lags(groups: Vec<GroupOffsets>, known: &KnownEnds, asked_ms: i64) -> Vec<GroupLag> {
    let groups = groups.into_iter().map(|group| {
        let offsets = group.offsets.into_iter();
        let partitions = offsets.map(|committed| {
            let end = known.end(committed.topic_id, committed.partition);
            // What an earlier round was told says nothing of a group that has gone beyond it since.
            let tells =
                |end: &PartitionEnd| end.asked_ms >= asked_ms || end.offset >= committed.offset;
            PartitionLag {
                end: end.filter(tells),
                committed,
            }
        });
        GroupLag {
            group_id: group.group_id,
            partitions: partitions.collect(),
        }
    });
    groups.collect()
}
