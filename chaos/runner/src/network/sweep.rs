//! Removes what a run that was killed left behind.

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};

use super::PREFIX;
use crate::external::run;

/// Ends the processes in the namespaces of runners that are no longer there, and the namespaces.
pub(crate) fn sweep() -> Result<()> {
    let listed = run("ip", &["netns", "list"])?;
    for name in abandoned(&listed, is_runner) {
        eprintln!("removing {name}, left by an earlier run");
        remove(name)?;
    }
    Ok(())
}

/// Ends every process in this namespace and removes it.
pub(super) fn remove(name: &str) -> Result<()> {
    let own = std::process::id();
    for pid in run("ip", &["netns", "pids", name])?.split_whitespace() {
        let pid = pid.parse().ok().filter(|pid| *pid as u32 != own);
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    run("ip", &["netns", "delete", name]).map(drop)
}

/// Of what `ip netns list` prints (`name` or `name (id: 3)`), those whose runner is gone.
fn abandoned(listed: &str, is_runner: impl Fn(u32) -> bool) -> Vec<&str> {
    let names = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| {
            let runner = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split('-').next())
                .and_then(|pid| pid.parse().ok());
            runner.is_some_and(|pid| !is_runner(pid))
        })
        .collect()
}

/// Process ids are given again: only a process of this program counts.
fn is_runner(pid: u32) -> bool {
    let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    name(&pid.to_string()).is_some_and(|found| Some(found) == name("self"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_without_their_runner_are_swept() {
        let listed = "fozchaos-12-b0 (id: 3)\nfozchaos-13-b0\ndocker-1\nfozchaos-x-b1\n";
        assert_eq!(abandoned(listed, |pid| pid == 13), ["fozchaos-12-b0"]);
    }
}
