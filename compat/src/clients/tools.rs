//! Apache Kafka's command-line tools: a transcript of what is typed and what must come.
//!
//! `== name` begins a story; its steps go one after the other, and stories beside each other. In a step:
//! - `$ kafka-topics --list` is what is typed; `--bootstrap-server` is added to what does not name it.
//! - `< text` is a line of its input.
//! - `> pattern` must be found in what it prints (a regular expression, `^` and `$` are those of lines), `! pattern` must
//!   not.
//! - `= 1` is its exit status where that is not 0.
//! - `@ name text` writes a file before; `{folder}` in a step is where it is.
//!
//! A step whose output is not there yet is tried again for a while: as with Kafka, not every broker has heard of a
//! change when it is answered.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use foz_e2e::build_cache::{Recipe, cached, remove_folder};
use foz_e2e::external::External;
use foz_e2e::folders::write;
use foz_e2e::progress::Progress;
use regex::{Regex, RegexBuilder};

use crate::child::dies_with_us;
use crate::clients::outcome::{Outcome, Verdict};
use crate::maven::copy_jars;

/// What the outcomes of stories are of.
pub(crate) const OF: &str = "tools";
/// A tool starts a JVM, on a machine that is busy with the others.
const TOOL_LIMIT: Duration = Duration::from_secs(90);
const AGAIN_LIMIT: Duration = Duration::from_secs(10);
/// For programs of a few seconds on few cores.
pub(crate) const JVM: [&str; 4] = [
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xmx400m",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/// The tools that must run, and the classes that their scripts start.
pub(crate) const TOOLS: [(&str, &str); 27] = [
    ("kafka-acls", "org.apache.kafka.tools.AclCommand"),
    (
        "kafka-broker-api-versions",
        "org.apache.kafka.tools.BrokerApiVersionsCommand",
    ),
    (
        "kafka-client-metrics",
        "org.apache.kafka.tools.ClientMetricsCommand",
    ),
    ("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
    ("kafka-configs", "kafka.admin.ConfigCommand"),
    (
        "kafka-console-consumer",
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
    ),
    (
        "kafka-console-producer",
        "org.apache.kafka.tools.ConsoleProducer",
    ),
    (
        "kafka-consumer-groups",
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    ),
    (
        "kafka-consumer-perf-test",
        "org.apache.kafka.tools.ConsumerPerformance",
    ),
    (
        "kafka-delegation-tokens",
        "org.apache.kafka.tools.DelegationTokenCommand",
    ),
    (
        "kafka-delete-records",
        "org.apache.kafka.tools.DeleteRecordsCommand",
    ),
    (
        "kafka-e2e-latency",
        "org.apache.kafka.tools.EndToEndLatency",
    ),
    ("kafka-features", "org.apache.kafka.tools.FeatureCommand"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    ("kafka-groups", "org.apache.kafka.tools.GroupsCommand"),
    (
        "kafka-leader-election",
        "org.apache.kafka.tools.LeaderElectionCommand",
    ),
    ("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    (
        "kafka-metadata-quorum",
        "org.apache.kafka.tools.MetadataQuorumCommand",
    ),
    (
        "kafka-producer-perf-test",
        "org.apache.kafka.tools.ProducerPerformance",
    ),
    (
        "kafka-reassign-partitions",
        "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    ),
    (
        "kafka-share-groups",
        "org.apache.kafka.tools.consumer.group.ShareGroupCommand",
    ),
    (
        "kafka-streams-application-reset",
        "org.apache.kafka.tools.StreamsResetter",
    ),
    (
        "kafka-streams-groups",
        "org.apache.kafka.tools.streams.StreamsGroupCommand",
    ),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
    (
        "kafka-transactions",
        "org.apache.kafka.tools.TransactionsCommand",
    ),
    (
        "kafka-verifiable-consumer",
        "org.apache.kafka.tools.VerifiableConsumer",
    ),
    (
        "kafka-verifiable-producer",
        "org.apache.kafka.tools.VerifiableProducer",
    ),
];

/// Steps that go one after the other.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Step {
    /// The line of the transcript.
    line: usize,
    pub(crate) class: &'static str,
    words: Vec<String>,
    files: Vec<(String, String)>,
    input: String,
    pub(crate) wanted: Vec<Regex>,
    unwanted: Vec<Regex>,
    pub(crate) status: i32,
}

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
        bootstrap: &str,
        place: &Path,
    ) -> Result<Vec<Outcome>> {
        let folder = place.join(story.name.replace(' ', "-"));
        let mut outcome = Outcome {
            of: OF.to_owned(),
            case: story.name.clone(),
            verdict: Verdict::Passed,
            detail: String::new(),
        };
        for step in &story.steps {
            if let Some(problem) = self.take(step, bootstrap, &folder)? {
                outcome.verdict = Verdict::Failed;
                outcome.detail = problem;
                break;
            }
        }
        Ok(vec![outcome])
    }

    /// What is not as it should be.
    fn take(&self, step: &Step, bootstrap: &str, folder: &Path) -> Result<Option<String>> {
        for (name, text) in &step.files {
            write(folder.join(name), text)?;
        }
        let deadline = Instant::now() + AGAIN_LIMIT;
        loop {
            let words = step.words.iter().map(|word| {
                let word = word.replace("{bootstrap}", bootstrap);
                word.replace("{folder}", &folder.display().to_string())
            });
            let output = dies_with_us("java")
                .args(self.words(step.class))
                .args(words)
                .stdin(step.input.as_str())
                .limit(TOOL_LIMIT)
                .run_any()?;
            let said = format!("{}\n{}", output.text(), output.error_text());
            let Some(problem) = step.problem(&said, output.status.code()) else {
                return Ok(None);
            };
            // Only what shows something can be asked again.
            if !step.shows() || Instant::now() > deadline {
                let said = said.trim();
                return Ok(Some(format!("tools.txt:{}: {problem}:\n{said}", step.line)));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Step {
    fn problem(&self, said: &str, status: Option<i32>) -> Option<String> {
        if status != Some(self.status) {
            let status = status.map_or("a signal".to_owned(), |code| code.to_string());
            return Some(format!("it ended with {status} and not {}", self.status));
        }
        let lacks = self.wanted.iter().find(|pattern| !pattern.is_match(said));
        let has = self.unwanted.iter().find(|pattern| pattern.is_match(said));
        lacks
            .map(|pattern| format!("it does not say {pattern}"))
            .or_else(|| has.map(|pattern| format!("it says {pattern}")))
    }

    fn shows(&self) -> bool {
        let is_show =
            |word: &String| ["describe", "list", "verify"].contains(&word.trim_start_matches('-'));
        self.words.iter().any(is_show)
    }
}

/// # Errors
/// Names the line that is none of a transcript.
pub(crate) fn read_stories(text: &str) -> Result<Vec<Story>> {
    let mut stories: Vec<Story> = Vec::new();
    let mut files = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        read_line(&mut stories, &mut files, number, line)
            .with_context(|| format!("tools.txt:{number}: {line:?}"))?;
    }
    Ok(stories)
}

fn read_line(
    stories: &mut Vec<Story>,
    files: &mut Vec<(String, String)>,
    line: usize,
    text: &str,
) -> Result<()> {
    if text.is_empty() || text.starts_with('#') {
        return Ok(());
    }
    let (mark, rest) = text.split_once(' ').context("no mark and a space")?;
    if mark == "==" {
        stories.push(Story {
            name: rest.to_owned(),
            steps: Vec::new(),
        });
        return Ok(());
    }
    let story = stories.last_mut().context("before the first story")?;
    if mark == "@" {
        let (name, text) = rest.split_once(' ').context("no name and text of a file")?;
        files.push((name.to_owned(), text.to_owned()));
        return Ok(());
    }
    if mark == "$" {
        story
            .steps
            .push(read_step(line, rest, std::mem::take(files))?);
        return Ok(());
    }
    let step = story.steps.last_mut().context("before the first step")?;
    match mark {
        "<" => step.input += &format!("{rest}\n"),
        ">" => step.wanted.push(pattern(rest)?),
        "!" => step.unwanted.push(pattern(rest)?),
        "=" => step.status = rest.parse().context("no exit status")?,
        _ => bail!("no mark of a transcript: ==, $, <, >, !, = or @"),
    }
    Ok(())
}

fn read_step(line: usize, typed: &str, files: Vec<(String, String)>) -> Result<Step> {
    let mut words = typed.split_whitespace().map(str::to_owned);
    let tool = words.next().context("no tool")?;
    let class = class_of(&tool)?;
    let mut words: Vec<String> = words.collect();
    if !words.iter().any(|word| word.contains("{bootstrap}")) {
        let asked = words.iter().position(|word| !word.starts_with('-'));
        // Tools with subcommands take it before them or behind; those of kafka-cluster only behind.
        let place = match asked {
            Some(0) if tool == "kafka-cluster" => 1,
            _ => 0,
        };
        let address = ["--bootstrap-server".to_owned(), "{bootstrap}".to_owned()];
        words.splice(place..place, address);
    }
    Ok(Step {
        line,
        class,
        words,
        files,
        input: String::new(),
        wanted: Vec::new(),
        unwanted: Vec::new(),
        status: 0,
    })
}

fn class_of(tool: &str) -> Result<&'static str> {
    let found = TOOLS.iter().find(|(name, _)| *name == tool);
    let (_, class) = found.with_context(|| format!("{tool} is no tool that is known here"))?;
    Ok(class)
}

fn pattern(text: &str) -> Result<Regex> {
    Ok(RegexBuilder::new(text).multi_line(true).build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# head\n== one\n@ f.json {\"a\":1}\n$ kafka-topics --list {folder}/f.json\n< in 1\n< in 2\n\
                        > ^b$\n! c\n\n$ kafka-cluster unregister --id 9\n= 1\n== two\n\
                        $ kafka-e2e-latency --x {bootstrap}\n";

    #[test]
    fn a_transcript_is_read() {
        let stories = read_stories(TEXT).unwrap();
        let names: Vec<&str> = stories.iter().map(|story| story.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        let [first, second] = &stories[0].steps[..] else {
            panic!("{stories:?}");
        };
        assert_eq!(first.line, 4);
        assert_eq!(first.class, "org.apache.kafka.tools.TopicCommand");
        assert_eq!(
            first.words,
            [
                "--bootstrap-server",
                "{bootstrap}",
                "--list",
                "{folder}/f.json"
            ]
        );
        assert_eq!(first.files, [("f.json".to_owned(), "{\"a\":1}".to_owned())]);
        assert_eq!(first.input, "in 1\nin 2\n");
        assert_eq!(
            second.words,
            [
                "unregister",
                "--bootstrap-server",
                "{bootstrap}",
                "--id",
                "9"
            ]
        );
        assert_eq!(second.status, 1);
        assert_eq!(stories[1].steps[0].words, ["--x", "{bootstrap}"]);
    }

    #[test]
    fn what_a_tool_says_is_held_against_its_step() {
        let stories = read_stories(TEXT).unwrap();
        let step = &stories[0].steps[0];
        assert_eq!(step.problem("a\nb\n", Some(0)), None);
        assert_eq!(
            step.problem("a b\n", Some(0)),
            Some("it does not say ^b$".to_owned())
        );
        assert_eq!(
            step.problem("b\nc\n", Some(0)),
            Some("it says c".to_owned())
        );
        assert_eq!(
            step.problem("b\n", Some(1)),
            Some("it ended with 1 and not 0".to_owned())
        );
        assert_eq!(
            step.problem("b\n", None),
            Some("it ended with a signal and not 0".to_owned())
        );
        assert!(step.shows() && !stories[0].steps[1].shows());
    }

    #[test]
    fn a_line_of_no_transcript_is_named() {
        for (wrong, says) in [
            ("$ kafka-topics --list", "before the first story"),
            ("== a\n> b", "before the first step"),
            ("== a\n$ kafka-nothing --list", "no tool that is known"),
            ("== a\n$ kafka-topics --list\n= one", "no exit status"),
            ("== a\n$ kafka-topics --list\n> (", "regex"),
            ("== a\n? b", "before the first step"),
            (
                "== a\n$ kafka-topics --list\n? b",
                "no mark of a transcript",
            ),
        ] {
            let error = format!("{:#}", read_stories(wrong).unwrap_err());
            assert!(
                error.starts_with("tools.txt:") && error.contains(says),
                "{error}"
            );
        }
    }

    #[test]
    fn every_tool_is_in_the_transcript_of_the_repository() {
        let text = include_str!("../../clients/tools.txt");
        let stories = read_stories(text).unwrap();
        for (tool, class) in TOOLS {
            let steps = stories.iter().flat_map(|story| &story.steps);
            assert!(steps.into_iter().any(|step| step.class == class), "{tool}");
        }
    }
}
