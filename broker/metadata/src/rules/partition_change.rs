//! A change of one partition: the one place that keeps ISR, ELR, leader and epochs in step (KIP-966).
//!
//! A rule says who leaves, who joins, who lost data or a whole disk; what follows from that is worked out
//! here:
//!
//! * A leader is a member of the ISR; there is none exactly when the ISR is empty.
//! * A member whose disk has no room leads only while nobody in the ISR has room. It leaves the ISR where those with
//!   room have the minimum without it: it could not take what is written, and others would wait for it. Where they do
//!   not, nothing could be acknowledged without it, and it stays with its copy of what was.
//! * While the ISR has its minimum of members (or more), `elr` and `last_known_elr` are empty. Below it nothing
//!   is acknowledged, so whoever leaves the ISR goes on having everything that was: it joins the ELR, until
//!   it loses data or the ISR has its minimum again.
//! * When the ISR becomes empty, `last_known_elr` names the last leader, until that loses its disk. A single
//!   replica stays named all the same: what it has is all there is. When the last leader has no replica any more, an
//!   eligible one is named in its place.
//! * A replica whose broker cannot use its log is `offline`: it leaves the ISR and the ELR, and leads nothing, until its
//!   broker registers anew and can. It lost no more than the end of what it had, so it stays the last leader.
//! * Who is new to the partition, or lost its disk, is in `never_in_sync` until it is in the ISR.
//! * A reassignment is complete, whatever the change was made for, as soon as all replicas of its target are in
//!   sync (KIP-455), see `reassignment.rs`.
//! * The leader epoch grows by one when the leader changes, also to none, and when a replica is taken away: what a
//!   leader knows of that one must not count for a later replica on the same node. The partition epoch grows with
//!   every change.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::draft::Draft;
use super::election::{Elected, elect};
use super::min_insync::{
    allows_unclean_election, min_insync_replicas, min_insync_replicas_of_deleted,
    partition_min_insync,
};
use super::reassignment::{Reassigned, complete};
use crate::image::{DeletedTopic, Image, NO_LEADER, Partition, Topic};
use crate::record::{Fact, NodeIds, PartitionChangeRecord, id_bytes};

/// Of which partition: the topic's id and name, and the partition's number.
pub(super) type Replica<'a> = (Uuid, &'a str, i32);

/// What the configs of a topic say to its partitions.
#[derive(Debug, Clone, Copy)]
pub(super) struct TopicSettings {
    topic_id: Uuid,
    min_insync_replicas: usize,
    allows_unclean_election: bool,
}

impl TopicSettings {
    pub(super) fn of(image: &Image, properties: &BTreeMap<String, String>, topic: &Topic) -> Self {
        Self {
            topic_id: topic.id,
            min_insync_replicas: min_insync_replicas(image, topic),
            allows_unclean_election: allows_unclean_election(image, properties, topic),
        }
    }

    /// As above, where only what the metadata says counts.
    pub(super) fn in_metadata(image: &Image, topic: &Topic) -> Self {
        Self::of(image, &BTreeMap::new(), topic)
    }

    /// Nobody is elected while a topic is deleted.
    pub(super) fn of_deleted(image: &Image, deleted: &DeletedTopic) -> Self {
        Self {
            topic_id: deleted.topic.id,
            min_insync_replicas: min_insync_replicas_of_deleted(image, deleted),
            allows_unclean_election: false,
        }
    }

    pub(super) fn allows_unclean_election(&self) -> bool {
        self.allows_unclean_election
    }

    /// Of the topic, however many replicas a partition has.
    pub(super) fn min_insync_replicas(&self) -> usize {
        self.min_insync_replicas
    }

    pub(super) fn with_unclean_election(self) -> Self {
        Self {
            allows_unclean_election: true,
            ..self
        }
    }
}

#[derive(Debug)]
pub(super) struct PartitionChange<'a> {
    settings: TopicSettings,
    index: i32,
    before: &'a Partition,
    after: Partition,
    /// They may have lost some of what they had.
    lost: Vec<i32>,
    /// They may have lost all.
    lost_disks: Vec<i32>,
    has_new_epoch: bool,
    has_new_leader_epoch: bool,
}

