//! The subject and its clients as the command line describes them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::jars::Jars;
use crate::layout::NodeName;
use crate::stage::Stage;
use crate::subject::{Subject, SubjectName};
use crate::wire::NewTopic;
use crate::workload::{Program, Transactions, WorkloadConfig};

const PLAIN_TOPIC: (&str, i32) = ("chaos", 6);
/// Each acknowledgement of this one waits for flushes.
const FLUSHED_TOPIC: (&str, i32) = ("chaos-flushed", 2);
/// Written in transactions, and what others make of it: the last of the topics.
const TRANSACTIONAL_TOPICS: [(&str, i32); 2] = [("chaos-transactions", 4), ("chaos-copies", 4)];
/// So that segments close while a run lasts.
const SEGMENT_BYTES: u32 = 1 << 20;
const START_LIMIT: Duration = Duration::from_secs(180);
/// Outlasts any fault: what fails after that is unknown, and proves less.
const DELIVERY_TIMEOUT_MS: u32 = 120_000;

/// What is put on the stage.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) subject: SubjectName,
    pub(crate) broker: Option<PathBuf>,
    pub(crate) canary: Option<String>,
    pub(crate) rate: u32,
    pub(crate) request_timeout_ms: u32,
    /// Of each partition.
    pub(crate) replicas: u8,
    /// `transaction.version` of the cluster; 0: no client has transactions. The seed decides where there is none.
    pub(crate) transaction_version: Option<u8>,
}

impl Setting {
    /// The system under test.
    pub(crate) fn subject(&self) -> Result<Subject> {
        Ok(match (self.subject, &self.broker) {
            (SubjectName::Kafka, _) => Subject::Kafka {
                jars: Jars::prepare()?,
            },
            (SubjectName::Foz, Some(broker)) => {
                ensure!(broker.is_file(), "{} is no program", broker.display());
                Subject::Foz {
                    broker: broker.canonicalize()?,
                    canary: self.canary.clone(),
                    replicas: self.replicas,
                }
            }
            (SubjectName::Foz, None) => bail!(
                "--broker is needed: the foz-broker to test, as `cargo build -p foz-server` makes it"
            ),
        })
    }

    /// What the clients do; their history goes into `folder`.
    pub(crate) fn workload(&self, folder: &Path, seed: u64) -> WorkloadConfig {
        let mut topics = vec![PLAIN_TOPIC, FLUSHED_TOPIC];
        let [written, copies] = TRANSACTIONAL_TOPICS;
        let version = self.transaction_version.unwrap_or(1 + (seed % 2) as u8);
        let transactions = (version > 0).then(|| Transactions {
            version,
            producers: 2,
            copiers: 2,
            written: written.0.to_owned(),
            copies: copies.0.to_owned(),
        });
        if transactions.is_some() {
            topics.extend([written, copies]);
        }
        let topics = topics.into_iter();
        WorkloadConfig {
            topics: topics
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            rate: self.rate,
            request_timeout_ms: self.request_timeout_ms,
            delivery_timeout_ms: DELIVERY_TIMEOUT_MS,
            program: Program::History {
                producers: 3,
                group_members: 2,
                record_bytes: 24,
                history: folder.join("clients.jsonl"),
                transactions,
            },
        }
    }
}

/// Makes the topics of the workload as soon as the cluster does it, and waits until all is in sync.
pub(crate) fn prepare_topics(
    stage: &Stage,
    workload: &WorkloadConfig,
    replicas: u8,
    interrupted: &AtomicBool,
) -> Result<()> {
    let brokers: Vec<NodeName> = NodeName::brokers().collect();
    let deadline = Instant::now() + START_LIMIT;
    for (name, partitions) in &workload.topics {
        let topic = new_topic(name, *partitions, replicas);
        wait(deadline, interrupted, || {
            let created = stage.observer.create_topic(&topic, &brokers);
            created.err().map(|error| format!("{error:#}"))
        })?;
    }
    let names: Vec<String> = workload
        .topics
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let partitions = workload.partitions().len();
    wait(deadline, interrupted, || {
        let unsettled = stage.observer.unsettled(&names, partitions, replicas);
        (!unsettled.is_empty()).then(|| unsettled.join("; "))
    })
}

fn new_topic(name: &str, partitions: i32, replicas: u8) -> NewTopic {
    let mut configs = vec![
        ("segment.bytes", SEGMENT_BYTES.to_string()),
        ("retention.ms", "-1".to_owned()),
        ("min.insync.replicas", replicas.min(2).to_string()),
    ];
    configs.push(if name == FLUSHED_TOPIC.0 {
        ("flush.messages", "1".to_owned())
    } else {
        // So that there are flushes that can fail.
        ("flush.ms", "1000".to_owned())
    });
    NewTopic {
        name: name.to_owned(),
        partitions,
        replicas: i16::from(replicas),
        configs,
    }
}

/// Until `missing` says nothing.
fn wait(
    deadline: Instant,
    interrupted: &AtomicBool,
    mut missing: impl FnMut() -> Option<String>,
) -> Result<()> {
    while let Some(what) = missing() {
        ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
        ensure!(
            Instant::now() < deadline,
            "the cluster is not there after {} s: {what}",
            START_LIMIT.as_secs()
        );
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}
