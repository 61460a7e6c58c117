//! Apache Kafka's own Java clients and tools, fetched by Maven as `e2e/java/pom.xml` says.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::build_cache::{Recipe, cached};
use crate::external::External;
use crate::folders::Folders;
use crate::progress::Progress;

/// The classes of the tools.
pub mod tool {
    pub const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
    pub const REASSIGN_PARTITIONS: &str =
        "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
    pub const CONSOLE_PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
    pub const CONSOLE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    pub const PRODUCER_PERFORMANCE: &str = "org.apache.kafka.tools.ProducerPerformance";
    pub const CONSUMER_PERFORMANCE: &str = "org.apache.kafka.tools.ConsumerPerformance";
    pub const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
    pub const DUMP_LOG: &str = "org.apache.kafka.tools.DumpLogSegments";
}

const MAVEN_LIMIT: Duration = Duration::from_secs(10 * 60);
/// A tool starts a JVM on a machine that is busy with a whole cluster.
const TOOL_LIMIT: Duration = Duration::from_secs(120);

/// The class path of the tools.
#[derive(Debug, Clone)]
pub struct Java {
    libraries: PathBuf,
    sources: PathBuf,
}

impl Java {
    /// Fetches the libraries unless the cache has them.
    pub fn fetch(folders: &Folders, progress: &Progress) -> Result<Java> {
        let sources = folders.repository.join("e2e/java");
        let recipe = Recipe {
            what: "fetch Apache Kafka's Java clients with Maven",
            name: "clients",
            settings: "",
            source: &sources,
        };
        let folder = cached(&folders.cache.join("java"), &recipe, progress, |folder| {
            External::new("mvn")
                .args(["--quiet", "--batch-mode", "dependency:copy-dependencies"])
                .arg(format!(
                    "-DoutputDirectory={}",
                    folder.join("lib").display()
                ))
                .in_folder(&sources)
                .limit(MAVEN_LIMIT)
                .run()
                .map(drop)
        })?;
        Ok(Java {
            libraries: folder.join("lib"),
            sources,
        })
    }

    /// Adds the words that run a class, or a source file of `e2e/java`, to a command whose program
    /// is `java`.
    #[must_use]
    pub fn on(&self, java: External, class_or_source: &str) -> External {
        let what = if class_or_source.ends_with(".java") {
            self.sources.join(class_or_source).display().to_string()
        } else {
            class_or_source.to_owned()
        };
        java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg("-cp")
            .arg(format!("{}/*", self.libraries.display()))
            .arg(what)
            .limit(TOOL_LIMIT)
    }
}