impl<'a> PartitionChange<'a> {
    pub(super) fn new(settings: TopicSettings, index: i32, before: &'a Partition) -> Self {
        Self {
            settings,
            index,
            before,
            after: before.clone(),
            lost: Vec::new(),
            lost_disks: Vec::new(),
            has_new_epoch: false,
            has_new_leader_epoch: false,
        }
    }

    /// A member of the ISR is out of sync from now on.
    pub(super) fn leaves_isr(&mut self, node_id: i32) {
        self.after.isr.retain(|member| *member != node_id);
    }

    /// As above, where another member stays that may lead.
    pub(super) fn leaves_isr_to_others(&mut self, image: &Image, node_id: i32) {
        let mut others = self.after.isr.iter().filter(|member| **member != node_id);
        if others.any(|member| image.can_lead(*member)) {
            self.leaves_isr(node_id);
        }
    }

    /// A replica may have lost the end of what it had.
    pub(super) fn lost_data(&mut self, node_id: i32) {
        self.leaves_isr(node_id);
        self.lost.push(node_id);
    }

    /// A replica may have lost all that it had.
    pub(super) fn lost_disk(&mut self, node_id: i32) {
        self.lost_data(node_id);
        self.lost_disks.push(node_id);
    }

    /// A replica cannot be used. It may come back, without the end of what it had.
    pub(super) fn goes_offline(&mut self, node_id: i32) {
        self.lost_data(node_id);
        if !self.after.offline.contains(&node_id) {
            self.after.offline.push(node_id);
            self.after.offline.sort_unstable();
        }
    }

    /// A replica can be used again, whatever it has.
    pub(super) fn comes_back(&mut self, node_id: i32) {
        self.after.offline.retain(|id| *id != node_id);
    }

    pub(super) fn set_isr(&mut self, isr: Vec<i32>) {
        self.after.isr = isr;
    }

    pub(super) fn set_replicas(&mut self, replicas: Vec<i32>) {
        self.after.replicas = replicas;
    }

    /// A reassignment begins, gets another target or is cancelled. Who has no replica any more leaves the ISR. It is
    /// no rebalance's, whoever began what was under way.
    pub(super) fn reassign(&mut self, reassigned: Reassigned) {
        self.after.rebalance_id = 0;
        self.after.replicas = reassigned.replicas;
        self.after.adding_replicas = reassigned.adding;
        self.after.removing_replicas = reassigned.removing;
        let replicas = &self.after.replicas;
        self.after.isr.retain(|id| replicas.contains(id));
        self.after.offline.retain(|id| replicas.contains(id));
    }

    /// The reassignment under way is of that rebalance; 0: of none.
    pub(super) fn moved_by(&mut self, rebalance_id: i64) {
        self.after.rebalance_id = rebalance_id;
    }

    /// The partition epoch grows also when nothing else is different.
    pub(super) fn new_epoch(&mut self) {
        self.has_new_epoch = true;
    }

    pub(super) fn settings(&self) -> TopicSettings {
        self.settings
    }

    /// The leader epoch grows also when the leader stays.
    pub(super) fn new_leader_epoch(&mut self) {
        self.has_new_epoch = true;
        self.has_new_leader_epoch = true;
    }

    /// Who should lead when the preferred leader can.
    pub(super) fn prefer(&mut self, node_id: i32) {
        self.after.leader = node_id;
    }

    /// As above, where it is the preferred leader, and in sync.
    pub(super) fn prefer_if_in_sync(&mut self, node_id: i32) {
        if self.after.preferred_leader() == node_id && self.after.isr.contains(&node_id) {
            self.prefer(node_id);
        }
    }

    /// Ends the change: elects by what `image` says of the brokers. `None`: nothing is different.
    pub(super) fn end(mut self, image: &Image) -> Option<PartitionChangeRecord> {
        self.complete_reassignment(image);
        self.settle(image);
        // An election may have made an ISR of one that is all that the target wants.
        if self.complete_reassignment(image) {
            self.settle(image);
        }
        self.into_record()
    }

