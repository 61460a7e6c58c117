//! The clients: how each one's program is built and started, and what it tells.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use foz_e2e::build_cache::{Recipe, cached};
use foz_e2e::external::{External, is_on_path, last_lines};
use foz_e2e::folders::write;
use foz_e2e::progress::Progress;
use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, Verdict};
use crate::tools::{JVM, maven};

const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);
/// Each case waits 30 seconds at most; most of them take one.
const RUN_LIMIT: Duration = Duration::from_secs(5 * 60);

/// How a program is made.
#[derive(Debug, Clone, Copy)]
enum Language {
    /// A file of `python`, in an environment with what `requirements.txt` names.
    Python,
    /// A file of `node`, with what `package-lock.json` names.
    Node,
    /// A folder of `go`.
    Go,
    /// `java/Scenario.java`, with Kafka's client of this version.
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
}

const fn client(name: &'static str, language: Language, which: &'static str) -> Client {
    Client {
        name,
        language,
        which,
    }
}

/// The slow ones first, so that the last to end is a short one.
pub(crate) const CLIENTS: [Client; 10] = [
    client("kafkajs", Language::Node, "kafkajs.js"),
    client("java-4.3", Language::Java, "4.3.1"),
    client("java-3.9", Language::Java, "3.9.2"),
    client("kafka-python", Language::Python, "kafka_python.py"),
    client("sarama", Language::Go, "sarama"),
    client("rdkafka", Language::Rust, ""),
    client("confluent-kafka", Language::Python, "confluent.py"),
    client("franz-go", Language::Go, "franz"),
    client("aiokafka", Language::Python, "aiokafka_scenario.py"),
    client("kcat", Language::Python, "kcat.py"),
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
    prefix: String,
    has: &'a [String],
}

/// A line that a program prints.
#[derive(Debug, Deserialize)]
struct Line {
    case: String,
    result: Verdict,
    detail: String,
}

impl Client {
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
                needs(&[("python3", "python3-venv"), ("kcat", "kcat")])?;
                let python = python(&sources.join("python"), place, progress)?;
                let file = sources.join("python").join(which);
                // No folder of compiled files in the repository.
                (python, vec!["-B".to_owned(), text(&file)], Vec::new())
            }
            Language::Node => {
                needs(&[("node", "nodejs"), ("npm", "npm")])?;
                let modules = node(&sources.join("node"), place, progress)?;
                let file = sources.join("node").join(which);
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
                let folder = java(&sources.join("java"), which, place, progress)?;
                let mut words: Vec<String> = JVM.map(str::to_owned).into();
                let path = format!("{}:{}/lib/*", folder.display(), folder.display());
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

    /// Runs all of its cases.
    ///
    /// # Errors
    /// It could not be run, or what it prints is not what it should be; with the end of what it said.
    pub(crate) fn run(
        &self,
        bootstrap: &str,
        has: &[String],
        place: &Path,
    ) -> Result<Vec<Outcome>> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let setup = Setup {
            bootstrap,
            prefix: format!("{}-{}", self.name, RUNS.fetch_add(1, Ordering::Relaxed)),
            has,
        };
        let file = place.join("setup").join(format!("{}.json", self.name));
        write(&file, serde_json::to_vec(&setup)?)?;
        let mut command = External::new(&self.program).args(&self.words).arg(&file);
        for (name, value) in &self.environment {
            command = command.env(name, value);
        }
        let output = command.limit(RUN_LIMIT).run_any()?;
        let logs = place.join("logs");
        write(logs.join(format!("{}.out", self.name)), output.text())?;
        write(logs.join(format!("{}.err", self.name)), output.error_text())?;
        if !output.status.success() {
            let said = format!("{}\n{}", output.text(), output.error_text());
            bail!("ended with {}:\n{}", output.status, last_lines(&said, 30));
        }
        output
            .text()
            .lines()
            .map(|line| self.outcome(line))
            .collect()
    }

    fn outcome(&self, line: &str) -> Result<Outcome> {
        let line: Line = serde_json::from_str(line)
            .with_context(|| format!("{line:?} is not what became of a case"))?;
        Ok(Outcome {
            of: self.name.to_owned(),
            case: line.case,
            verdict: line.result,
            detail: line.detail,
        })
    }
}

fn needs(programs: &[(&str, &str)]) -> Result<()> {
    for (program, package) in programs {
        if !is_on_path(program) {
            bail!("{program} is missing: install the package {package}");
        }
    }
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The interpreter of an environment that has the clients. Its path is in its programs, so it is made where it stays.
fn python(sources: &Path, place: &Path, progress: &Progress) -> Result<PathBuf> {
    let requirements = sources.join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)?;
    let folder = place.join("python");
    let python = folder.join("bin/python");
    let mark = folder.join("requirements.txt");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    progress.step("install the Python clients", || {
        foz_e2e::build_cache::remove_folder(&folder)?;
        External::new("python3")
            .args(["-m", "venv"])
            .arg(&folder)
            .limit(BUILD_LIMIT)
            .run()?;
        External::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--requirement",
            ])
            .arg(&requirements)
            .limit(BUILD_LIMIT)
            .run()?;
        // Last, so that an installation that was killed is made anew.
        write(&mark, &wanted)
    })?;
    Ok(python)
}

/// The folder of the modules.
fn node(sources: &Path, place: &Path, progress: &Progress) -> Result<PathBuf> {
    let lock = std::fs::read_to_string(sources.join("package-lock.json"))?;
    let recipe = Recipe {
        what: "install kafkajs",
        name: "node",
        settings: &lock,
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

fn java(sources: &Path, version: &str, place: &Path, progress: &Progress) -> Result<PathBuf> {
    let recipe = Recipe {
        what: &format!("fetch Kafka's Java client {version}"),
        name: &format!("java{version}"),
        settings: version,
        source: sources,
    };
    cached(place, &recipe, progress, |folder| {
        let libraries = folder.join("lib");
        maven(
            sources,
            &[&format!("-Dkafka.version={version}")],
            &libraries,
        )?;
        External::new("javac")
            .args(["-nowarn", "-d"])
            .arg(folder)
            .arg("-cp")
            .arg(format!("{}/*", libraries.display()))
            .arg(sources.join("Scenario.java"))
            .limit(BUILD_LIMIT)
            .run()
            .map(drop)
    })
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
