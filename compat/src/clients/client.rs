//! The clients: how each one's program is built and started, and what it tells.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use foz_e2e::build_cache::{Recipe, cached};
use foz_e2e::external::{External, last_lines};
use foz_e2e::folders::write;
use foz_e2e::progress::Progress;
use serde::{Deserialize, Serialize};

use crate::child::dies_with_us;
use crate::clients::outcome::{Outcome, Verdict};
use crate::clients::tools::JVM;
use crate::maven::copy_jars;
use crate::setting::needs;

const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);
/// Each case waits 30 seconds at most; most of them take one.
const RUN_LIMIT: Duration = Duration::from_secs(5 * 60);

/// How much of what a program said last is shown.
const WORDS_MAX: usize = 10;
/// The case of a program that did not tell of its cases as it should.
const PROGRAM: &str = "program";

/// How a program is made.
#[derive(Debug, Clone, Copy)]
enum Language {
    /// A file of `python/src`, with what `requirements.txt` names.
    Python,
    /// A file of `node/src`, with what `package-lock.json` names.
    Node,
    /// A folder of `go`.
    Go,
    /// `java/src`, with Kafka's client of this version.
    Java,
    /// `rust`.
    Rust,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    language: Language,
    /// What the language needs to know.
    which: &'static str,
    /// What stands before its version in the file that pins it.
    pin: &'static str,
}

const fn client(
    name: &'static str,
    language: Language,
    which: &'static str,
    pin: &'static str,
) -> Client {
    Client {
        name,
        language,
        which,
        pin,
    }
}

/// The slow ones first, so that the last to end is a short one.
pub(crate) const CLIENTS: [Client; 10] = [
    client("kafkajs", Language::Node, "kafkajs.js", "\"kafkajs\": \""),
    client("java-4.3", Language::Java, "4.3.1", ""),
    client("java-3.9", Language::Java, "3.9.2", ""),
    client(
        "kafka-python",
        Language::Python,
        "kafka_python.py",
        "kafka-python==",
    ),
    client("sarama", Language::Go, "sarama", "github.com/IBM/sarama v"),
    client("rdkafka", Language::Rust, "", "rdkafka = { version = \"="),
    client(
        "confluent-kafka",
        Language::Python,
        "confluent.py",
        "confluent-kafka==",
    ),
    client(
        "franz-go",
        Language::Go,
        "franz",
        "github.com/twmb/franz-go v",
    ),
    client(
        "aiokafka",
        Language::Python,
        "aiokafka_scenario.py",
        "aiokafka==",
    ),
    client("kcat", Language::Python, "kcat.py", ""),
];

/// A client that can be started.
#[derive(Debug)]
pub(crate) struct Prepared {
    name: &'static str,
    program: PathBuf,
    words: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
}

/// What a program reads: its only argument is the path of this.
#[derive(Debug, Serialize)]
struct Setup<'a> {
    bootstrap: &'a str,
    /// Of the names of its topics and groups.
    prefix: &'a str,
    has: &'a [String],
    /// Only these; all when none is named.
    cases: &'a [&'a str],
}

/// A line that a program prints.
#[derive(Debug, Deserialize)]
struct Line {
    case: String,
    result: Verdict,
    detail: String,
}

impl Client {
    /// The version that is pinned.
    ///
    /// # Errors
    /// It stands nowhere.
    pub(crate) fn version(&self, sources: &Path) -> Result<String> {
        let file = match self.language {
            Language::Java => return Ok(self.which.to_owned()),
            Language::Python if self.pin.is_empty() => return Ok("Debian's".to_owned()),
            Language::Python => "python/requirements.txt",
            Language::Node => "node/package.json",
            Language::Go => "go/go.mod",
            Language::Rust => "rust/Cargo.toml",
        };
        let text = std::fs::read_to_string(sources.join(file)).context(file)?;
        let (_, rest) = text
            .split_once(self.pin)
            .with_context(|| format!("{file} has no {:?}", self.pin))?;
        let is_of_it = |letter: char| letter.is_ascii_digit() || letter == '.';
        let version: String = rest
            .chars()
            .take_while(|letter| is_of_it(*letter))
            .collect();
        Ok(version)
    }

