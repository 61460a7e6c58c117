//! The clients: one JVM in the clients' namespace. It writes the history (`chaos/java`), or has its words counted
//! (`chaos/streams`).

mod figures;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub(crate) use figures::Figures;

use crate::jars::Jars;
use crate::layout::{NodeName, Place, bootstrap};
use crate::network::Network;
use crate::streams::{APPLICATION, COUNTS_TOPIC, LINES_TOPIC};

const DESCRIBE_LIMIT: Duration = Duration::from_secs(60);

/// What the clients do.
#[derive(Debug, Clone)]
pub(crate) struct WorkloadConfig {
    /// Name and number of partitions of each.
    pub(crate) topics: Vec<(String, i32)>,
    /// Records a second, all producers together.
    pub(crate) rate: u32,
    pub(crate) request_timeout_ms: u32,
    pub(crate) delivery_timeout_ms: u32,
    pub(crate) program: Program,
}

/// What runs.
#[derive(Debug, Clone)]
pub(crate) enum Program {
    /// Producers and consumers that write down all that they see.
    History {
        producers: u32,
        group_members: u32,
        record_bytes: u32,
        history: PathBuf,
        transactions: Option<Transactions>,
    },
    /// Lines of words for a word count, and what comes of them.
    Words {
        seed: u64,
        /// How long counts may take to become complete.
        limit: Duration,
        /// Processes that count.
        applications: u8,
    },
}

/// Transactions beside the rest: some clients write a topic in transactions, and others copy it to another, each value
/// once.
#[derive(Debug, Clone)]
pub(crate) struct Transactions {
    /// `transaction.version`: 1 or 2.
    pub(crate) version: u8,
    pub(crate) producers: u32,
    pub(crate) copiers: u32,
    pub(crate) written: String,
    pub(crate) copies: String,
}

impl Program {
    /// Compiles it, and what belongs to it.
    pub(crate) fn compile(&self, folder: &Path) -> Result<Jars> {
        let (jars, sources) = match self {
            Program::History { .. } => (Jars::prepare()?, "../java"),
            Program::Words { .. } => (Jars::prepare_streams()?, "../streams"),
        };
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(sources);
        jars.compile(&sources, &folder.join("classes"))
    }

    fn class(&self) -> &'static str {
        match self {
            Program::History { .. } => "dev.foz.chaos.Workload",
            Program::Words { .. } => "dev.foz.chaos.streams.Words",
        }
    }
}

/// The running clients. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Workload {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
    figures: Arc<Mutex<Figures>>,
    log: PathBuf,
    /// Whether it knows the command `describe`.
    describes: bool,
}

