//! What must hold in the model, whatever happened.

use foz_metadata::image::{NO_LEADER, Partition};

use super::{TOPIC, World, at, common_prefix, id, min_insync};

impl World {
    /// What must hold of every change of the partition. A leader that is elected uncleanly decides what counts
    /// from then on.
    pub(super) fn check_change(&mut self) {
        let [.., before, after] = &self.history[..] else {
            return;
        };
        let of_both = before.partition(TOPIC, 0).zip(after.partition(TOPIC, 0));
        let Some((was, is)) = of_both.map(|(was, is)| (was.clone(), is.clone())) else {
            return;
        };
        for new in is.replicas.iter().filter(|id| !was.replicas.contains(id)) {
            self.nodes[at(*new)].may_lack_all = true;
        }
        if is.leader != was.leader && is.leader != NO_LEADER {
            let is_clean = !was.isr.is_empty() || was.elr.contains(&is.leader);
            if !is_clean {
                self.check_unclean(&was, &is);
            }
        }
        for member in &is.isr {
            let member = &mut self.nodes[at(*member)];
            (member.may_lack_all, member.lost_as_single) = (false, false);
        }
    }

    fn check_unclean(&mut self, was: &Partition, is: &Partition) {
        let elected = &self.nodes[at(is.leader)];
        let left = common_prefix(elected.log_or_what_failed(), &self.acknowledged);
        let what = format!(
            "{was:?} {is:?}: {:?} of {:?}",
            elected.log, self.acknowledged
        );
        if !self.is_by_will {
            assert_eq!(
                was.last_known_elr,
                [is.leader],
                "nobody asked for it: {what}"
            );
            assert!(!elected.may_lack_all, "without its disk: {what}");
            let keeps = elected.keeps.unwrap_or(usize::MAX);
            assert!(left >= keeps.min(self.acknowledged.len()), "{what}");
            let is_bearable = self.lost.len() < self.bearable_below;
            assert!(!is_bearable || left == self.acknowledged.len(), "{what}");
        } else {
            let has_more = |id: &i32| {
                self.image().can_lead(*id)
                    && !self.nodes[at(*id)].may_lack_all
                    && !self.nodes[at(*id)].lost_as_single
                    && !was.offline.contains(id)
            };
            let could_have_more = was.replicas.iter().any(has_more);
            assert!(!elected.may_lack_all || !could_have_more, "{what}");
            self.is_unaware = Some(at(is.leader));
        }
        self.acknowledged.truncate(left);
        self.unclean_epoch = is.leader_epoch;
        self.bearable_below = 1;
    }

    /// What must hold after every step.
    pub(super) fn check(&mut self) {
        let Some(partition) = self.image().partition(TOPIC, 0).cloned() else {
            return;
        };
        if let Some(node) = self.is_unaware {
            let left = common_prefix(self.nodes[node].log_or_what_failed(), &self.acknowledged);
            self.acknowledged.truncate(left);
            let seen = self.seen(node);
            if seen.is_some_and(|seen| seen.leader_epoch >= self.unclean_epoch) {
                self.is_unaware = None;
            }
        }
        let (isr, elr) = (&partition.isr, &partition.elr);
        let mut counted_on = isr.iter().chain(elr);
        assert!(
            !counted_on.any(|id| partition.offline.contains(id)),
            "{partition:?}"
        );
        let min_insync = min_insync(self.image(), &partition);
        let is_intact = |node_id: &i32| self.nodes[at(*node_id)].is_intact;
        if isr.iter().copied().filter(is_intact).count() >= min_insync {
            let (nodes, image) = (&self.nodes, self.history.last().unwrap());
            self.lost.retain(|node| {
                let node_id = id(*node);
                // As long as nobody has noticed, a leader may let it in again.
                let may_join = partition.replicas.contains(&node_id) && image.can_lead(node_id);
                let counts = isr.contains(&node_id) || elr.contains(&node_id) || may_join;
                counts && !nodes[*node].is_intact
            });
            self.bearable_below = min_insync;
        }
        self.bearable_below = self.bearable_below.min(min_insync);
        for node_id in isr.iter().chain(elr) {
            let node = &mut self.nodes[at(*node_id)];
            assert!(
                !node.is_intact || node.log.starts_with(&self.acknowledged),
                "broker {node_id} of {partition:?} has {:?} of {:?}",
                node.log,
                self.acknowledged
            );
            if node.is_intact {
                node.keeps = None;
            }
        }
        if partition.leader != NO_LEADER {
            assert!(partition.isr.contains(&partition.leader));
        }
    }
}