    /// Builds what the cache does not have.
    ///
    /// # Errors
    /// A program is missing, or fails; with what it printed.
    pub(crate) fn prepare(
        &self,
        sources: &Path,
        place: &Path,
        progress: &Progress,
    ) -> Result<Prepared> {
        let (program, words, environment) = self
            .build(sources, place, progress)
            .with_context(|| format!("building {}", self.name))?;
        Ok(Prepared {
            name: self.name,
            program,
            words,
            environment,
        })
    }

    #[expect(
        clippy::type_complexity,
        reason = "the parts of a command, taken apart at once"
    )]
    fn build(
        &self,
        sources: &Path,
        place: &Path,
        progress: &Progress,
    ) -> Result<(PathBuf, Vec<String>, Vec<(&'static str, PathBuf)>)> {
        let which = self.which;
        Ok(match self.language {
            Language::Python => {
                needs(&[
                    ("python3", "python3"),
                    ("pip3", "python3-pip"),
                    ("kcat", "kcat"),
                ])?;
                let modules = python(&sources.join("python"), place, progress)?;
                let file = sources.join("python/src").join(which);
                // No folder of compiled files in the repository.
                let words = vec!["-B".to_owned(), text(&file)];
                (
                    PathBuf::from("python3"),
                    words,
                    vec![("PYTHONPATH", modules)],
                )
            }
            Language::Node => {
                needs(&[("node", "nodejs"), ("npm", "npm")])?;
                let modules = node(&sources.join("node"), place, progress)?;
                let file = sources.join("node/src").join(which);
                let environment = vec![("NODE_PATH", modules)];
                (PathBuf::from("node"), vec![text(&file)], environment)
            }
            Language::Go => {
                let program = place.join("go").join(which);
                build_go(&sources.join("go"), which, &program, progress)?;
                (program, Vec::new(), Vec::new())
            }
            Language::Java => {
                needs(&[("java", "default-jdk-headless"), ("mvn", "maven")])?;
                let path = java(&sources.join("java"), which, place, progress)?;
                let mut words: Vec<String> = JVM.map(str::to_owned).into();
                words.extend(["-cp".to_owned(), path, "Scenario".to_owned()]);
                (PathBuf::from("java"), words, Vec::new())
            }
            Language::Rust => {
                let target = place.join("rust");
                build_rust(&sources.join("rust"), &target, progress)?;
                let program = target.join("debug/foz-compat-rdkafka");
                (program, Vec::new(), Vec::new())
            }
        })
    }
}

impl Prepared {
    pub(crate) fn name(&self) -> &str {
        self.name
    }

    /// Runs these of its cases, all when none is named; `suffix` is put behind the names of topics, groups and cases.
    /// That the program itself fails is a case, too.
    ///
    /// # Errors
    /// It cannot be started, or takes too long; with the end of what it said.
    pub(crate) fn run(
        &self,
        bootstrap: &str,
        has: &[String],
        cases: &[&str],
        suffix: &str,
        place: &Path,
    ) -> Result<Vec<Outcome>> {
        let name = format!("{}{suffix}", self.name);
        let setup = Setup {
            bootstrap,
            prefix: &name,
            has,
            cases,
        };
        let file = place.join("setup").join(format!("{name}.json"));
        write(&file, serde_json::to_vec(&setup)?)?;
        let mut command = dies_with_us(&self.program).args(&self.words).arg(&file);
        for (name, value) in &self.environment {
            command = command.env(name, value);
        }
        let output = command.limit(RUN_LIMIT).run_any()?;
        let logs = place.join("logs");
        write(logs.join(format!("{name}.out")), output.text())?;
        write(logs.join(format!("{name}.err")), output.error_text())?;
        let text = output.text();
        let mut outcomes: Vec<Outcome> = text.lines().map(|line| self.outcome(line)).collect();
        if !output.status.success() {
            let words = last_lines(output.error_text().trim(), WORDS_MAX);
            outcomes.push(self.failed(format!("ended with {}: {words}", output.status)));
        }
        for outcome in &mut outcomes {
            outcome.case += suffix;
        }
        Ok(outcomes)
    }

