//! Stories: tests that are told one after the other on one cluster, each going on where the one
//! before ended.
//!
//! A story is a function from the [`World`] that fails with a reason. Its name says what is true
//! when it passes. The stories are in [`all`]'s order, one file for each chapter.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use self::world::World;
use crate::progress::{Progress, seconds};

mod autoscaling;
mod chaos;
mod clients;
mod compacted;
mod controllers;
mod evidence;
mod figures;
mod first_light;
mod kcat_messages;
mod load;
mod many_topics;
mod messages;
mod namespace;
mod outages;
mod ownership;
mod producing;
mod readme;
mod reassignment;
mod rebalance;
mod refusals;
mod reinstall;
mod replicated;
mod rolls;
mod rules;
mod scaling;
mod second_pass;
mod short_lived_topic;
mod suspended;
mod takeover;
mod topic_replicas;
mod topics;
mod volumes;
pub mod world;

/// One story.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// What is true when it passes.
    pub name: &'static str,
    /// It fails when it takes longer.
    pub limit: Duration,
    pub tell: fn(&World) -> Result<()>,
}

const MINUTE: Duration = Duration::from_secs(60);

/// Every story, in the order in which they are told.
#[must_use]
pub fn all() -> Vec<Story> {
    [beginning(), life(), chaos(), end()].concat()
}

/// Foz comes up and carries messages.
#[must_use]
pub fn beginning() -> Vec<Story> {
    vec![
        story(
            "Helm installs the operator and refuses a typo",
            4,
            first_light::install,
        ),
        story("a Cluster and a Topic become Ready", 4, first_light::ready),
        story("the figures hold", 1, figures::hold),
        story(
            "10,000 messages of every kind come back",
            8,
            messages::ten_thousand,
        ),
        story(
            "10,000 messages of every kind by kcat come back",
            4,
            kcat_messages::ten_thousand,
        ),
    ]
}

/// What users do.
fn life() -> Vec<Story> {
    vec![
        story(
            "a compacted topic keeps the newest value of every key",
            5,
            compacted::newest_values,
        ),
        story(
            "a server-side dry run takes what the charts render",
            1,
            first_light::dry_run,
        ),
        story(
            "foz produces and consumes through kubectl exec",
            2,
            clients::foz,
        ),
        story(
            "kcat's messages come back with keys and headers",
            2,
            clients::kcat,
        ),
        story("Kafka's topics and console tools work", 4, clients::console),
        story(
            "kafka-delete-records and foz delete the oldest records",
            3,
            clients::delete_records,
        ),
        story(
            "kafka-reassign-partitions moves a partition",
            5,
            reassignment::moves,
        ),
        story(
            "wrong Clusters and Topics are refused with the reason",
            3,
            refusals::admission,
        ),
        story(
            "every rule of the kinds takes its YAML and refuses another",
            4,
            rules::hold,
        ),
        story(
            "a Topic's partitions and config follow its spec",
            3,
            topics::change,
        ),
        story(
            "Retain keeps a deleted Topic's messages, Delete does not",
            3,
            topics::deletion,
        ),
        story(
            "a deleted Topic's messages are back with a Topic that asks for them",
            3,
            topics::restoration,
        ),
        story(
            "a Topic gets more replicas and fewer while it serves",
            5,
            topic_replicas::more_and_fewer,
        ),
        story(
            "a Topic of another namespace needs the Cluster's leave",
            5,
            topic_replicas::other_namespaces,
        ),
        story("the README's lines do what it says", 6, readme::lines),
        story(
            "fewer brokers than a topic has replicas are refused",
            3,
            scaling::refused,
        ),
        story(
            "3 to 6 brokers and back, with 300 partitions, lose no message",
            18,
            scaling::up_and_down,
        ),
        story(
            "3 to 5 brokers and back, cancelled half way, loses no message",
            18,
            scaling::cancelled,
        ),
        story("an HPA scales the Cluster", 15, autoscaling::follows),
        story(
            "a Rebalance is planned, approved and finished",
            12,
            rebalance::by_hand,
        ),
    ]
}

