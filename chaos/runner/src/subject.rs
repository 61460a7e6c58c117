//! The two systems that can be put on the stage: how each is configured, prepared and asked.

mod foz;
mod kafka;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::fault::Kind;
use crate::jars::Jars;
use crate::layout::NodeName;

/// Kafka's default is 30 s: no fault lasts so long, and leaders would never change an ISR themselves.
const LAG_TIME_MAX_MS: u32 = 4_000;

/// Which system is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SubjectName {
    Foz,
    Kafka,
}

impl SubjectName {
    /// As on the command line.
    pub(crate) fn text(self) -> &'static str {
        match self {
            SubjectName::Foz => "foz",
            SubjectName::Kafka => "kafka",
        }
    }
}

/// A system that nodes can be made of.
#[derive(Debug)]
pub(crate) enum Subject {
    /// `foz-broker` at this path.
    Foz {
        broker: PathBuf,
        canary: Option<String>,
        /// Of each partition, also of internal topics.
        replicas: u8,
    },
    /// Apache Kafka in `KRaft` mode.
    Kafka { jars: Jars },
}

impl Subject {
    /// Writes the node's files into `folder`, with the data in `folder/data`.
    pub(crate) fn prepare(&self, name: NodeName, folder: &Path) -> Result<()> {
        match self {
            Subject::Foz { replicas, .. } => foz::prepare(name, *replicas, folder),
            Subject::Kafka { jars } => kafka::prepare(jars, name, folder),
        }
    }

    /// The words that start the node, and its environment.
    pub(crate) fn command(
        &self,
        name: NodeName,
        folder: &Path,
    ) -> (Vec<String>, Vec<(&'static str, String)>) {
        match self {
            Subject::Foz { broker, canary, .. } => {
                let canary = canary.iter().map(|canary| ("FOZ_CANARY", canary.clone()));
                let plain = ("NO_COLOR", "1".to_owned());
                let environment = canary.chain([plain]).collect();
                (foz::command(broker, name, folder), environment)
            }
            Subject::Kafka { jars } => (kafka::command(jars, folder), Vec::new()),
        }
    }

    /// Why a fault of this kind is not put on this system; `None` when it is.
    pub(crate) fn spares(&self, kind: Kind) -> Option<&'static str> {
        match self {
            Subject::Foz { replicas: 1, .. } if kind.loses_data() => Some("it has no other copy"),
            Subject::Foz { .. } => None,
            Subject::Kafka { .. } => kafka::spares(kind),
        }
    }

    /// Which one it is.
    pub(crate) fn name(&self) -> SubjectName {
        match self {
            Subject::Foz { .. } => SubjectName::Foz,
            Subject::Kafka { .. } => SubjectName::Kafka,
        }
    }
}

/// A node's data.
pub(crate) fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}