impl Workload {
    /// Starts what was compiled; its errors go to `workload.log` in `folder`.
    pub(crate) fn start(
        config: &WorkloadConfig,
        compiled: &Jars,
        network: &Network,
        folder: &Path,
    ) -> Result<Self> {
        let options = ["-Xmx512m", "-XX:+UseSerialGC"];
        let words = compiled.command(&options, config.program.class());
        let words = [network.prefix(Place::Clients), words].concat();
        let log = folder.join("workload.log");
        let (program, arguments) = words.split_first().context("a command has words")?;
        let mut child = Command::new(program)
            .args(arguments)
            .args(config.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .context("cannot run java")?;
        let commands = child.stdin.take().context("stdin is piped")?;
        let output = child.stdout.take().context("stdout is piped")?;
        let figures = Arc::new(Mutex::new(Figures::default()));
        let (answer, answers) = channel();
        let newest = Arc::clone(&figures);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match Figures::parse(&line) {
                    Some(figures) => {
                        *newest.lock().unwrap_or_else(PoisonError::into_inner) = figures;
                    }
                    None => {
                        // Nobody listens any more: the run is over.
                        let _ = answer.send(line);
                    }
                }
            }
        });
        Ok(Self {
            child,
            commands,
            answers,
            figures,
            log,
            describes: matches!(config.program, Program::Words { .. }),
        })
    }

    /// The newest figures.
    pub(crate) fn figures(&self) -> Figures {
        self.figures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gives a command and waits for its answer; returns what was said before it.
    pub(crate) fn command(
        &mut self,
        command: &str,
        answer: &str,
        limit: Duration,
    ) -> Result<Vec<String>> {
        writeln!(self.commands, "{command}")?;
        self.commands.flush()?;
        let deadline = std::time::Instant::now() + limit;
        let mut said = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(line) if line == answer => return Ok(said),
                Ok(line) => {
                    eprintln!("workload: {line}");
                    said.push(line);
                }
                Err(_) => bail!(
                    "the workload did not answer {answer:?} to {command:?} within {} s; see {}",
                    limit.as_secs(),
                    self.log.display()
                ),
            }
        }
    }

    /// Lets it write down how far everything is, where it can: for who looks for what is stuck.
    pub(crate) fn describe(&mut self) {
        if self.describes
            && self
                .command("describe", "described", DESCRIBE_LIMIT)
                .is_ok()
        {
            eprintln!("how far everything is stands in {}", self.log.display());
        }
    }

    /// Ends it when all is written.
    pub(crate) fn end(mut self) -> Result<()> {
        writeln!(self.commands, "end")?;
        self.commands.flush()?;
        self.child.wait()?;
        Ok(())
    }

    /// Complaints that came unasked; and whether it has ended.
    pub(crate) fn check(&mut self) -> Result<Vec<String>> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "the workload ended with {status}; see {}",
                self.log.display()
            );
        }
        Ok(self.answers.try_iter().collect())
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl WorkloadConfig {
    /// Every partition, in the order of the figures.
    pub(crate) fn partitions(&self) -> Vec<(String, i32)> {
        let topics = self.topics.iter();
        topics
            .flat_map(|(topic, count)| (0..*count).map(|index| (topic.clone(), index)))
            .collect()
    }

    /// How many partitions, the first ones, are written to without applications.
    pub(crate) fn led(&self) -> usize {
        match self.program {
            Program::History { .. } => self.partitions().len(),
            Program::Words { .. } => LINES_TOPIC.1 as usize,
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("bootstrap={}", bootstrap()),
            format!("rate={}", self.rate),
            format!("request_timeout_ms={}", self.request_timeout_ms),
            format!("delivery_timeout_ms={}", self.delivery_timeout_ms),
        ];
        match &self.program {
            Program::History {
                producers,
                group_members,
                record_bytes,
                history,
                transactions,
            } => {
                let topics = self.topics.iter();
                let topics: Vec<_> = topics
                    .map(|(name, count)| format!("{name}:{count}"))
                    .collect();
                let racks: Vec<_> = NodeName::brokers().map(|name| name.to_string()).collect();
                arguments.extend([
                    format!("history={}", history.display()),
                    format!("topics={}", topics.join(",")),
                    format!("racks={}", racks.join(",")),
                    format!("producers={producers}"),
                    format!("group_members={group_members}"),
                    format!("bytes={record_bytes}"),
                ]);
                if let Some(transactions) = transactions {
                    arguments.extend([
                        format!("transaction_version={}", transactions.version),
                        format!("transactional_producers={}", transactions.producers),
                        format!("copiers={}", transactions.copiers),
                        format!("transactions={}", transactions.written),
                        format!("copies={}", transactions.copies),
                    ]);
                }
            }
            Program::Words { seed, limit, .. } => arguments.extend([
                format!("application={APPLICATION}"),
                format!("lines={}", LINES_TOPIC.0),
                format!("counts={}", COUNTS_TOPIC.0),
                format!("partitions={}", LINES_TOPIC.1),
                format!("seed={seed}"),
                format!("limit_s={}", limit.as_secs()),
            ]),
        }
        arguments
    }
}