/// What happens to them; can be told again and again.
#[must_use]
pub fn chaos() -> Vec<Story> {
    vec![
        story(
            "a killed broker comes back with its messages",
            4,
            chaos::kill_broker,
        ),
        story(
            "a broker that is down keeps nobody from writing and reading",
            8,
            replicated::broker_down,
        ),
        story(
            "the active controller may be killed",
            4,
            chaos::kill_controller,
        ),
        story(
            "an evicted broker comes back with its messages",
            4,
            chaos::evict,
        ),
        story(
            "every process killed, in turn and at once, loses nothing",
            12,
            chaos::kill_all,
        ),
        story(
            "a new value of an annotation restarts every pod, and nobody notices",
            10,
            rolls::annotation,
        ),
        story(
            "a restart is denied while another broker is down, and says why",
            8,
            rolls::denied,
        ),
        story(
            "nodes drain: every pod is evicted in turn, and nobody notices",
            10,
            rolls::drain::evictions,
        ),
        story(
            "nodes drain: a broker that is needed serves on until another is back",
            8,
            rolls::drain::needed,
        ),
        story(
            "each node is drained with kubectl drain, and nobody notices",
            18,
            rolls::kubectl_drain::each_node,
        ),
        story(
            "a template that does not come up takes one broker until it is mended",
            10,
            rolls::bad_template,
        ),
        story(
            "an operator stands still in the middle of a roll, and the other continues it",
            10,
            takeover::in_a_roll,
        ),
        story(
            "volumes grow by an edit, and no pod restarts",
            6,
            volumes::grow,
        ),
        story(
            "a broker gets an empty volume, and is filled by the others",
            10,
            volumes::replace,
        ),
        story(
            "a volume is added under load, gets new partitions, and is replaced alone",
            20,
            volumes::added::under_load,
        ),
        story(
            "a Cluster is suspended, and has its messages when it is resumed",
            8,
            suspended::and_resumed,
        ),
        story(
            "a namespace with a Cluster and Topics is gone in 30 s",
            6,
            namespace::is_deleted,
        ),
        story(
            "controllers become 5, 3, 1 and 3 while messages and topics come, and nobody notices",
            10,
            controllers::scale,
        ),
    ]
}

/// What takes long, or is to be reached still, and is told only by name and in a soak: what many Topics cost, and what
/// clients feel under half of what the cluster carries.
#[must_use]
pub fn long() -> Vec<Story> {
    vec![
        story(
            "250 Topics are made, changed and deleted in 8 s",
            8,
            many_topics::few,
        ),
        story(
            "2,000 Topics are Ready in 30 s, and cost next to nothing at rest",
            12,
            many_topics::many,
        ),
        story(
            "under load, a broker that restarts is away for a blink",
            10,
            rolls::under_load::blink,
        ),
        story(
            "under load, a roll of every pod is felt by nobody",
            10,
            rolls::under_load::roll,
        ),
        story(
            "under load, twenty rolls with a follower that is late keep enough replicas in sync",
            60,
            rolls::under_load::twenty,
        ),
        story(
            "under load, 100 partitions of 50 MB are moved in a minute, and clients hardly notice",
            15,
            reassignment::under_half_load,
        ),
        story(
            "3 to 5 brokers and back, five times in a row, one of them cancelled half way",
            40,
            scaling::five_times,
        ),
        story(
            "under load, a node that is cut off for a minute comes back by itself",
            10,
            outages::node_cut_off,
        ),
        story(
            "under load, five minutes without the API server touch no pod",
            15,
            outages::api_server_away,
        ),
    ]
}

