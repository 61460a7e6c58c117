//! The topics of the cluster as consumer groups see them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foz_groups::{Topic, Topics};
use foz_metadata::{Changes, Image};
use uuid::Uuid;

/// Follows the image, at the cost of what has changed in it.
#[derive(Debug, Default)]
pub(super) struct TopicsView {
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    topics: Arc<Topics>,
    by_name: BTreeMap<Arc<str>, Topic>,
    /// Of brokers that have one.
    racks: BTreeMap<i32, String>,
}

impl TopicsView {
    /// The topics of the image; the same ones as before where nothing differs that groups go by. `changes` are
    /// those since the image before.
    pub(super) fn follow(&mut self, image: &Image, changes: &Changes) -> Arc<Topics> {
        let version = image.offset().cast_unsigned();
        let racks = racks_of(image);
        let Some(seen) = &mut self.seen else {
            let by_name = all(image);
            let topics = Arc::new(Topics::new(version, by_name.clone()));
            self.seen = Some(Seen {
                topics: Arc::clone(&topics),
                by_name,
                racks,
            });
            return topics;
        };
        let has_changed = if racks == seen.racks {
            update(&mut seen.by_name, image, changes)
        } else {
            seen.racks = racks;
            let by_name = all(image);
            let differs = by_name != seen.by_name;
            seen.by_name = by_name;
            differs
        };
        if has_changed {
            let by_name = seen.by_name.clone();
            seen.topics = Arc::new(seen.topics.followed_by(version, by_name));
        }
        Arc::clone(&seen.topics)
    }

    /// Nobody looks at it any longer.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }
}

/// Says whether anything differs.
fn update(by_name: &mut BTreeMap<Arc<str>, Topic>, image: &Image, changes: &Changes) -> bool {
    let mut has_changed = false;
    for (id, deleted) in &changes.topics_deleted {
        if by_name
            .get(&deleted.name)
            .is_some_and(|topic| topic.id == *id)
        {
            by_name.remove(&deleted.name);
            has_changed = true;
        }
    }
    let partitions_changed = changes.partitions_changed.iter();
    let ids: BTreeSet<Uuid> = partitions_changed
        .map(|(id, _)| *id)
        .chain(changes.topics_created.iter().copied())
        .collect();
    for topic in ids.into_iter().filter_map(|id| image.topic_by_id(id)) {
        let seen = seen_by_groups(image, topic);
        let before = by_name.insert(topic.name.clone(), seen);
        has_changed |= before != Some(seen);
    }
    has_changed
}

fn all(image: &Image) -> BTreeMap<Arc<str>, Topic> {
    let topics = image.topics();
    topics
        .map(|topic| (topic.name.clone(), seen_by_groups(image, topic)))
        .collect()
}

fn seen_by_groups(image: &Image, topic: &foz_metadata::image::Topic) -> Topic {
    let partitions = topic.partitions.iter().map(|partition| {
        let replicas = partition.replicas.iter();
        replicas
            .filter_map(|node_id| image.rack(*node_id))
            .collect()
    });
    let racks: Vec<Vec<&str>> = partitions.collect();
    Topic::new(&topic.name, topic.id, &racks)
}

fn racks_of(image: &Image) -> BTreeMap<i32, String> {
    let node_ids = image.brokers().map(|broker| broker.node_id);
    let racks = node_ids.filter_map(|node_id| Some((node_id, image.rack(node_id)?.to_owned())));
    racks.collect()
}

#[cfg(test)]
mod tests;
