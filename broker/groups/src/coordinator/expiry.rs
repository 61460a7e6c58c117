use std::collections::BTreeSet;
use std::sync::Arc;

use foz_protocol::batch::HEADER_LENGTH;

use super::{Coordinator, Deleted, Parts};
use crate::append::Change;
use crate::consumer::ConsumerGroup;
use crate::effect::Effect;
use crate::group::{Group, GroupState};
use crate::now::Now;
use crate::offsets::{OffsetAndMetadata, OffsetChange, OffsetKey};
use crate::record::offset_record;

/// Tombstones of offsets in one batch.
const REMOVALS_PER_BATCH_MAX: usize = 2_000;

/// What a tombstone takes in a batch besides names, at most.
const TOMBSTONE_FRAMING_BYTES: usize = 40;

impl Coordinator {
    /// Removes offsets older than `offsets.retention.minutes` and empty groups that have none left, unless a transaction that is
    /// open has one for them.
    /// To be called every `offsets.retention.check.interval.ms` (Kafka's default: 10 minutes).
    pub fn expire_offsets(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let retention_ms = self.config.offsets_retention_ms;
        let bytes_max = self.config.consumer.batch_bytes_max;
        // An offset that is being written is not old, whatever it replaces.
        let under_way = self.appends.offset_keys();
        let mut expired = Vec::new();
        let mut unused = Vec::new();
        let loaded = |group: &&Group| !self.loading.contains(&group.id);
        for group in self.groups.values().filter(loaded) {
            let mut keeps_some = under_way.iter().any(|key| key.group_id == group.id)
                || self.offsets.has_pending_of(&group.id);
            let expired_before = expired.len();
            for key in self.offsets.keys_of_group(&group.id) {
                let offset = self.offsets.get(&key.group_id, &key.topic, key.partition);
                let is_expired = offset.is_some_and(|offset| {
                    !under_way.contains(&key)
                        && !self.offsets.pending().contains(&key)
                        && !group.is_subscribed_to(&key.topic)
                        && has_expired(group, offset, now.wall_ms, retention_ms)
                });
                if is_expired {
                    expired.push(key);
                } else {
                    keeps_some = true;
                }
            }
            // A group goes in one batch with its last offsets, so that neither is left over when a
            // batch fails; one with too many for a batch goes the next time.
            let fits_in_batch = fits_with_group(&expired[expired_before..], bytes_max);
            if !keeps_some && group.is_vacant() && fits_in_batch {
                unused.push((group.id.clone(), expired.split_off(expired_before)));
            }
        }
        let loaded = |group: &&ConsumerGroup| !self.loading.contains(group.id());
        for group in self.consumer_groups.values().filter(loaded) {
            let mut keeps_some = under_way.iter().any(|key| key.group_id == *group.id())
                || self.offsets.has_pending_of(group.id());
            let expired_before = expired.len();
            for key in self.offsets.keys_of_group(group.id()) {
                let offset = self.offsets.get(&key.group_id, &key.topic, key.partition);
                let is_expired = offset.is_some_and(|offset| {
                    !under_way.contains(&key)
                        && !self.offsets.pending().contains(&key)
                        && !group.is_subscribed_to(&key.topic)
                        && is_old(
                            offset,
                            offset.commit_timestamp_ms,
                            now.wall_ms,
                            retention_ms,
                        )
                });
                if is_expired {
                    expired.push(key);
                } else {
                    keeps_some = true;
                }
            }
            let fits_in_batch = fits_with_group(&expired[expired_before..], bytes_max);
            if !keeps_some && group.members().is_empty() && fits_in_batch {
                unused.push((group.id().clone(), expired.split_off(expired_before)));
            }
        }
        self.append_removals(&expired, now, &mut effects);
        self.append_deletions(unused, now, &mut effects);
        effects
    }

    /// Removes what was committed for topics that are no more.
    pub fn on_topics_deleted(&mut self, topics: &[&str], now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut keys = self.appends.offset_keys();
        keys.extend(self.offsets.all_keys());
        let topics: BTreeSet<&str> = topics.iter().copied().collect();
        keys.retain(|key| topics.contains(&*key.topic));
        self.append_removals(&Vec::from_iter(keys), now, &mut effects);
        effects
    }

