//! The programs that a cluster consists of, built from `e2e/kubernetes/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::build_cache::{Recipe, cached};
use crate::external::External;
use crate::folders::Folders;
use crate::images::build_image;
use crate::progress::Progress;

/// The version that `kube/go.mod` names and that the API server reports.
pub const KUBERNETES_VERSION: &str = "1.34.4";
/// The image that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "localhost/pause:1";

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const KUBE_NAMES: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];

/// Paths of the programs.
#[derive(Debug, Clone)]
pub struct Programs {
    kube: PathBuf,
    pub coredns: PathBuf,
    pub helm: PathBuf,
    /// The archive of [`PAUSE_IMAGE`].
    pub pause_archive: PathBuf,
}

impl Programs {
    /// Builds what the cache does not have.
    pub fn build(folders: &Folders, progress: &Progress) -> Result<Programs> {
        let version = format!("-X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}");
        let (major, minor) = major_and_minor(KUBERNETES_VERSION);
        let numbers = format!(
            "-X k8s.io/component-base/version.gitMajor={major} \
             -X k8s.io/component-base/version.gitMinor={minor}"
        );
        let kube = GoProgram {
            name: "kube",
            package: ".",
            link_flags: format!("-s -w {version} {numbers}"),
            links: &KUBE_NAMES,
            slow: "; about 5 minutes the first time",
        };
        let coredns = GoProgram {
            name: "coredns",
            package: ".",
            link_flags: "-s -w".to_owned(),
            links: &[],
            slow: "; about a minute the first time",
        };
        // The version that `helm template` renders for; without it, a Kubernetes of long ago.
        let capabilities = "helm.sh/helm/v3/pkg/chartutil.k8sVersion";
        let helm = GoProgram {
            name: "helm",
            package: "helm.sh/helm/v3/cmd/helm",
            link_flags: format!(
                "-s -w -X {capabilities}Major={major} -X {capabilities}Minor={minor}"
            ),
            ..coredns
        };
        Ok(Programs {
            kube: kube.build(folders, progress)?,
            coredns: coredns.build(folders, progress)?.join("coredns"),
            helm: helm.build(folders, progress)?.join("helm"),
            pause_archive: build_pause(folders, progress)?,
        })
    }

    /// One of Kubernetes' own programs, for example `kubelet` or `kubectl`.
    #[must_use]
    pub fn kube(&self, name: &str) -> PathBuf {
        debug_assert!(
            KUBE_NAMES.contains(&name),
            "{name} is none of {KUBE_NAMES:?}"
        );
        self.kube.join(name)
    }
}

/// A Go module below `e2e/kubernetes/` and what to build of it.
struct GoProgram {
    name: &'static str,
    package: &'static str,
    link_flags: String,
    /// Names besides its own that the program is called by.
    links: &'static [&'static str],
    slow: &'static str,
}

impl GoProgram {
    /// Hands back the folder that holds the program and its links.
    fn build(&self, folders: &Folders, progress: &Progress) -> Result<PathBuf> {
        let module = folders.kubernetes_sources().join(self.name);
        let what = format!("build {} with Go{}", self.name, self.slow);
        let settings = format!("{} {} {:?}", self.package, self.link_flags, self.links);
        let recipe = Recipe {
            what: &what,
            name: self.name,
            settings: &settings,
            source: &module,
        };
        let built = cached(&cache_folder(folders), &recipe, progress, |folder| {
            let bin = folder.join("bin");
            fs::create_dir(&bin)?;
            self.go_build(&module, &bin.join(self.name))?;
            for link in self.links {
                std::os::unix::fs::symlink(self.name, bin.join(link))?;
            }
            Ok(())
        })?;
        Ok(built.join("bin"))
    }

    fn go_build(&self, module: &Path, output: &Path) -> Result<()> {
        let build = External::new("go")
            .args([
                "build",
                "-trimpath",
                "-mod=readonly",
                "-ldflags",
                &self.link_flags,
                "-o",
            ])
            .arg(output)
            .arg(self.package)
            .env("CGO_ENABLED", "0")
            .in_folder(module)
            .limit(BUILD_LIMIT);
        build.run().map(drop)
    }
}

fn build_pause(folders: &Folders, progress: &Progress) -> Result<PathBuf> {
    let source = folders.kubernetes_sources().join("pause");
    let recipe = Recipe {
        what: "build the pause image",
        name: "pause",
        settings: "",
        source: &source,
    };
    let built = cached(&cache_folder(folders), &recipe, progress, |folder| {
        let context = folder.join("context");
        fs::create_dir(&context)?;
        External::new("cc")
            .args(["-static", "-Os", "-s", "-o"])
            .arg(context.join("pause"))
            .arg(source.join("pause.c"))
            .run()?;
        build_image(
            &source.join("Dockerfile"),
            &context,
            PAUSE_IMAGE,
            &folder.join("pause.tar"),
        )
    })?;
    Ok(built.join("pause.tar"))
}

fn cache_folder(folders: &Folders) -> PathBuf {
    folders.cache.join("kubernetes")
}

fn major_and_minor(version: &str) -> (&str, &str) {
    let mut numbers = version.split('.');
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_the_module_builds() {
        let module = Folders::find()
            .unwrap()
            .kubernetes_sources()
            .join("kube/go.mod");
        let module = fs::read_to_string(module).unwrap();
        assert!(module.contains(&format!("k8s.io/kubernetes v{KUBERNETES_VERSION}")));
        assert_eq!(major_and_minor(KUBERNETES_VERSION), ("1", "34"));
    }
}
