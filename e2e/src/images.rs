//! The images of the broker and the operator: one static binary each (the broker's has `foz` beside
//! it) and the licence in an image from scratch.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::build_cache::remove_folder;
use crate::cluster::Cluster;
use crate::external::External;
use crate::folders::{Folders, content_name};
use crate::progress::Progress;

const CARGO_LIMIT: Duration = Duration::from_secs(60 * 60);
const BUILDAH_LIMIT: Duration = Duration::from_secs(5 * 60);

/// An image in an archive as `docker save` writes it.
#[derive(Debug, Clone)]
pub struct Image {
    /// For example `foz-broker`.
    pub repository: &'static str,
    /// Changes with the contents, so that a cluster rolls exactly when there is something new.
    pub tag: String,
    pub archive: PathBuf,
}

impl Image {
    /// The name that pods use.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{REGISTRY}/{}:{}", self.repository, self.tag)
    }
}

/// The registry that nothing is pulled from: images of this name are on the nodes or nowhere.
pub const REGISTRY: &str = "localhost";

/// The two images.
#[derive(Debug, Clone)]
pub struct Images {
    pub broker: Image,
    pub operator: Image,
}

impl Images {
    /// Builds the binaries with cargo and the images with buildah. Unchanged ones are not built again.
    pub fn build(folders: &Folders, progress: &Progress) -> Result<Images> {
        let binaries = progress.step("build foz-broker, foz and foz-operator, static", || {
            build_binaries(folders)
        })?;
        let image = |repository, dockerfile: &str, programs: &[&str]| {
            progress.step(&format!("build the image {repository}"), || {
                let files: Vec<PathBuf> = programs
                    .iter()
                    .map(|program| binaries.join(program))
                    .collect();
                let dockerfile = folders.repository.join(dockerfile);
                archive(folders, repository, &dockerfile, &files)
            })
        };
        Ok(Images {
            broker: image("foz-broker", "broker/Dockerfile", &["foz-broker", "foz"])?,
            operator: image("foz-operator", "operator/Dockerfile", &["foz-operator"])?,
        })
    }

    /// Gives the images to the nodes of our own cluster.
    pub fn import(&self, cluster: &Cluster, progress: &Progress) -> Result<()> {
        progress.step("give the images to every node", || {
            self.each()
                .try_for_each(|image| cluster.import_image(&image.name(), &image.archive))
        })
    }

    /// Gives the images to a cluster that is not ours, by the user's own command.
    ///
    /// `loader` is a shell command that gets the archive's path as its first argument, for example
    /// `kind load image-archive "$1"`.
    pub fn load_with(&self, loader: &str, progress: &Progress) -> Result<()> {
        self.each().try_for_each(|image| {
            progress.step(
                &format!("load {} with FOZ_E2E_IMAGE_LOADER", image.name()),
                || {
                    let shell = External::new("sh").args(["-ec", loader, "loader"]);
                    shell
                        .arg(&image.archive)
                        .limit(BUILDAH_LIMIT)
                        .run()
                        .map(drop)
                },
            )
        })
    }

    fn each(&self) -> impl Iterator<Item = &Image> {
        [&self.broker, &self.operator].into_iter()
    }
}

/// Builds an image from a Dockerfile and writes it to `archive`.
///
/// buildah runs as on a machine without any container engine: plain copies for layers, and a storage
/// of its own that is gone afterwards.
pub fn build_image(dockerfile: &Path, context: &Path, name: &str, archive: &Path) -> Result<()> {
    let storage = archive.with_extension("storage");
    remove_folder(&storage)?;
    let buildah = || {
        External::new("buildah")
            .args(["--storage-driver", "vfs", "--root"])
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"))
            .limit(BUILDAH_LIMIT)
    };
    let build = buildah().args(["bud", "--isolation", "chroot", "--tag", name, "--file"]);
    build.arg(dockerfile).arg(context).run()?;
    if archive.exists() {
        fs::remove_file(archive)?;
    }
    let target = format!("docker-archive:{}:{name}", archive.display());
    buildah().args(["push", "--quiet", name, &target]).run()?;
    remove_folder(&storage)
}

/// What images are built with. No features: those of foz-server are for tests.
const BUILD: [&str; 15] = [
    "build",
    "--release",
    "--locked",
    "--package",
    "foz-server",
    "--package",
    "foz-cli",
    "--package",
    "foz-operator",
    "--bin",
    "foz-broker",
    "--bin",
    "foz",
    "--bin",
    "foz-operator",
];

/// Hands back the folder of the static binaries.
fn build_binaries(folders: &Folders) -> Result<PathBuf> {
    let target = host_target()?;
    // With an explicit target the flag reaches our programs only: build scripts and procedural
    // macros are loaded by the compiler and cannot be static.
    External::new("cargo")
        .args(BUILD)
        .args(["--target", &target])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .in_folder(&folders.repository)
        .limit(CARGO_LIMIT)
        .run_shown()?;
    Ok(folders.cargo_target().join(target).join("release"))
}

fn host_target() -> Result<String> {
    let version = External::new("rustc").arg("-vV").run()?.text();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

fn archive(
    folders: &Folders,
    repository: &'static str,
    dockerfile: &Path,
    programs: &[PathBuf],
) -> Result<Image> {
    for program in programs {
        check_static(program)?;
    }
    let folder = folders.cache.join("images").join(repository);
    let mut contents = programs.to_vec();
    contents.extend(["LICENSE", "NOTICE"].map(|name| folders.repository.join(name)));
    let mut sources = contents.clone();
    sources.push(dockerfile.to_owned());
    let tag = content_name(repository, &sources)?;
    let image = Image {
        repository,
        archive: folder.join(format!("{tag}.tar")),
        tag,
    };
    if image.archive.exists() {
        return Ok(image);
    }
    remove_folder(&folder)?;
    let context = folder.join("context");
    fs::create_dir_all(&context)?;
    for file in contents {
        let name = file.file_name().context("a file without a name")?;
        fs::copy(&file, context.join(name))?;
    }
    let unfinished = folder.join("unfinished.tar");
    build_image(dockerfile, &context, &image.name(), &unfinished)?;
    fs::rename(&unfinished, &image.archive)?;
    Ok(image)
}

/// A binary that asks for a loader would start nowhere in an image from scratch, and the error there
/// ("no such file") says nothing.
fn check_static(program: &Path) -> Result<()> {
    let headers = External::new("readelf")
        .args(["--program-headers", "--wide"])
        .arg(program)
        .run()?;
    if headers
        .text()
        .lines()
        .any(|line| line.trim_start().starts_with("INTERP"))
    {
        bail!("{} is not static: it asks for a loader", program.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::BUILD;

    /// The feature `canaries` of foz-server switches bugs on. It does not compile with optimisation either.
    #[test]
    fn images_have_no_bugs_that_can_be_switched_on() {
        assert!(BUILD.contains(&"--release"));
        let asks_for_features = |word: &&str| word.contains("feature") || word.starts_with("-F");
        assert!(!BUILD.iter().any(asks_for_features), "{BUILD:?}");
    }
}
