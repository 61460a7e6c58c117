//! `foz`, the client program in the broker's image, run in a broker's pod.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cluster::kubectl::Kubectl;
use crate::external::External;

const LIMIT: Duration = Duration::from_secs(60);

/// A pod in which `foz` is run.
#[derive(Debug, Clone)]
pub struct Foz<'a> {
    pub kubectl: &'a Kubectl,
    pub namespace: &'a str,
    /// For example `demo-broker-0`.
    pub pod: String,
}

impl Foz<'_> {
    /// Produces the lines, one message each.
    pub fn produce(&self, topic: &str, lines: &[String]) -> Result<()> {
        let input = lines.join("\n") + "\n";
        self.command(&["produce", topic])
            .stdin(input)
            .run()
            .map(drop)
    }

    /// Reads every message that is there now.
    pub fn consume(&self, topic: &str) -> Result<Vec<String>> {
        let arguments = [
            "consume",
            topic,
            "--from-beginning",
            "--exit-at-end",
            "--quiet",
        ];
        let text = self.command(&arguments).run()?.text();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Any other subcommand.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> External {
        let exec = [
            "exec",
            "--stdin",
            "--namespace",
            self.namespace,
            &self.pod,
            "--",
            "foz",
        ];
        self.kubectl.command(exec).args(arguments).limit(LIMIT)
    }
}

/// Checks that exactly these messages came, in whatever order the partitions gave them.
pub fn ensure_same_messages(sent: &[String], received: &[String]) -> Result<()> {
    let sorted = |lines: &[String]| {
        let mut lines = lines.to_vec();
        lines.sort();
        lines
    };
    ensure!(
        sorted(sent) == sorted(received),
        "sent {sent:?} but received {received:?}"
    );
    Ok(())
}