    fn append_removals(&mut self, keys: &[OffsetKey], now: Now, effects: &mut Vec<Effect>) {
        let mut turn = self.parts(now, effects).turn;
        let mut rest = keys;
        while !rest.is_empty() {
            let keys;
            (keys, rest) =
                rest.split_at(count_in_batch(rest, turn.config.consumer.batch_bytes_max));
            let changes: Vec<OffsetChange> = keys.iter().cloned().map(removal).collect();
            let records = changes.iter().map(offset_record).collect();
            turn.append(records, Change::Offsets(changes), Vec::new());
        }
    }

    fn append_deletions(
        &mut self,
        unused: Vec<(Arc<str>, Vec<OffsetKey>)>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Parts {
            groups,
            consumer_groups,
            mut turn,
            ..
        } = self.parts(now, effects);
        let mut records = Vec::new();
        let mut offsets = Vec::new();
        let mut deleted = Vec::new();
        let mut bytes = HEADER_LENGTH;
        for (group_id, keys) in unused {
            let bytes_added = bytes_with_group(&group_id, &keys);
            let is_full = records.len() + keys.len() >= REMOVALS_PER_BATCH_MAX
                || bytes + bytes_added > turn.config.consumer.batch_bytes_max;
            if is_full && !records.is_empty() {
                bytes = HEADER_LENGTH;
                let change = Change::Delete {
                    offsets: std::mem::take(&mut offsets),
                    groups: std::mem::take(&mut deleted),
                };
                turn.append(std::mem::take(&mut records), change, Vec::new());
            }
            bytes += bytes_added;
            let removals: Vec<OffsetChange> = keys.into_iter().map(removal).collect();
            records.extend(removals.iter().map(offset_record));
            offsets.extend(removals);
            let consumer = consumer_groups.remove(&group_id).map(Box::new);
            let classic = groups.remove(&group_id).map(Box::new);
            let group = consumer.map(Deleted::Consumer);
            if let Some(group) = group.or(classic.map(Deleted::Classic)) {
                records.extend(group.tombstones());
                deleted.push(group);
            }
        }
        if !records.is_empty() {
            turn.append(
                records,
                Change::Delete {
                    offsets,
                    groups: deleted,
                },
                Vec::new(),
            );
        }
    }
}

/// How many tombstones of offsets from the first on go in one batch; at least one, whatever its size.
fn count_in_batch(keys: &[OffsetKey], bytes_max: usize) -> usize {
    let mut bytes = HEADER_LENGTH;
    let fits = |key: &&OffsetKey| {
        bytes += bytes_of(key);
        bytes <= bytes_max
    };
    let count = keys
        .iter()
        .take(REMOVALS_PER_BATCH_MAX)
        .take_while(fits)
        .count();
    count.max(1)
}

/// Whether a group goes in one batch with its last offsets.
fn fits_with_group(keys: &[OffsetKey], bytes_max: usize) -> bool {
    let Some(key) = keys.first() else {
        return true;
    };
    keys.len() <= REMOVALS_PER_BATCH_MAX
        && HEADER_LENGTH + bytes_with_group(&key.group_id, keys) <= bytes_max
}

/// A group without members has up to two records.
fn bytes_with_group(group_id: &str, keys: &[OffsetKey]) -> usize {
    let of_group = 2 * (group_id.len() + TOMBSTONE_FRAMING_BYTES);
    of_group + keys.iter().map(bytes_of).sum::<usize>()
}

fn bytes_of(key: &OffsetKey) -> usize {
    key.group_id.len() + key.topic.len() + TOMBSTONE_FRAMING_BYTES
}

fn removal(key: OffsetKey) -> OffsetChange {
    OffsetChange { key, value: None }
}

/// KIP-211: the time counts from when the group became empty; where nothing is known of members
/// (consumers that assign themselves) or a living group no longer subscribes, from the commit.
fn has_expired(group: &Group, offset: &OffsetAndMetadata, now_ms: i64, retention_ms: i64) -> bool {
    let knows_topics = group.uses_consumer_protocol() && group.subscribed_topics.is_some();
    let base_ms = match group.state {
        _ if group.protocol_type.is_none() => offset.commit_timestamp_ms,
        GroupState::Empty => group
            .state_timestamp_ms
            .unwrap_or(offset.commit_timestamp_ms),
        GroupState::Stable if knows_topics => offset.commit_timestamp_ms,
        _ => return false,
    };
    is_old(offset, base_ms, now_ms, retention_ms)
}

fn is_old(offset: &OffsetAndMetadata, base_ms: i64, now_ms: i64, retention_ms: i64) -> bool {
    match offset.expire_timestamp_ms {
        Some(expire_timestamp_ms) => now_ms >= expire_timestamp_ms,
        None => now_ms.saturating_sub(base_ms) >= retention_ms,
    }
}
