//! Apache Kafka's jars, in the same folder of the cache and by the same recipe as the bench's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::external::run;

/// Names the jars and their version: a broker of Kafka's, its clients and tools.
const KAFKA_POM: &str = include_str!("../../../bench/java/pom.xml");
/// Kafka Streams, with the clients that belong to it.
const STREAMS_POM: &str = include_str!("../../streams/pom.xml");
/// Written last, so that a download that broke off is made again.
const DONE: &str = "pom.xml";

/// What Java programs are found in.
#[derive(Debug, Clone)]
pub(crate) struct Jars {
    class_path: String,
}

impl Jars {
    /// Downloads the jars unless they are there.
    pub(crate) fn prepare() -> Result<Self> {
        Self::download("bench", KAFKA_POM)
    }

    /// The same for an application of Kafka Streams.
    pub(crate) fn prepare_streams() -> Result<Self> {
        Self::download("streams", STREAMS_POM)
    }

    fn download(name: &str, text: &str) -> Result<Self> {
        let folder = cache_folder()?.join(name);
        let jars = folder.join("jars");
        if std::fs::read_to_string(folder.join(DONE)).is_ok_and(|pom| pom == text) {
            return Ok(Self::of(&jars));
        }
        eprintln!(
            "downloading Apache Kafka from Maven Central into {}",
            folder.display()
        );
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let pom = folder.join("download.xml");
        std::fs::write(&pom, text)?;
        let file = pom.display().to_string();
        let output = format!("-DoutputDirectory={}", jars.display());
        let goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
        let arguments = ["--quiet", "--batch-mode", "--file", &file, goal];
        run(
            "mvn",
            &[&arguments[..], &["-DincludeScope=runtime", &output]].concat(),
        )?;
        std::fs::rename(&pom, folder.join(DONE))?;
        Ok(Self::of(&jars))
    }

    /// Compiles the Java files of a folder into another; the classes are found first.
    pub(crate) fn compile(&self, sources: &Path, classes: &Path) -> Result<Self> {
        let mut words = vec!["-d".to_owned(), classes.display().to_string()];
        words.extend(["-cp".to_owned(), self.class_path.clone()]);
        for entry in std::fs::read_dir(sources)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "java")
            {
                words.push(path.display().to_string());
            }
        }
        run(
            "javac",
            &words.iter().map(String::as_str).collect::<Vec<_>>(),
        )?;
        Ok(Self {
            class_path: format!("{}:{}", classes.display(), self.class_path),
        })
    }

    fn of(folder: &Path) -> Self {
        Self {
            class_path: folder.join("*").display().to_string(),
        }
    }

    /// The words that run a class.
    pub(crate) fn command(&self, options: &[&str], what: &str) -> Vec<String> {
        let mut words = vec!["java".to_owned()];
        words.extend(options.iter().map(|&option| option.to_owned()));
        words.push("-cp".to_owned());
        words.push(self.class_path.clone());
        words.push(what.to_owned());
        words
    }
}

/// The folder that all of Foz's development tools share: `$FOZ_CACHE`, or `~/.cache/foz`.
fn cache_folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("FOZ_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    let home = set("HOME").context("HOME is not set; set it, or FOZ_CACHE")?;
    Ok(Path::new(&home).join(".cache/foz"))
}
