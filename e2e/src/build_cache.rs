//! Folders of built things, named after the contents of what they were built from.
//!
//! A second run finds them and builds nothing. A folder appears by renaming when it is complete, so
//! that a build that was killed leaves no half of one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::folders::content_name;
use crate::progress::Progress;

/// Something that can be built into a folder.
#[derive(Debug)]
pub struct Recipe<'a> {
    /// For the progress line, for example `build kube with Go`.
    pub what: &'a str,
    /// First part of the folder's name.
    pub name: &'a str,
    /// Everything else that the result depends on: flags, names.
    pub settings: &'a str,
    /// The folder whose files (not those of its folders) it is built from.
    pub source: &'a Path,
}

/// The folder `<all>/<name>-<content>`, filled by `make` when it is not there.
///
/// `make` gets an empty folder elsewhere. What earlier sources gave is removed.
pub fn cached(
    all: &Path,
    recipe: &Recipe<'_>,
    progress: &Progress,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let content = content_name(recipe.settings, &files_of(recipe.source)?)?;
    let done = all.join(format!("{}-{content}", recipe.name));
    if done.exists() {
        return Ok(done);
    }
    fs::create_dir_all(all).with_context(|| format!("making {}", all.display()))?;
    // One build of a thing at a time; whoever waited finds it done.
    let lock = File::create(all.join(format!("{}.lock", recipe.name)))?;
    lock.lock()
        .with_context(|| format!("waiting for another build of {}", recipe.name))?;
    if done.exists() {
        return Ok(done);
    }
    progress.step(recipe.what, || {
        let building = all.join(format!("{}.building", recipe.name));
        remove_folder(&building)?;
        fs::create_dir(&building)?;
        make(&building)?;
        for entry in fs::read_dir(all)?.flatten() {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("{}-", recipe.name))
            {
                remove_folder(&entry.path())?;
            }
        }
        fs::rename(&building, &done)?;
        Ok(())
    })?;
    Ok(done)
}

/// Removes a folder with all that is in it, if it is there.
pub fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.is_file());
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tempfile::TempDir;

    use super::*;

    fn make_it(folder: &TempDir, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let source = folder.path().join("source");
        let recipe = Recipe {
            what: "make it",
            name: "it",
            settings: "",
            source: &source,
        };
        cached(
            &folder.path().join("all"),
            &recipe,
            &Progress::start(),
            make,
        )
    }

    fn write_source(folder: &TempDir, contents: &str) {
        crate::folders::write(folder.path().join("source/file"), contents).unwrap();
    }

    #[test]
    fn it_is_made_once_and_again_when_the_source_changes() {
        let folder = tempfile::tempdir().unwrap();
        let made = Cell::new(0);
        let make = || {
            make_it(&folder, |folder| {
                made.set(made.get() + 1);
                Ok(fs::write(folder.join("result"), "")?)
            })
            .unwrap()
        };
        write_source(&folder, "1");
        let first = make();
        assert_eq!((make(), made.get()), (first.clone(), 1));
        write_source(&folder, "2");
        let second = make();
        assert_eq!(made.get(), 2);
        assert!(second.join("result").exists() && !first.exists());
    }

    #[test]
    fn a_build_that_failed_half_way_is_begun_again_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        write_source(&folder, "1");
        let failed = make_it(&folder, |folder| {
            fs::write(folder.join("half"), "")?;
            anyhow::bail!("killed")
        });
        failed.unwrap_err();
        let done = make_it(&folder, |folder| {
            assert!(!folder.join("half").exists());
            Ok(())
        });
        assert!(done.unwrap().exists());
    }
}
