//! Where files live.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The two folders that everything is found from.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The working copy of the repository.
    pub repository: PathBuf,
    /// What takes long to make and can be made again: `$FOZ_CACHE`, or `~/.cache/foz`.
    ///
    /// The clusters' run folders are here too and not under `/run`: that is memory on most
    /// machines, and container layers, etcd and the volumes of brokers do not belong there.
    pub cache: PathBuf,
}

impl Folders {
    /// # Errors
    /// When neither FOZ_CACHE nor HOME is set, or the folder lies where a node sees its own.
    pub fn find() -> Result<Folders> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = match set("FOZ_CACHE") {
            Some(folder) => PathBuf::from(folder),
            None => {
                let home = set("HOME").context("HOME is not set; set it, or FOZ_CACHE")?;
                Path::new(&home).join(".cache/foz")
            }
        };
        if !cache.is_absolute() {
            bail!(
                "FOZ_CACHE is {}; it must be an absolute path",
                cache.display()
            );
        }
        if let Some(hidden) = NODE_OWN_FOLDERS
            .iter()
            .find(|folder| cache.starts_with(folder))
        {
            let cache = cache.display();
            bail!("{cache} lies below {hidden}, of which a node has its own; set FOZ_CACHE");
        }
        Ok(Folders {
            repository: repository(),
            cache,
        })
    }

    /// Where cargo puts what it builds.
    #[must_use]
    pub fn cargo_target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => self.repository.join(folder),
            None => self.repository.join("target"),
        }
    }

    /// The folder with the Go modules and the pause image.
    #[must_use]
    pub fn kubernetes_sources(&self) -> PathBuf {
        self.repository.join("e2e/kubernetes")
    }
}

/// The host's folders over which a node mounts its own (see `cluster::anchor`).
pub const NODE_OWN_FOLDERS: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// A name for a recipe and the contents of its files: changes when a byte of either or the order
/// does. The hash guards no secret, it is a cache's key.
pub fn content_name(recipe: &str, files: &[PathBuf]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    hasher.write(recipe.as_bytes());
    for file in files {
        let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        hasher.write_usize(bytes.len());
        hasher.write(&bytes);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Writes a file and the folders above it.
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<()> {
    let path = path.as_ref();
    let written = match path.parent() {
        Some(parent) => {
            std::fs::create_dir_all(parent).and_then(|()| std::fs::write(path, contents))
        }
        None => std::fs::write(path, contents),
    };
    written.with_context(|| format!("writing {}", path.display()))
}

fn repository() -> PathBuf {
    let e2e = Path::new(env!("CARGO_MANIFEST_DIR"));
    e2e.parent().unwrap_or(e2e).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_the_folder_of_the_workspace() {
        let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn a_content_name_follows_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        write(&a, "1").unwrap();
        write(&b, "23").unwrap();
        let before = content_name("", &[a.clone(), b.clone()]).unwrap();
        assert_eq!(before, content_name("", &[a.clone(), b.clone()]).unwrap());
        write(&a, "12").unwrap();
        write(&b, "3").unwrap();
        assert_ne!(before, content_name("", &[a, b]).unwrap());
    }
}
