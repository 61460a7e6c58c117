//! kubectl on one cluster.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::external::{External, Output};

/// Runs kubectl with a fixed kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    #[must_use]
    pub fn new(program: PathBuf, kubeconfig: PathBuf) -> Kubectl {
        Kubectl {
            program,
            kubeconfig,
        }
    }

    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command to be refined and run.
    #[must_use]
    pub fn command<I, S>(&self, args: I) -> External
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        External::new(&self.program)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(args)
    }

    /// Runs a command that must succeed.
    pub fn run<I, S>(&self, args: I) -> Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command(args).run()
    }

    /// Applies a manifest, JSON or YAML; namespaced objects that name no namespace go to `namespace`.
    pub fn apply(&self, namespace: &str, manifest: impl Into<Vec<u8>>) -> Result<Output> {
        let args = ["--namespace", namespace, "apply", "-f", "-"];
        self.command(args).stdin(manifest).run()
    }

    /// Reads objects: the words of `kubectl get`, without the output format.
    pub fn get_json<I, S>(&self, args: I) -> Result<Value>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let output = self.command(["get", "--output=json"]).args(args).run()?;
        serde_json::from_slice(&output.stdout).context("kubectl get --output=json wrote no JSON")
    }
}
