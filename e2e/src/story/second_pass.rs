//! A pass over a world that is as it should be.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::world::{CLUSTER, NAMESPACE, READY_LIMIT, World, topic_manifest};
use crate::operator_release::NAMESPACE as OPERATOR_NAMESPACE;

const TOPICS: usize = 100;
/// Long enough for the new operator to have taken the Lease and looked at everything.
const SETTLING: Duration = Duration::from_secs(30);

pub(super) fn no_writes(world: &World) -> Result<()> {
    let manifests: Vec<String> = (0..TOPICS)
        .map(|number| topic_manifest(&format!("many-{number:03}"), 1, ""))
        .collect();
    world.apply(&manifests.join("---\n"))?;
    let wait = [
        "wait",
        "--for=condition=Ready",
        "topic.foz.dev",
        "--all",
        "--timeout=110s",
    ];
    let wait = world
        .kubectl()
        .command(["--namespace", NAMESPACE])
        .args(wait);
    wait.limit(READY_LIMIT).run()?;
    world.await_ready(CLUSTER)?;

    let audit_log = world.cluster()?.audit_log();
    let begun_at = std::fs::metadata(&audit_log)
        .context("the audit log")?
        .len();
    // A new process knows nothing and looks at every object: a second pass over all of them.
    let restart = |args: &[&str]| {
        let command = world
            .kubectl()
            .command(["--namespace", OPERATOR_NAMESPACE, "rollout"]);
        command
            .args(args)
            .limit(Duration::from_secs(90))
            .run()
            .map(drop)
    };
    restart(&["restart", "deployment"])?;
    restart(&["status", "deployment", "--timeout=80s"])?;
    thread::sleep(SETTLING);

    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:");
    let mut file = BufReader::new(std::fs::File::open(&audit_log)?);
    file.seek(SeekFrom::Start(begun_at))?;
    let mut writes: BTreeMap<String, usize> = BTreeMap::new();
    let mut leases = 0;
    for line in file.lines() {
        let Ok(event) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        match write_by(&event, &user) {
            Some(write) if write.contains("/leases") => leases += 1,
            Some(write) => *writes.entry(write).or_default() += 1,
            None => {}
        }
    }
    ensure!(writes.is_empty(), "the operator wrote: {writes:#?}");
    // Without this, a log that records nothing would pass.
    ensure!(leases > 0, "the operator did not even renew its Lease");
    Ok(())
}

/// What was written, if it was by a user whose name begins like this.
pub(super) fn write_by(event: &Value, user: &str) -> Option<String> {
    let by = event["user"]["username"].as_str()?;
    by.starts_with(user).then(|| {
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("verb"), text("requestURI"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_operators_writes_count() {
        let event = |user: &str| json!({"user": {"username": user}, "verb": "patch", "requestURI": "/apis/x"});
        let operator = "system:serviceaccount:foz-system:";
        let by_operator = event("system:serviceaccount:foz-system:foz-operator");
        assert_eq!(write_by(&by_operator, operator).unwrap(), "patch /apis/x");
        assert_eq!(write_by(&event("admin"), operator), None);
    }
}