/// Hands in the works, a quiet night, and a farewell.
fn end() -> Vec<Story> {
    vec![
        story(
            "what a hand changes or deletes is right again in 5 s",
            8,
            ownership::put_right,
        ),
        story(
            "a second pass over 100 Topics writes nothing",
            8,
            second_pass::no_writes,
        ),
        story(
            "a Cluster made again over its volumes has its messages",
            8,
            reinstall::reinstall,
        ),
        story(
            "kafka-dump-log reads every file without complaint",
            4,
            messages::dump_log,
        ),
    ]
}

fn story(name: &'static str, minutes: u32, tell: fn(&World) -> Result<()>) -> Story {
    Story {
        name,
        limit: MINUTE * minutes,
        tell,
    }
}

/// Tells the stories whose names contain `filter` and prints how each ended.
///
/// # Errors
/// When one failed, or when none has such a name.
pub fn tell(
    world: &Arc<World>,
    stories: &[Story],
    filter: &str,
    progress: &Progress,
) -> Result<()> {
    let chosen: Vec<&Story> = stories
        .iter()
        .filter(|it| it.name.contains(filter))
        .collect();
    if chosen.is_empty() {
        bail!("no story's name contains {filter:?}");
    }
    let (mut passed, mut failed) = (0, 0);
    for story in &chosen {
        let begun = Instant::now();
        match tell_one(world, story) {
            Ended::Passed => {
                passed += 1;
                progress.line(&format!(
                    "passed  {} ({})",
                    story.name,
                    seconds(begun.elapsed())
                ));
            }
            Ended::Failed(error) => {
                failed += 1;
                let took = seconds(begun.elapsed());
                progress.line(&format!("FAILED  {} ({took})\n{error:#}", story.name));
                report(world, story, progress);
            }
            Ended::TimedOut => {
                failed += 1;
                let limit = seconds(story.limit);
                progress.line(&format!("FAILED  {}: not done after {limit}", story.name));
                report(world, story, progress);
                // Its thread is still at work, and would meddle with the next story.
                break;
            }
        }
    }
    let untold = chosen.len() - passed - failed;
    let rest = if untold > 0 {
        format!(", {untold} not told")
    } else {
        String::new()
    };
    progress.line(&format!("{passed} passed, {failed} failed{rest}"));
    if failed > 0 {
        Err(anyhow!("{failed} stories failed"))
    } else {
        Ok(())
    }
}

enum Ended {
    Passed,
    Failed(anyhow::Error),
    TimedOut,
}

fn tell_one(world: &Arc<World>, story: &Story) -> Ended {
    let (done, ended) = channel();
    let (world, tell) = (Arc::clone(world), story.tell);
    thread::spawn(move || done.send(tell(&world)));
    match ended.recv_timeout(story.limit) {
        Ok(Ok(())) => Ended::Passed,
        Ok(Err(error)) => Ended::Failed(error),
        Err(RecvTimeoutError::Timeout) => Ended::TimedOut,
        Err(RecvTimeoutError::Disconnected) => Ended::Failed(anyhow!("the story panicked")),
    }
}

fn report(world: &World, story: &Story, progress: &Progress) {
    let file: PathBuf = world
        .folders
        .cache
        .join("failures")
        .join(file_name(story.name));
    match evidence::collect(world, &file) {
        Ok(shown) => progress.line(&format!(
            "the state of the cluster is in {}; what the brokers complained of last:\n{shown}",
            file.display()
        )),
        Err(error) => progress.line(&format!("no evidence collected: {error:#}")),
    }
}

fn file_name(story: &str) -> String {
    let letters = story
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() { it } else { '-' });
    letters.collect::<String>() + ".txt"
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_story_has_a_name_of_its_own() {
        let stories = [all(), long()].concat();
        let names: HashSet<&str> = stories.iter().map(|story| story.name).collect();
        assert_eq!(names.len(), stories.len());
    }

    #[test]
    fn a_storys_name_makes_a_file_name() {
        assert_eq!(file_name("kcat's / it"), "kcat-s---it.txt");
    }
}
