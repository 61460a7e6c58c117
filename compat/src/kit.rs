//! Apache Kafka's tests from Maven, and the stand-in for the brokers that they start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use foz_e2e::build_cache::{Recipe, cached};
use foz_e2e::external::External;
use foz_e2e::folders::Folders;
use foz_e2e::progress::Progress;

use crate::maven::copy_jars;
use crate::setting::needs;

const JAVAC_LIMIT: Duration = Duration::from_secs(5 * 60);
/// The jar that holds the tests begins so.
const TESTS: &str = "kafka-clients-integration-tests-";

/// What a JVM needs to run the tests.
#[derive(Debug)]
pub(crate) struct Kit {
    libraries: PathBuf,
    stand_in: PathBuf,
}

impl Kit {
    /// Fetches and compiles what the cache does not have.
    ///
    /// # Errors
    /// A program is missing, or fails; with what it printed.
    pub(crate) fn prepare(folders: &Folders, progress: &Progress) -> Result<Self> {
        needs(&[
            ("java", "default-jdk-headless"),
            ("javac", "default-jdk-headless"),
            ("mvn", "maven"),
            ("setpriv", "util-linux"),
        ])?;
        let kafka = folders.repository.join("compat/kafka");
        let pom = std::fs::read_to_string(kafka.join("pom.xml")).context("reading pom.xml")?;
        let cache = folders.cache.join("java");
        let recipe = Recipe {
            what: "fetch Apache Kafka's integration tests with Maven",
            name: "tests",
            settings: "",
            source: &kafka,
        };
        let libraries = cached(&cache, &recipe, progress, |folder| {
            copy_jars(&kafka, &[], folder)
        })?;
        let java = folders.repository.join("compat/java");
        let recipe = Recipe {
            what: "compile the stand-in for Kafka's brokers",
            name: "standin",
            settings: &pom,
            source: &java,
        };
        let stand_in = cached(&cache, &recipe, progress, |folder| {
            compile(&java, &libraries, folder)
        })?;
        Ok(Self {
            libraries,
            stand_in,
        })
    }

    /// The stand-in comes first: a class of it has the name of one of Kafka's.
    pub(crate) fn class_path(&self) -> String {
        format!("{}:{}/*", self.stand_in.display(), self.libraries.display())
    }

    /// The full names of all classes with tests.
    ///
    /// # Errors
    /// The jar of the tests is not there or cannot be read.
    pub(crate) fn classes(&self) -> Result<Vec<String>> {
        let names = std::fs::read_dir(&self.libraries)?;
        let names: Vec<PathBuf> = names
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        let is_jar = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(TESTS)
        };
        let jar = names.iter().find(is_jar);
        let jar = jar.with_context(|| format!("no {TESTS}* in {}", self.libraries.display()))?;
        let listed = External::new("jar").arg("tf").arg(jar).run()?;
        Ok(classes_of(&listed.text()))
    }
}

fn compile(sources: &Path, libraries: &Path, into: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(sources)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "java")
        {
            files.push(path);
        }
    }
    files.sort();
    External::new("javac")
        .args(["-nowarn", "-d"])
        .arg(into)
        .arg("-cp")
        .arg(format!("{}/*", libraries.display()))
        .args(files)
        .limit(JAVAC_LIMIT)
        .run()
        .map(drop)
}

/// Top-level classes whose names end in Test. Those inside of them come along with them.
fn classes_of(listing: &str) -> Vec<String> {
    let names = listing
        .lines()
        .filter_map(|line| line.strip_suffix(".class"));
    let tests = names.filter(|name| name.ends_with("Test") && !name.contains('$'));
    let mut classes: Vec<String> = tests.map(|name| name.replace('/', ".")).collect();
    classes.sort();
    classes
}

/// A class's name without its package.
pub(crate) fn short_name(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_with_tests_are_found_in_a_jars_listing() {
        let listing = "META-INF/\na/b/CloseTest.class\na/b/CloseTest$1.class\na/b/CloseTest$InnerTest.class\n\
                       a/b/TestUtils.class\na/AdminTest.class\nlog4j2.yaml\n";
        assert_eq!(classes_of(listing), ["a.AdminTest", "a.b.CloseTest"]);
        assert_eq!(short_name("a.b.CloseTest"), "CloseTest");
        assert_eq!(short_name("CloseTest"), "CloseTest");
    }
}