    /// Ends the change of a partition whose topic is deleted: nobody is elected, and no reassignment goes on. While all
    /// that were in sync still have what they had, it names the last leader.
    pub(super) fn end_of_deleted(mut self) -> Option<PartitionChangeRecord> {
        self.keep_eligible();
        self.keep_last_leader();
        self.keep_never_in_sync();
        if !self.after.isr.contains(&self.after.leader) {
            self.after.leader = NO_LEADER;
        }
        self.into_record()
    }

    fn complete_reassignment(&mut self, image: &Image) -> bool {
        let completed = complete(image, &self.after, self.settings.min_insync_replicas);
        let is_complete = completed.is_some();
        if let Some(completed) = completed {
            let is_of_rebalance = self.after.rebalance_id != 0;
            self.reassign(completed);
            // The plan counted on who leads, too.
            let preferred = self.after.preferred_leader();
            if is_of_rebalance && image.can_take_over(preferred) {
                self.prefer(preferred);
            }
        }
        is_complete
    }

    /// Works out what follows from replicas and ISR.
    fn settle(&mut self, image: &Image) {
        self.leave_isr_to_who_has_room(image);
        self.keep_eligible();
        self.keep_last_leader();
        self.keep_never_in_sync();
        let elected = elect(image, &self.after, self.settings.allows_unclean_election);
        self.after.leader = elected.leader();
        match elected {
            Elected::InSync(_) | Elected::Nobody => {}
            Elected::Eligible(node_id) => {
                self.after.isr = vec![node_id];
                self.keep_eligible();
            }
            Elected::Unclean(node_id) => {
                // What the others have is not what this one has.
                self.after.isr = vec![node_id];
                self.after.elr.clear();
            }
        }
        if !self.after.isr.is_empty() {
            self.after.last_known_elr.clear();
        }
        self.keep_never_in_sync();
    }

    fn leave_isr_to_who_has_room(&mut self, image: &Image) {
        let is_short = |id: i32| image.broker(id).is_some_and(|broker| broker.short_of_space);
        let min_insync = partition_min_insync(self.settings.min_insync_replicas, &self.after);
        let isr = &mut self.after.isr;
        if isr.iter().filter(|id| image.can_take_over(**id)).count() >= min_insync {
            isr.retain(|id| !is_short(*id));
        }
    }

    fn keep_eligible(&mut self) {
        let min_insync = partition_min_insync(self.settings.min_insync_replicas, &self.after);
        let (before, isr, lost) = (self.before, &self.after.isr, &self.lost);
        self.after.elr = if isr.len() >= min_insync {
            Vec::new()
        } else {
            let had_all = |id: &i32| before.isr.contains(id) || before.elr.contains(id);
            let replicas = self.after.replicas.iter().copied();
            replicas
                .filter(|id| had_all(id) && !isr.contains(id) && !lost.contains(id))
                .collect()
        };
    }

    fn keep_last_leader(&mut self) {
        if self.after.isr.is_empty()
            && let Some(first) = self.before.isr.first()
        {
            let leader = match self.before.leader {
                NO_LEADER => *first,
                leader => leader,
            };
            self.after.last_known_elr = vec![leader];
        }
        let was_known = !self.after.last_known_elr.is_empty();
        let replicas = &self.after.replicas;
        self.after.last_known_elr.retain(|id| replicas.contains(id));
        if was_known && self.after.last_known_elr.is_empty() {
            // A cancelled reassignment took it away. An eligible replica has as much.
            self.after.last_known_elr = self.after.elr.iter().take(1).copied().collect();
        }
        if self.after.replicas.len() > 1 {
            let lost_disks = &self.lost_disks;
            self.after
                .last_known_elr
                .retain(|id| !lost_disks.contains(id));
        }
    }

