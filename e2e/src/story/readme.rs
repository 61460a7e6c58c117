//! The README's own lines, run as they are printed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::world::World;
use crate::external::External;

/// The longest that a line itself says it may take is 2 minutes.
const LINE_LIMIT: Duration = Duration::from_secs(130);
/// What the lines leave behind, in the namespace that they use.
const LEFT: &str = "clusters.foz.dev,topics.foz.dev,rebalances.foz.dev,persistentvolumeclaims";

pub(super) fn lines(world: &World) -> Result<()> {
    let readme = std::fs::read_to_string(world.folders.repository.join("README.md"))?;
    let lines = console_lines(&readme);
    ensure!(
        lines.len() >= 5,
        "the README prints hardly a line to try: {lines:?}"
    );
    let mut said = String::new();
    for line in lines {
        let shell = world.shell(line)?.limit(LINE_LIMIT);
        said += &shell
            .run()
            .with_context(|| format!("the README's line: {line}"))?
            .text();
    }
    ensure!(
        said.contains("one umbrella"),
        "the message did not come back: {said}"
    );
    let delete = [
        "delete",
        LEFT,
        "--all",
        "--namespace",
        "default",
        "--timeout=55s",
    ];
    world
        .kubectl()
        .command(delete)
        .limit(Duration::from_secs(60))
        .run()
        .map(drop)
}

/// The lines with a prompt in the blocks marked `console`.
fn console_lines(markdown: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in markdown.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            lines.push(command);
        }
    }
    lines
}

impl World {
    /// A line as a user types it, in the repository's folder, with the cluster's kubeconfig.
    fn shell(&self, line: &str) -> Result<External> {
        let kubectl = self.kubectl().program();
        let folder = kubectl
            .parent()
            .context("kubectl lies in no folder")?
            .display();
        let path = std::env::var("PATH").unwrap_or_default();
        Ok(External::new("sh")
            .args(["-ec", line])
            .env("KUBECONFIG", self.kubectl().kubeconfig())
            .env("PATH", format!("{folder}:{path}"))
            .in_folder(&self.folders.repository))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_prompts_in_console_blocks_are_lines() {
        let markdown = "$ no\n```sh\n$ no\n```\n```console\n$ yes\noutput\n$ too\n```\n$ no";
        assert_eq!(console_lines(markdown), ["yes", "too"]);
    }
}
