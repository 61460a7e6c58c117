//! A Java producer that is at work for as long as something else goes on.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::world::{BOOTSTRAP, World};
use crate::wait::wait_until;

/// Few enough that a machine which is busy with a whole cluster keeps up.
const MESSAGES_PER_SECOND: u32 = 200;
/// A JVM starts, and the first messages are acknowledged.
const BEGUN_LIMIT: Duration = Duration::from_secs(60);
/// Of all that a story does meanwhile.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Produces the messages of `e2e/java/Messages.java` with `acks=all` while `act` goes on. It has begun before that and
/// ends after it. Hands back how many messages were acknowledged, which is every one that was sent.
pub(super) fn while_producing<T>(
    world: &World,
    topic: &str,
    act: impl FnOnce() -> Result<T>,
) -> Result<(T, u32)> {
    while_producing_at(world, BOOTSTRAP, topic, act)
}

/// The same on another Cluster.
pub(super) fn while_producing_at<T>(
    world: &World,
    bootstrap: &str,
    topic: &str,
    act: impl FnOnce() -> Result<T>,
) -> Result<(T, u32)> {
    let (reader, writer) = std::io::pipe()?;
    let java = world
        .java("Messages.java")?
        .args(["produce-until-input-ends", bootstrap, topic])
        .arg(MESSAGES_PER_SECOND.to_string())
        .stdin_pipe(reader)
        .limit(LIMIT);
    let producer = thread::spawn(move || java.run());
    let acted = await_messages(world, bootstrap, topic).and_then(|()| {
        let acted = act()?;
        ensure!(
            !producer.is_finished(),
            "the producer has ended before it was told to"
        );
        Ok(acted)
    });
    drop(writer);
    let produced = producer.join();
    let produced = produced.map_err(|_| anyhow!("the producer's thread panicked"))?;
    match (acted, produced) {
        (Ok(acted), Ok(output)) => Ok((acted, acknowledged(&output.text())?)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(error), Err(produced)) => Err(error.context(format!("the producer: {produced:#}"))),
    }
}

/// Waits until there are messages.
fn await_messages(world: &World, bootstrap: &str, topic: &str) -> Result<()> {
    let end = format!("{topic}:0:-1");
    wait_until("the first messages", BEGUN_LIMIT, || {
        let kcat = world.kcat_at(bootstrap)?;
        let said = kcat.args(["-Q", "-t", &end]).run_any()?;
        let (said, error) = (said.text(), said.error_text());
        Ok(match end_offset(&said) {
            Some(offset) if offset > 0 => Ok(()),
            _ => Err(format!("kcat says {said} {error}")),
        })
    })
}

/// From a line like `topic [0] offset 42`.
fn end_offset(said: &str) -> Option<u64> {
    said.lines()
        .find_map(|line| line.rsplit_once("offset ")?.1.trim().parse().ok())
}

/// From a line like `acknowledged 42`.
fn acknowledged(said: &str) -> Result<u32> {
    let count = said
        .lines()
        .find_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
    count.with_context(|| format!("the producer said {said:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_partition_is_read() {
        assert_eq!(end_offset("replicated-1 [0] offset 42"), Some(42));
        assert_eq!(end_offset("% ERROR: no such topic"), None);
        assert_eq!(end_offset(""), None);
    }

    #[test]
    fn how_many_were_acknowledged_is_read() {
        assert_eq!(acknowledged("acknowledged 1234").unwrap(), 1234);
        assert!(acknowledged("").is_err());
    }
}