    fn keep_never_in_sync(&mut self) {
        let (before, after, lost_disks) = (self.before, &self.after, &self.lost_disks);
        let goes_on = |id: &i32| after.replicas.contains(id) && !lost_disks.contains(id);
        let begins = |id: &i32| !before.replicas.contains(id) || lost_disks.contains(id);
        let longer = before.never_in_sync.iter().copied().filter(goes_on);
        let newly = after.replicas.iter().copied().filter(begins);
        let never_in_sync = longer.chain(newly).filter(|id| !after.isr.contains(id));
        self.after.never_in_sync = never_in_sync.collect();
    }

    fn into_record(self) -> Option<PartitionChangeRecord> {
        let Self {
            settings,
            index,
            before,
            after,
            has_new_epoch,
            has_new_leader_epoch,
            ..
        } = self;
        let changed =
            |before: &Vec<i32>, after: Vec<i32>| (*before != after).then(|| NodeIds::from(after));
        let leader = (before.leader != after.leader).then_some(after.leader);
        let takes_away = before
            .replicas
            .iter()
            .any(|id| !after.replicas.contains(id));
        let has_new_leader_epoch = has_new_leader_epoch || leader.is_some() || takes_away;
        let replicas = changed(&before.replicas, after.replicas);
        let isr = changed(&before.isr, after.isr);
        let elr = changed(&before.elr, after.elr);
        let last_known_elr = changed(&before.last_known_elr, after.last_known_elr);
        let never_in_sync = changed(&before.never_in_sync, after.never_in_sync);
        let adding_replicas = changed(&before.adding_replicas, after.adding_replicas);
        let removing_replicas = changed(&before.removing_replicas, after.removing_replicas);
        let offline = changed(&before.offline, after.offline);
        let rebalance_id =
            (before.rebalance_id != after.rebalance_id).then_some(after.rebalance_id);
        let lists = [
            &replicas,
            &isr,
            &elr,
            &last_known_elr,
            &never_in_sync,
            &adding_replicas,
            &removing_replicas,
            &offline,
        ];
        let is_same =
            leader.is_none() && rebalance_id.is_none() && lists.iter().all(|list| list.is_none());
        if is_same && !has_new_epoch {
            return None;
        }
        Some(PartitionChangeRecord {
            topic_id: id_bytes(settings.topic_id),
            index,
            partition_epoch: before.partition_epoch + 1,
            leader,
            leader_epoch: has_new_leader_epoch.then(|| before.leader_epoch + 1),
            replicas,
            isr,
            elr,
            last_known_elr,
            never_in_sync,
            adding_replicas,
            removing_replicas,
            rebalance_id,
            offline,
        })
    }
}

/// Changes every partition that `node_id` holds a replica of, and elects again by what `image` says of the
/// brokers.
pub(super) fn change_partitions_on(
    draft: &mut Draft,
    image: &Image,
    node_id: i32,
    change: impl Fn(&mut PartitionChange<'_>),
) {
    change_replicas_on(draft, image, node_id, |changed, _, _| change(changed));
}

/// As above, where it depends on the partition what changes.
pub(super) fn change_replicas_on(
    draft: &mut Draft,
    image: &Image,
    node_id: i32,
    change: impl Fn(&mut PartitionChange<'_>, Replica<'_>, &Partition),
) {
    let topics = draft.image().topics_on(node_id);
    change_partitions(draft, image, topics, |changed, replica, partition| {
        let is_on_node = partition.replicas.contains(&node_id);
        if is_on_node {
            change(changed, replica, partition);
        }
        is_on_node
    });
}

/// Changes the partitions of `topics` for which `change` says true.
pub(super) fn change_partitions(
    draft: &mut Draft,
    image: &Image,
    topics: Vec<Arc<Topic>>,
    change: impl Fn(&mut PartitionChange<'_>, Replica<'_>, &Partition) -> bool,
) {
    for topic in topics {
        let settings = TopicSettings::in_metadata(image, &topic);
        for (index, partition) in topic.indexed_partitions() {
            let mut changed = PartitionChange::new(settings, index, partition);
            if change(&mut changed, (topic.id, &topic.name, index), partition)
                && let Some(record) = changed.end(image)
            {
                draft.write(Fact::PartitionChange(record));
            }
        }
    }
}
