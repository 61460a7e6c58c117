//! One process.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::layout::NodeName;

const LOG_TAIL_BYTES: usize = 3000;

/// A node and how it is started.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: NodeName,
    folder: PathBuf,
    command: Vec<String>,
    environment: Vec<(&'static str, String)>,
    child: Option<Child>,
    paused: bool,
    /// Asked to end, or about to end because of what was done to it.
    ending: Option<Instant>,
}

impl Node {
    pub(super) fn new(
        name: NodeName,
        folder: PathBuf,
        command: Vec<String>,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            name,
            folder,
            command,
            environment,
            child: None,
            paused: false,
            ending: None,
        }
    }

    /// Starts the process unless it runs. Its output is added to the file `log`.
    pub(super) fn start(&mut self) -> Result<()> {
        if self.child.is_some() && !self.has_ended()? {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))?;
        let (program, arguments) = self.command.split_first().context("a command has words")?;
        let child = Command::new(program)
            .args(arguments)
            .envs(self.environment.iter().map(|(key, value)| (*key, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        self.child = Some(child);
        self.paused = false;
        self.ending = None;
        Ok(())
    }

    /// SIGKILL, and waits for the end.
    pub(super) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        self.paused = false;
        self.ending = None;
        Ok(())
    }

    /// SIGTERM.
    pub(super) fn terminate(&mut self) -> Result<()> {
        if !self.has_ended()? {
            self.ending = Some(Instant::now());
            self.send(Signal::TERM);
        }
        Ok(())
    }

    /// SIGSTOP or SIGCONT.
    pub(super) fn signal(&mut self, signal: Signal) {
        self.paused = signal == Signal::STOP && self.child.is_some();
        self.send(signal);
    }

    /// Its end is no surprise from now on, if so; returns the process.
    pub(super) fn expect_end_if(&mut self, expected: bool) -> Option<u32> {
        let pid = self.child.as_ref()?.id();
        if expected {
            self.ending = Some(Instant::now());
        }
        Some(pid)
    }

    /// Since when a process that still runs is ending.
    pub(super) fn ending_since(&mut self) -> Result<Option<Instant>> {
        Ok(if self.has_ended()? { None } else { self.ending })
    }

    /// Whether there is no process any more.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => true,
        })
    }

    /// How it ended, if it did and nobody had a hand in it.
    pub(super) fn ended_by_itself(&mut self) -> Result<Option<ExitStatus>> {
        if self.ending.is_some() {
            return Ok(None);
        }
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Waits; false when it runs on.
    pub(super) fn await_end(&mut self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        while !self.has_ended()? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some() && !self.paused && self.ending.is_none()
    }

    pub(super) fn log_tail(&self) -> String {
        let bytes = std::fs::read(self.folder.join("log")).unwrap_or_default();
        let from = bytes.len().saturating_sub(LOG_TAIL_BYTES);
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }

    fn send(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }
}
