//! A broker that runs as a child of this process.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// A broker that has not opened its listener by then has failed.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A broker that has not ended by then is killed.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Of the end of a log that is shown when something fails.
const LOG_TAIL_BYTES: usize = 4096;

/// A broker of one node.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pid: u32,
    bootstrap: String,
    log: PathBuf,
}

impl Server {
    /// Runs `command` and waits until `port` of loopback answers. Its output goes to a file in `folder`.
    ///
    /// # Errors
    /// The command ends early, or is silent for too long; with the end of its log.
    pub(crate) async fn start(
        mut command: Command,
        folder: &Path,
        port: u16,
    ) -> anyhow::Result<Self> {
        let log = folder.join("server.log");
        let output = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let pid = child.id().context("the broker ended at once")?;
        let mut server = Self {
            child,
            pid,
            bootstrap: format!("127.0.0.1:{port}"),
            log,
        };
        server.wait_listening().await?;
        Ok(server)
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// `host:port` for clients.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Asks the broker to stop, and kills it when it does not. Returns the end of its log.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub(crate) async fn stop(mut self) -> anyhow::Result<String> {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // An error means that it has ended already, which is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(self.log_tail())
    }

    async fn wait_listening(&mut self) -> anyhow::Result<()> {
        let limit = Instant::now() + START_LIMIT;
        while TcpStream::connect(&self.bootstrap).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the broker ended with {status}; the end of its log:\n{}",
                    self.log_tail()
                );
            }
            if Instant::now() > limit {
                bail!(
                    "the broker did not listen on {} within {} s; the end of its log:\n{}",
                    self.bootstrap,
                    START_LIMIT.as_secs(),
                    self.log_tail()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let from = bytes.len().saturating_sub(LOG_TAIL_BYTES);
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }
}

/// `N` ports of loopback that were free a moment ago.
///
/// # Errors
/// There are none.
pub(crate) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    // All are held until the last is found: no two are the same.
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
