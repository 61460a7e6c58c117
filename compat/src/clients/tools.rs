//! Apache Kafka's command-line tools. What is typed and what must come stands in a transcript: [`transcript`].
//!
//! A step whose output is not there yet is tried again for a while: as with Kafka, not every broker has heard of a
//! change when it is answered.

mod beside;
mod hanging;
mod table;
mod transcript;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use foz_e2e::build_cache::{Recipe, cached, remove_folder};
use foz_e2e::external::External;
use foz_e2e::folders::write;
use foz_e2e::progress::Progress;

use crate::child::dies_with_us;
use crate::clients::cluster::Cluster;
use crate::clients::outcome::{Outcome, Verdict};
use crate::maven::copy_jars;
use beside::Beside;
use hanging::hang;
pub(crate) use table::TOOLS;
use table::class_of;
use transcript::{BOOTSTRAP, Call, Deed, FOLDER, NODES, Values, filled};
pub(crate) use transcript::{Step, Story, read_stories};

/// What the outcomes of stories are of.
pub(crate) const OF: &str = "tools";
/// A tool starts a JVM, on a machine that is busy with the others.
const TOOL_LIMIT: Duration = Duration::from_secs(90);
const AGAIN_LIMIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// For programs of a few seconds on few cores.
pub(crate) const JVM: [&str; 4] = [
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xmx400m",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/// The jars of Kafka's tools, and of Kafka.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    libraries: PathBuf,
    /// Classes that a JVM need not load from their jars: it takes half the time to start.
    archive: Option<PathBuf>,
}

impl Tools {
    /// Fetches what the cache does not have.
    ///
    /// # Errors
    /// Maven is missing or fails.
    pub(crate) fn prepare(sources: &Path, place: &Path, progress: &Progress) -> Result<Self> {
        let java = sources.join("java");
        let recipe = Recipe {
            what: "fetch Kafka's tools with Maven",
            name: "tools",
            settings: "",
            source: &java,
        };
        let libraries = cached(place, &recipe, progress, |folder| {
            copy_jars(&java, &["-P", "tools"], folder)
        })?;
        Ok(Self {
            libraries,
            archive: None,
        })
    }

    /// Has a first tool write its classes down for the others, unless an earlier run did.
    ///
    /// # Errors
    /// The tool fails.
    pub(crate) fn with_archive(self, bootstrap: &str, place: &Path) -> Result<Self> {
        let name = self.libraries.file_name().unwrap_or_default();
        // What `cached` removes with earlier jars are folders beside them.
        let folder = place.join("archive");
        let archive = folder.join(format!("{}.jsa", name.display()));
        if !archive.exists() {
            remove_folder(&folder)?;
            std::fs::create_dir_all(&folder)?;
            let new = folder.join("new");
            External::new("java")
                .arg(format!("-XX:ArchiveClassesAtExit={}", new.display()))
                .args(self.words(class_of("kafka-topics")?))
                .args(["--bootstrap-server", bootstrap, "--list"])
                .limit(TOOL_LIMIT)
                .run()?;
            std::fs::rename(new, &archive)?;
        }
        Ok(Self {
            archive: Some(archive),
            ..self
        })
    }

