//! A Topic of one story, gone when the story is over: told again and again, the volumes would fill.

use std::time::Duration;

use anyhow::Result;

use super::rolls::now_ms;
use super::world::{NAMESPACE, World, replicated_topic_manifest};
use crate::objects::await_gone;

/// Each broker has heard of it, on a machine that is busy with a whole cluster.
const GONE_LIMIT: Duration = Duration::from_secs(60);

/// A Topic on three brokers. It is deleted at the latest when this is dropped.
#[derive(Debug)]
pub(super) struct ShortLivedTopic<'world> {
    world: &'world World,
    name: String,
    is_deleted: bool,
}

impl<'world> ShortLivedTopic<'world> {
    /// With a name that no telling of the story before has used.
    pub(super) fn make(world: &'world World, prefix: &str, partitions: u32) -> Result<Self> {
        Self::with(world, prefix, partitions, "")
    }

    /// One for the messages of `e2e/java/Messages.java`, of which the timestamps are of the year 2023: time must not
    /// delete them.
    pub(super) fn for_messages(
        world: &'world World,
        prefix: &str,
        partitions: u32,
    ) -> Result<Self> {
        Self::with(world, prefix, partitions, "config: {retention.ms: '-1'}, ")
    }

    fn with(world: &'world World, prefix: &str, partitions: u32, more: &str) -> Result<Self> {
        let topic = Self {
            world,
            name: format!("{prefix}-{}", now_ms()?),
            is_deleted: false,
        };
        let more = format!("{more}deletionPolicy: Delete");
        world.apply(&replicated_topic_manifest(&topic.name, partitions, &more))?;
        world.await_ready(&topic.object())?;
        Ok(topic)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Deletes it, and waits until it is gone.
    pub(super) fn delete(mut self) -> Result<()> {
        self.is_deleted = true;
        let object = self.object();
        self.world.run(&["delete", &object, "--timeout=60s"])?;
        await_gone(self.world.kubectl(), NAMESPACE, &object, GONE_LIMIT)
    }

    fn object(&self) -> String {
        format!("topic.foz.dev/{}", self.name)
    }
}

impl Drop for ShortLivedTopic<'_> {
    fn drop(&mut self) {
        if !self.is_deleted {
            let delete = ["--ignore-not-found", "--timeout=60s"];
            // What failed is told by the story.
            let _ = self
                .world
                .run(&[&["delete", &self.object()], &delete[..]].concat());
        }
    }
}
