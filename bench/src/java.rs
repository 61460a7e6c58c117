//! Kafka's jars from Maven Central, and commands that run them.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::process::Command;

/// Names the jars and their version.
const POM: &str = include_str!("../java/pom.xml");

/// Written last, so that a download that broke off is made again.
const DONE: &str = "pom.xml";

/// A folder of jars.
#[derive(Debug)]
pub(crate) struct Java {
    jars: PathBuf,
}

impl Java {
    /// Downloads the jars unless they are there.
    ///
    /// # Errors
    /// Says which program is missing, or what Maven printed.
    pub(crate) async fn prepare() -> anyhow::Result<Self> {
        require("java", "-version").await?;
        let folder = cache_folder()?.join("bench");
        let jars = folder.join("jars");
        if std::fs::read_to_string(folder.join(DONE)).is_ok_and(|pom| pom == POM) {
            return Ok(Self { jars });
        }
        require("mvn", "-version").await?;
        eprintln!(
            "downloading Apache Kafka from Maven Central into {}",
            folder.display()
        );
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let pom = folder.join("download.xml");
        std::fs::write(&pom, POM)?;
        copy_dependencies(&pom, &jars).await?;
        std::fs::rename(&pom, folder.join(DONE))?;
        Ok(Self { jars })
    }

    /// A command that runs a class of the jars, or a `.java` file by itself, which takes a JDK (JEP 330). It
    /// dies with the value.
    pub(crate) fn command(&self, options: &[&str], main_class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(options)
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(main_class)
            .kill_on_drop(true);
        command
    }
}

async fn copy_dependencies(pom: &Path, jars: &Path) -> anyhow::Result<()> {
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(pom)
        .arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies")
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .output()
        .await?;
    if !output.status.success() {
        bail!("mvn failed:\n{}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

async fn require(program: &str, argument: &str) -> anyhow::Result<()> {
    let output = Command::new(program).arg(argument).output().await;
    if !output.is_ok_and(|output| output.status.success()) {
        bail!(
            "{program} is needed to run Apache Kafka: apt-get install openjdk-17-jre-headless maven"
        );
    }
    Ok(())
}

/// The folder that all of Foz's development tools share: `$FOZ_CACHE`, or `~/.cache/foz`.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("FOZ_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    let home = set("HOME").context("HOME is not set; set it, or FOZ_CACHE")?;
    Ok(Path::new(&home).join(".cache/foz"))
}