    fn outcome(&self, line: &str) -> Outcome {
        match serde_json::from_str::<Line>(line) {
            Ok(line) => Outcome {
                of: self.name.to_owned(),
                case: line.case,
                verdict: line.result,
                detail: line.detail,
            },
            Err(_) => self.failed(format!("printed {line:?}, which tells of no case")),
        }
    }

    fn failed(&self, detail: String) -> Outcome {
        Outcome {
            of: self.name.to_owned(),
            case: PROGRAM.to_owned(),
            verdict: Verdict::Failed,
            detail,
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The folder of what is installed.
fn python(sources: &Path, place: &Path, progress: &Progress) -> Result<PathBuf> {
    let recipe = Recipe {
        what: "install the Python clients",
        name: "python",
        settings: "",
        source: sources,
    };
    cached(place, &recipe, progress, |folder| {
        External::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(folder)
            .arg("--requirement")
            .arg(sources.join("requirements.txt"))
            .limit(BUILD_LIMIT)
            .run()
            .map(drop)
    })
}

/// The folder of the modules.
fn node(sources: &Path, place: &Path, progress: &Progress) -> Result<PathBuf> {
    let recipe = Recipe {
        what: "install kafkajs",
        name: "node",
        settings: "",
        source: sources,
    };
    let folder = cached(place, &recipe, progress, |folder| {
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(sources.join(name), folder.join(name))?;
        }
        External::new("npm")
            .args(["ci", "--silent", "--ignore-scripts"])
            .in_folder(folder)
            .limit(BUILD_LIMIT)
            .run()
            .map(drop)
    })?;
    Ok(folder.join("node_modules"))
}

/// Go keeps what it built before.
fn build_go(sources: &Path, which: &str, program: &Path, progress: &Progress) -> Result<()> {
    progress.step(&format!("build {which} with Go"), || {
        External::new("go")
            .args(["build", "-mod=readonly", "-o"])
            .arg(program)
            .arg(format!("./{which}"))
            .in_folder(sources)
            .limit(BUILD_LIMIT)
            .run()
            .map(drop)
    })
}

/// The class path.
fn java(sources: &Path, version: &str, place: &Path, progress: &Progress) -> Result<String> {
    let recipe = Recipe {
        what: &format!("fetch Kafka's Java client {version}"),
        name: &format!("java_{version}"),
        settings: version,
        source: sources,
    };
    let libraries = cached(place, &recipe, progress, |folder| {
        let version = format!("-Dkafka.version={version}");
        copy_jars(sources, &[&version], folder)
    })?;
    let programs = sources.join("src");
    let recipe = Recipe {
        what: &format!("compile the program for Kafka's Java client {version}"),
        name: &format!("scenario_{version}"),
        settings: &text(&libraries),
        source: &programs,
    };
    let classes = cached(place, &recipe, progress, |folder| {
        External::new("javac")
            .args(["-nowarn", "-d"])
            .arg(folder)
            .arg("-cp")
            .arg(format!("{}/*", libraries.display()))
            .args(
                ["Scenario", "ConsumerProtocol", "Migration"]
                    .map(|name| programs.join(format!("{name}.java"))),
            )
            .limit(BUILD_LIMIT)
            .run()
            .map(drop)
    })?;
    Ok(format!("{}:{}/*", classes.display(), libraries.display()))
}

/// A workspace of its own: librdkafka takes minutes to build, and nothing else of Foz needs it.
fn build_rust(sources: &Path, target: &Path, progress: &Progress) -> Result<()> {
    progress.step("build rdkafka with cargo", || {
        External::new("cargo")
            .args(["build", "--quiet", "--locked", "--target-dir"])
            .arg(target)
            .in_folder(sources)
            .limit(BUILD_LIMIT)
            .run()
            .map(drop)
    })
}
