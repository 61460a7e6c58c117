//! Programs that keep running after this one ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cgroup::Cgroup;
use crate::external::last_lines;
use crate::wait::{Look, wait_for};

const LOG_LINES_SHOWN: usize = 30;

/// Joins the cgroup before anything else happens: a child started outside it would be lost if this
/// program were killed at that moment.
const JOIN_AND_EXEC: &str = r#"echo 0 > "$0" && exec "$@""#;

/// Starts daemons of one cluster.
#[derive(Debug, Clone)]
pub struct Launcher {
    procs_file: PathBuf,
    logs: PathBuf,
}

/// Whose network and whose mounts a daemon sees.
#[derive(Debug, Clone, Copy)]
pub enum Inside {
    /// This machine's own.
    Host,
    /// The network of the process with this id, this machine's mounts.
    Network(u32),
    /// The network and the mounts of the process with this id.
    NetworkAndMounts(u32),
}

impl Inside {
    /// The words that put a command there.
    #[must_use]
    pub fn prefix(self) -> Vec<String> {
        let nsenter = |pid: u32, kinds: &[&str]| {
            let mut words = vec!["nsenter".to_owned(), format!("--target={pid}")];
            words.extend(kinds.iter().map(|&kind| kind.to_owned()));
            words.push("--".to_owned());
            words
        };
        match self {
            Inside::Host => Vec::new(),
            Inside::Network(pid) => nsenter(pid, &["--net"]),
            Inside::NetworkAndMounts(pid) => nsenter(pid, &["--net", "--mount"]),
        }
    }
}

/// A started daemon. Dropping it leaves it running.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Launcher {
    /// Daemons join `cgroup` and write `<logs>/<name>.log`.
    pub fn new(cgroup: &Cgroup, logs: PathBuf) -> Result<Launcher> {
        let cgroup = cgroup.child("daemons");
        cgroup.create_for_processes()?;
        std::fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
        Ok(Launcher {
            procs_file: cgroup.procs_file(),
            logs,
        })
    }

    pub fn start(&self, name: &str, inside: Inside, command: &[String]) -> Result<Daemon> {
        self.start_with_stdin(name, inside, command, Stdio::null())
    }

    /// [`Launcher::start`] with something to read, or a socket, as standard input.
    pub fn start_with_stdin(
        &self,
        name: &str,
        inside: Inside,
        command: &[String],
        stdin: Stdio,
    ) -> Result<Daemon> {
        let log = self.logs.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        // A session of its own: the terminal's signals and its end do not reach it.
        let child = Command::new("setsid")
            .args(["sh", "-c", JOIN_AND_EXEC])
            .arg(&self.procs_file)
            .args(inside.prefix())
            .args(command)
            .current_dir("/")
            .stdin(stdin)
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Daemon {
            name: name.to_owned(),
            child,
            log,
        })
    }
}

impl Daemon {
    /// Its process id: `setsid`, `sh` and `nsenter` each replace themselves by the next program.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `look` finds what shows that the daemon serves.
    ///
    /// # Errors
    /// When the daemon ends or `limit` is over; both quote the end of its log.
    pub fn await_ready<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut() -> Result<Look<T>>,
    ) -> Result<T> {
        let what = format!("{} to serve", self.name);
        let ready = wait_for(&what, limit, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}", self.name);
            }
            look()
        });
        ready.with_context(|| log_tail(&self.log))
    }
}

/// The end of a log with its path, for an error's context.
#[must_use]
pub fn log_tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    format!(
        "the end of {}:\n{}",
        log.display(),
        last_lines(&text, LOG_LINES_SHOWN)
    )
}

/// Words of a command line.
#[must_use]
pub fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
