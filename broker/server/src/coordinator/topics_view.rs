//! The topics of the cluster as consumer groups see them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foz_groups::{Topic, Topics};
use foz_metadata::{Changes, Image};

/// Follows the image, at the cost of what has changed in it.
#[derive(Debug, Default)]
pub(super) struct TopicsView {
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    topics: Arc<Topics>,
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
            let topics = Arc::new(Topics::new(version, all(image)));
            self.seen = Some(Seen {
                topics: Arc::clone(&topics),
                racks,
            });
            return topics;
        };
        let gone = changes.topics_deleted.keys().copied();
        let next = if racks == seen.racks {
            let changed = changed(image, changes);
            seen.topics.followed_by(version, gone, changed)
        } else {
            seen.racks = racks;
            seen.topics.followed_by(version, gone, all(image))
        };
        if let Some(next) = next {
            seen.topics = Arc::new(next);
        }
        Arc::clone(&seen.topics)
    }
}

/// Those that something was said of; mostly no other than they were.
fn changed(image: &Image, changes: &Changes) -> impl Iterator<Item = (Arc<str>, Topic)> {
    let partitions_changed = changes.partitions_changed.iter().map(|(id, _)| *id);
    let topics_created = changes.topics_created.iter().copied();
    let ids = BTreeSet::from_iter(partitions_changed.chain(topics_created));
    let topics = ids.into_iter().filter_map(|id| image.topic_by_id(id));
    topics.map(|topic| (topic.name.clone(), seen_by_groups(image, topic)))
}

fn all(image: &Image) -> impl Iterator<Item = (Arc<str>, Topic)> {
    let topics = image.topics();
    topics.map(|topic| (topic.name.clone(), seen_by_groups(image, topic)))
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
