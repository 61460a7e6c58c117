//! The Kubernetes that Foz is tried and tested on: the user's, or one of our own.

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cluster::kubectl::Kubectl;
use crate::cluster::{self, Cluster};
use crate::external::External;
use crate::folders::Folders;
use crate::images::Images;
use crate::programs::Programs;
use crate::progress::Progress;

/// Names a kubeconfig; when it is set, that cluster is used and none is started.
pub const KUBECONFIG_VARIABLE: &str = "FOZ_E2E_KUBECONFIG";
/// A shell command that brings the image archive `$1` into that cluster.
pub const LOADER_VARIABLE: &str = "FOZ_E2E_IMAGE_LOADER";

const NODES: u8 = 3;

/// A cluster to work on.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    pub kubectl: Kubectl,
    helm: PathBuf,
    own: Option<Cluster>,
}

impl Kubernetes {
    /// The cluster of [`KUBECONFIG_VARIABLE`], else our own of this name, which is started if it
    /// does not run.
    pub fn get(
        folders: &Folders,
        programs: &Programs,
        name: &str,
        progress: &Progress,
    ) -> Result<Kubernetes> {
        let helm = programs.helm.clone();
        if let Some(kubeconfig) = std::env::var_os(KUBECONFIG_VARIABLE) {
            let kubectl = Kubectl::new(programs.kube("kubectl"), kubeconfig.into());
            let version = kubectl.run(["version"]);
            version.with_context(|| format!("the cluster of {KUBECONFIG_VARIABLE}"))?;
            return Ok(Kubernetes {
                kubectl,
                helm,
                own: None,
            });
        }
        let cluster = cluster::up(folders, programs, name, NODES, progress)?;
        Ok(Kubernetes {
            kubectl: cluster.kubectl.clone(),
            helm,
            own: Some(cluster),
        })
    }

    /// The cluster when it is our own: for what needs to reach behind the API server.
    pub fn own(&self) -> Result<&Cluster> {
        self.own.as_ref().with_context(|| {
            format!("this needs the cluster that foz-e2e starts; unset {KUBECONFIG_VARIABLE}")
        })
    }

    /// Whether the cluster is our own.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Gives the images to the nodes.
    pub fn load(&self, images: &Images, progress: &Progress) -> Result<()> {
        match (&self.own, std::env::var(LOADER_VARIABLE)) {
            (Some(cluster), _) => images.import(cluster, progress),
            (None, Ok(loader)) => images.load_with(&loader, progress),
            (None, Err(_)) => bail!(
                "the cluster of {KUBECONFIG_VARIABLE} needs the images {} and {}: say how by \
                 {LOADER_VARIABLE}, for example {LOADER_VARIABLE}='kind load image-archive \"$1\"'",
                images.broker.archive.display(),
                images.operator.archive.display()
            ),
        }
    }

    /// A helm command on this cluster.
    #[must_use]
    pub fn helm<I, S>(&self, args: I) -> External
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        External::new(&self.helm)
            .env("KUBECONFIG", self.kubectl.kubeconfig())
            .args(args)
    }
}