    /// What is behind `java` to run a class.
    pub(crate) fn words(&self, class: &str) -> Vec<String> {
        let mut words: Vec<String> = JVM.map(str::to_owned).into();
        if let Some(archive) = &self.archive {
            // Where it does not fit, the JVM does without.
            words.push(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        words.extend([
            "-cp".to_owned(),
            format!("{}/*", self.libraries.display()),
            class.to_owned(),
        ]);
        words
    }

    /// Runs the story until its end or the first step that is not as it should be.
    ///
    /// # Errors
    /// No JVM can be started.
    pub(crate) fn tell(
        &self,
        story: &Story,
        cluster: &Cluster,
        place: &Path,
    ) -> Result<Vec<Outcome>> {
        let folder = place.join(story.name.replace(' ', "-"));
        std::fs::create_dir_all(&folder)?;
        let values = [
            (BOOTSTRAP, cluster.bootstrap().to_owned()),
            (FOLDER, folder.display().to_string()),
            (NODES, cluster.folder().display().to_string()),
        ];
        let mut telling = Telling {
            tools: self,
            cluster,
            folder,
            values: values.map(|(name, value)| (name.to_owned(), value)).into(),
            beside: Vec::new(),
        };
        let mut outcome = Outcome {
            of: OF.to_owned(),
            case: story.name.clone(),
            verdict: Verdict::Passed,
            detail: String::new(),
        };
        for step in &story.steps {
            if let Some(problem) = telling.take(step)? {
                outcome.verdict = Verdict::Failed;
                outcome.detail = format!("tools.txt:{}: {problem}", step.line);
                break;
            }
        }
        Ok(vec![outcome])
    }
}

/// A story of which some steps were taken.
struct Telling<'a> {
    tools: &'a Tools,
    cluster: &'a Cluster,
    folder: PathBuf,
    values: Values,
    beside: Vec<Beside>,
}

impl Telling<'_> {
    /// What is not as it should be.
    fn take(&mut self, step: &Step) -> Result<Option<String>> {
        self.write_files(step)?;
        match &step.deed {
            Deed::Run(call) => self.run(step, call),
            Deed::Beside(call) => self.begin(step, call),
            Deed::Hang { topic } => Ok(self.hang(topic)),
            Deed::Kill(node) => {
                self.cluster.kill(*node)?;
                Ok(None)
            }
            Deed::Start(node) => {
                self.cluster.start_again(*node)?;
                Ok(None)
            }
        }
    }

    fn write_files(&self, step: &Step) -> Result<()> {
        let mut names: Vec<&String> = step.files.iter().map(|(name, _)| name).collect();
        names.dedup();
        for name in names {
            let lines = step.files.iter().filter(|(of, _)| of == name);
            let lines = lines.map(|(_, text)| filled(text, &self.values) + "\n");
            write(self.folder.join(name), lines.collect::<String>())?;
        }
        Ok(())
    }

    fn run(&mut self, step: &Step, call: &Call) -> Result<Option<String>> {
        let deadline = Instant::now() + AGAIN_LIMIT;
        loop {
            let output = dies_with_us("java")
                .args(self.words(call))
                .stdin(step.input.as_str())
                .limit(TOOL_LIMIT)
                .run_any()?;
            let said = format!("{}\n{}", output.text(), output.error_text());
            let Some(problem) = step.problem(&said, output.status.code(), &self.values)? else {
                step.remember(&said, &mut self.values)?;
                return Ok(None);
            };
            // Only what shows something can be asked again.
            if !step.shows() || Instant::now() > deadline {
                return Ok(Some(format!("{problem}:\n{}", said.trim())));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Until it has said what it should.
    fn begin(&mut self, step: &Step, call: &Call) -> Result<Option<String>> {
        let said = self.folder.join(format!("beside-{}", step.line));
        let mut beside = Beside::start("java", &self.words(call), said)?;
        let deadline = Instant::now() + TOOL_LIMIT;
        loop {
            // In this order: what it says at its end counts.
            let has_ended = beside.has_ended()?;
            let said = beside.said()?;
            let Some(problem) = step.problem(&said, Some(step.status), &self.values)? else {
                step.remember(&said, &mut self.values)?;
                self.beside.push(beside);
                return Ok(None);
            };
            if has_ended {
                return Ok(Some(format!("{problem}, and has ended:\n{}", said.trim())));
            }
            if Instant::now() > deadline {
                return Ok(Some(format!("{problem}:\n{}", said.trim())));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Until the leader has heard that it need not ask.
    fn hang(&self, topic: &str) -> Option<String> {
        let topic = filled(topic, &self.values);
        let deadline = Instant::now() + AGAIN_LIMIT;
        loop {
            let error = match hang(self.cluster.bootstrap(), &topic) {
                Ok(()) => return None,
                Err(error) => error,
            };
            if Instant::now() > deadline {
                return Some(format!("no transaction hangs in {topic}: {error:#}"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// What is behind `java`.
    fn words(&self, call: &Call) -> Vec<String> {
        let typed = call.words.iter().map(|word| filled(word, &self.values));
        let mut words = self.tools.words(call.class);
        words.extend(typed);
        words
    }
}
