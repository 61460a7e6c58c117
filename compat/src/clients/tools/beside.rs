//! A tool that goes on beside the next steps.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::child::DIES_WITH_US;

/// It ends with this.
#[derive(Debug)]
pub(super) struct Beside {
    process: Child,
    said: PathBuf,
}

impl Beside {
    /// Starts it; what it says goes into the file.
    ///
    /// # Errors
    /// The file cannot be written, or no process started.
    pub(super) fn start(program: &str, words: &[String], said: PathBuf) -> Result<Self> {
        let file = File::create(&said).with_context(|| said.display().to_string())?;
        let [setpriv, dies @ ..] = DIES_WITH_US;
        let process = Command::new(setpriv)
            .args(dies)
            .arg(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start setpriv")?;
        Ok(Self { process, said })
    }

    /// What it has said so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn said(&self) -> Result<String> {
        let bytes = std::fs::read(&self.said).with_context(|| self.said.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// # Errors
    /// The kernel does not say.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_some())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Nothing else is wanted of it; it may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(script: &str, folder: &Path) -> Beside {
        let words = ["-c".to_owned(), script.to_owned()];
        Beside::start("sh", &words, folder.join("said")).unwrap()
    }

    #[test]
    fn what_it_says_is_heard_while_it_runs_and_it_ends_with_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let mut beside = shell("echo a; echo b >&2; exec sleep 60", folder.path());
        let begun = Instant::now();
        while beside.said().unwrap() != "a\nb\n" {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
        assert!(!beside.has_ended().unwrap());
        let process = PathBuf::from(format!("/proc/{}", beside.process.id()));
        assert!(process.exists());
        drop(beside);
        assert!(!process.exists());
    }

    #[test]
    fn its_own_end_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut beside = shell("echo a", folder.path());
        let begun = Instant::now();
        while !beside.has_ended().unwrap() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
        assert_eq!(beside.said().unwrap(), "a\n");
    }
}
