//! What is the same for every run.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use foz_e2e::external::{External, is_on_path};
use foz_e2e::folders::Folders;
use foz_e2e::progress::Progress;

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Found once, at the start.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) folders: Folders,
    pub(crate) progress: Progress,
    /// Holds what is fetched and built, the logs and the results.
    pub(crate) place: PathBuf,
    /// How many things are run at once.
    pub(crate) jobs: usize,
    broker: Option<PathBuf>,
}

impl Setting {
    /// `broker` is the binary to test; one is built when it is not given.
    ///
    /// # Errors
    /// No folder for the cache is known.
    pub(crate) fn find(jobs: usize, broker: Option<PathBuf>) -> Result<Self> {
        let folders = Folders::find()?;
        Ok(Self {
            place: folders.cache.join("compat"),
            progress: Progress::start(),
            folders,
            jobs,
            broker,
        })
    }

    /// One run at a time: they share folders and ports.
    ///
    /// # Errors
    /// There is another.
    pub(crate) fn hold(&self) -> Result<File> {
        std::fs::create_dir_all(&self.place)?;
        let lock = File::create(self.place.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another foz-compat is running");
        }
        Ok(lock)
    }

    /// The foz-broker to test.
    ///
    /// # Errors
    /// It is not there, or cannot be built.
    pub(crate) fn broker(&self) -> Result<PathBuf> {
        if let Some(given) = &self.broker {
            let given = std::path::absolute(given).context("--broker")?;
            if !given.is_file() {
                bail!("--broker is {}, which is no file", given.display());
            }
            return Ok(given);
        }
        self.progress.step("build foz-broker", || {
            External::new("cargo")
                .args(["build", "--quiet", "--locked", "--package", "foz-server"])
                .args(["--bin", "foz-broker"])
                .in_folder(&self.folders.repository)
                .limit(BUILD_LIMIT)
                .run()
                .map(drop)
        })?;
        Ok(self.folders.cargo_target().join("debug/foz-broker"))
    }
}

/// # Errors
/// Names the program that is not on the PATH, and its package.
pub(crate) fn needs(programs: &[(&str, &str)]) -> Result<()> {
    for (program, package) in programs {
        if !is_on_path(program) {
            bail!("{program} is missing: install the package {package}");
        }
    }
    Ok(())
}
