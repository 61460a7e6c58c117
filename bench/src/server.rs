//! One process of a cluster, as a child of this one.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Node;

/// A process that has not opened its listener by then has failed. Six JVMs may start at once.
const START_LIMIT: Duration = Duration::from_secs(120);
/// A process that has not ended by then is killed.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Of the end of a log that is shown when something fails.
const LOG_TAIL_BYTES: usize = 4096;

/// A broker, a controller, or both in one.
#[derive(Debug)]
pub(crate) struct Server {
    command: Command,
    /// None while it is stopped.
    child: Option<Child>,
    address: String,
    http_port: Option<u16>,
    log: PathBuf,
}

impl Server {
    /// Runs it. Its output goes to a file in its folder.
    ///
    /// # Errors
    /// It cannot be run.
    pub(crate) fn spawn(node: Node) -> anyhow::Result<Self> {
        let log = node.folder.join("server.log");
        let mut command = node.command;
        let output = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true);
        let mut server = Self {
            command,
            child: None,
            address: format!("127.0.0.1:{}", node.port),
            http_port: node.http_port,
            log,
        };
        server.spawn_again()?;
        Ok(server)
    }

    /// Runs a process that was stopped as it was run before; its output is added to the same file.
    ///
    /// # Errors
    /// It cannot be run.
    pub(crate) fn spawn_again(&mut self) -> anyhow::Result<()> {
        let child = self.command.spawn();
        self.child = Some(child.with_context(|| format!("cannot run {:?}", self.command))?);
        Ok(())
    }

    /// The process; `None` while it is stopped.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it counts, one a line; `None` from one that has no `/metrics`.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn metrics(&self) -> anyhow::Result<Option<String>> {
        let Some(port) = self.http_port else {
            return Ok(None);
        };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        // The answer ends with the connection, and is not cut into chunks (RFC 1945).
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        timeout(START_LIMIT, stream.read_to_string(&mut answer)).await??;
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned());
        Ok(Some(body.context("/metrics is no HTTP answer")?))
    }

    /// Waits until its port answers.
    ///
    /// # Errors
    /// The process ends early, or is silent for too long; with the end of its log.
    pub(crate) async fn listening(&mut self) -> anyhow::Result<()> {
        let limit = Instant::now() + START_LIMIT;
        while TcpStream::connect(&self.address).await.is_err() {
            let child = self.child.as_mut().context("it was not started")?;
            if let Some(status) = child.try_wait()? {
                bail!(
                    "it ended with {status}; the end of its log:\n{}",
                    self.log_tail()
                );
            }
            if Instant::now() > limit {
                bail!(
                    "it did not listen on {} within {} s; the end of its log:\n{}",
                    self.address,
                    START_LIMIT.as_secs(),
                    self.log_tail()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Asks it to stop and does not wait.
    pub(crate) fn terminate(&self) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // An error means that it has ended already, which is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Asks it to stop, and kills it when it does not.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.terminate();
        if let Some(mut child) = self.child.take()
            && timeout(STOP_LIMIT, child.wait()).await.is_err()
        {
            child.kill().await?;
        }
        Ok(())
    }

    /// Kills it, as the kernel does when memory runs out.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let from = bytes.len().saturating_sub(LOG_TAIL_BYTES);
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }
}

/// Ports of loopback that were free a moment ago.
///
/// # Errors
/// There are none.
pub(crate) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    // All are held until the last is found: no two are the same.
    let held = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<Vec<_>, _>>()?;
    let ports = held.iter().map(|it| Ok(it.local_addr()?.port()));
    ports.collect()
}
