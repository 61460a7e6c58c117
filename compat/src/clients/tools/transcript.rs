//! The transcript of the tools: what is typed, and what must come.
//!
//! `== name` begins a story; its steps go one after the other, and stories beside each other. `=== name` begins one that is
//! told alone, after all others. In a story:
//! - `$ kafka-topics --list` is what is typed; `--bootstrap-server` is added to what does not name it.
//! - `& kafka-console-consumer …` goes on beside the next steps until the story's end; these wait until it has said what it
//!   should.
//! - `% hang topic` writes a record of an hour ago into the first partition of a topic, in a transaction that no coordinator
//!   knows.
//! - `% kill 2` and `% start 2`, in a story that is told alone: with SIGKILL, and again with the disk it had.
//!
//! In a step:
//! - `< text` is a line of its input.
//! - `> pattern` must be found in what it prints (a regular expression, `^` and `$` are those of lines), `! pattern` must
//!   not.
//! - `= 1` is its exit status where that is not 0.
//! - `@ name text` writes a file before, or a further line of it.
//!
//! What `(?<name>…)` matched in one step is `{name}` in what is typed, in files and in patterns from the next one on.
//! `{bootstrap}` is where the brokers listen, `{folder}` where files of the story are, `{nodes}` where those of the brokers are.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use regex::{Regex, RegexBuilder};

use super::table::class_of;

/// Names that have a value from the start.
pub(super) const BOOTSTRAP: &str = "bootstrap";
pub(super) const FOLDER: &str = "folder";
pub(super) const NODES: &str = "nodes";

/// What the names in a step stand for.
pub(super) type Values = BTreeMap<String, String>;

/// Steps that go one after the other.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) name: String,
    pub(crate) is_alone: bool,
    pub(crate) steps: Vec<Step>,
}

/// One thing that is done.
#[derive(Debug)]
pub(crate) struct Step {
    /// The line of the transcript.
    pub(super) line: usize,
    pub(super) deed: Deed,
    /// In the order in which they are written; one may come again, with its next line.
    pub(super) files: Vec<(String, String)>,
    pub(super) input: String,
    pub(crate) wanted: Vec<String>,
    unwanted: Vec<String>,
    pub(crate) status: i32,
}

#[derive(Debug)]
pub(super) enum Deed {
    /// Runs to its end.
    Run(Call),
    /// Runs to the story's end.
    Beside(Call),
    Hang {
        topic: String,
    },
    Kill(usize),
    Start(usize),
}

/// A tool's class, and what is typed behind its name.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) class: &'static str,
    pub(super) words: Vec<String>,
}

impl Step {
    /// Whether it runs the tool of this class.
    pub(crate) fn is_of(&self, class: &str) -> bool {
        match &self.deed {
            Deed::Run(call) | Deed::Beside(call) => call.class == class,
            Deed::Hang { .. } | Deed::Kill(_) | Deed::Start(_) => false,
        }
    }

    /// Whether it can be asked again: it changes nothing.
    pub(super) fn shows(&self) -> bool {
        const SHOWING: [&str; 4] = ["describe", "list", "verify", "find-hanging"];
        let is_show = |word: &String| SHOWING.contains(&word.trim_start_matches('-'));
        match &self.deed {
            Deed::Run(call) => call.words.iter().any(is_show),
            _ => false,
        }
    }

    /// Why it is not as it should be.
    ///
    /// # Errors
    /// A pattern is none with these values.
    pub(super) fn problem(
        &self,
        said: &str,
        status: Option<i32>,
        values: &Values,
    ) -> Result<Option<String>> {
        if status != Some(self.status) {
            let status = status.map_or("a signal".to_owned(), |code| code.to_string());
            return Ok(Some(format!(
                "it ended with {status} and not {}",
                self.status
            )));
        }
        for text in &self.wanted {
            if !pattern(text, values)?.is_match(said) {
                return Ok(Some(format!("it does not say {text}")));
            }
        }
        for text in &self.unwanted {
            if pattern(text, values)?.is_match(said) {
                return Ok(Some(format!("it says {text}")));
            }
        }
        Ok(None)
    }

    /// Takes the values of names from what it said.
    ///
    /// # Errors
    /// A pattern is none with these values.
    pub(super) fn remember(&self, said: &str, values: &mut Values) -> Result<()> {
        for text in &self.wanted {
            let pattern = pattern(text, values)?;
            let Some(found) = pattern.captures(said) else {
                continue;
            };
            for name in pattern.capture_names().flatten() {
                if let Some(value) = found.name(name) {
                    values.insert(name.to_owned(), value.as_str().to_owned());
                }
            }
        }
        Ok(())
    }
}

/// The text with values in the places of names.
pub(super) fn filled(text: &str, values: &Values) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}

fn pattern(text: &str, values: &Values) -> Result<Regex> {
    let literal = values
        .iter()
        .map(|(name, value)| (name.clone(), regex::escape(value)));
    let text = filled(text, &literal.collect());
    Ok(RegexBuilder::new(&text).multi_line(true).build()?)
}

/// # Errors
/// Names the line that is none of a transcript.
pub(crate) fn read_stories(text: &str) -> Result<Vec<Story>> {
    let mut reader = Reader::default();
    for (number, line) in (1..).zip(text.lines()) {
        reader
            .read_line(number, line)
            .with_context(|| format!("tools.txt:{number}: {line:?}"))?;
    }
    Ok(reader.stories)
}

#[derive(Debug, Default)]
struct Reader {
    stories: Vec<Story>,
    /// Of the step that comes.
    files: Vec<(String, String)>,
    /// What names of the story stand for, some value each: a pattern is read only with them.
    values: Values,
    /// Those of the step that is read.
    new_names: BTreeSet<String>,
}

impl Reader {
    fn read_line(&mut self, line: usize, text: &str) -> Result<()> {
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let (mark, rest) = text.split_once(' ').context("no mark and a space")?;
        if let "==" | "===" = mark {
            self.begin_story(rest, mark == "===");
            return Ok(());
        }
        let story = self.stories.last_mut().context("before the first story")?;
        if let "$" | "&" | "%" = mark {
            for name in std::mem::take(&mut self.new_names) {
                self.values.insert(name, "1".to_owned());
            }
            let deed = match mark {
                "$" => Deed::Run(read_call(rest)?),
                "&" => Deed::Beside(read_call(rest)?),
                _ => read_deed(rest, story.is_alone)?,
            };
            check_names(rest, &self.values)?;
            for (_, text) in &self.files {
                check_names(text, &self.values)?;
            }
            story.steps.push(Step {
                line,
                deed,
                files: std::mem::take(&mut self.files),
                input: String::new(),
                wanted: Vec::new(),
                unwanted: Vec::new(),
                status: 0,
            });
            return Ok(());
        }
        if mark == "@" {
            let (name, text) = rest.split_once(' ').context("no name and text of a file")?;
            self.files.push((name.to_owned(), text.to_owned()));
            return Ok(());
        }
        let step = story.steps.last_mut().context("before the first step")?;
        let (is_tool, is_beside) = match step.deed {
            Deed::Run(_) => (true, false),
            Deed::Beside(_) => (true, true),
            Deed::Hang { .. } | Deed::Kill(_) | Deed::Start(_) => (false, false),
        };
        ensure!(is_tool, "behind a step that is no tool");
        match mark {
            ">" => {
                let pattern = pattern(rest, &self.values)?;
                self.new_names
                    .extend(pattern.capture_names().flatten().map(str::to_owned));
                step.wanted.push(rest.to_owned());
            }
            "!" => {
                pattern(rest, &self.values)?;
                step.unwanted.push(rest.to_owned());
            }
            "<" | "=" if is_beside => {
                bail!("what goes on beside the next steps has no input and no exit status")
            }
            "<" => step.input += &format!("{rest}\n"),
            "=" => step.status = rest.parse().context("no exit status")?,
            _ => bail!("no mark of a transcript: ==, ===, $, &, %, <, >, !, = or @"),
        }
        Ok(())
    }

    fn begin_story(&mut self, name: &str, is_alone: bool) {
        self.stories.push(Story {
            name: name.to_owned(),
            is_alone,
            steps: Vec::new(),
        });
        self.new_names.clear();
        let values = [BOOTSTRAP, FOLDER, NODES].map(|name| (name.to_owned(), "1".to_owned()));
        self.values = values.into();
    }
}

fn read_call(typed: &str) -> Result<Call> {
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
    Ok(Call { class, words })
}

fn read_deed(text: &str, is_alone: bool) -> Result<Deed> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [verb, what] = words[..] else {
        bail!("no verb and one word");
    };
    let node = || -> Result<usize> {
        ensure!(
            is_alone,
            "others need the brokers: the story must be told alone (===)"
        );
        what.parse().context("no number of a node")
    };
    Ok(match verb {
        "hang" => Deed::Hang {
            topic: what.to_owned(),
        },
        "kill" => Deed::Kill(node()?),
        "start" => Deed::Start(node()?),
        _ => bail!("no deed: hang, kill or start"),
    })
}

/// # Errors
/// Names what stands for nothing.
fn check_names(text: &str, values: &Values) -> Result<()> {
    let name = Regex::new(r"\{([a-z_]+)\}")?;
    for found in name.captures_iter(text) {
        ensure!(
            values.contains_key(&found[1]),
            "{} stands for nothing here",
            &found[0]
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::table::TOOLS;
    use super::*;

    const TEXT: &str = "# head\n== one\n@ f.json {\"a\":1}\n@ f.json x\n$ kafka-topics --list {folder}/f.json\n\
                        < in 1\n< in 2\n> ^b$\n! c\n\n$ kafka-cluster unregister --id 9\n= 1\n=== two\n\
                        & kafka-e2e-latency --x {bootstrap}\n> x\n% hang topic\n% kill 2\n% start 2\n";

    fn call(step: &Step) -> &Call {
        match &step.deed {
            Deed::Run(call) | Deed::Beside(call) => call,
            other => panic!("{other:?}"),
        }
    }

    fn values(values: &[(&str, &str)]) -> Values {
        let values = values.iter();
        values
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_transcript_is_read() {
        let stories = read_stories(TEXT).unwrap();
        let names: Vec<(&str, bool)> = stories
            .iter()
            .map(|story| (story.name.as_str(), story.is_alone))
            .collect();
        assert_eq!(names, [("one", false), ("two", true)]);
        let [first, second] = &stories[0].steps[..] else {
            panic!("{stories:?}");
        };
        assert_eq!(first.line, 5);
        assert!(first.is_of("org.apache.kafka.tools.TopicCommand"));
        assert_eq!(
            call(first).words,
            [
                "--bootstrap-server",
                "{bootstrap}",
                "--list",
                "{folder}/f.json"
            ]
        );
        let files = [("f.json", "{\"a\":1}"), ("f.json", "x")];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(first.files, files);
        assert_eq!(first.input, "in 1\nin 2\n");
        assert_eq!(
            call(second).words,
            [
                "unregister",
                "--bootstrap-server",
                "{bootstrap}",
                "--id",
                "9"
            ]
        );
        assert_eq!(second.status, 1);
        let [beside, hang, kill, start] = &stories[1].steps[..] else {
            panic!("{stories:?}");
        };
        assert!(matches!(beside.deed, Deed::Beside(_)));
        assert_eq!(call(beside).words, ["--x", "{bootstrap}"]);
        assert!(matches!(&hang.deed, Deed::Hang { topic } if topic == "topic"));
        assert!(matches!(kill.deed, Deed::Kill(2)));
        assert!(matches!(start.deed, Deed::Start(2)));
        assert!(!hang.is_of("org.apache.kafka.tools.TopicCommand"));
    }

    #[test]
    fn what_a_tool_says_is_held_against_its_step() {
        let stories = read_stories(TEXT).unwrap();
        let step = &stories[0].steps[0];
        let problem = |said, status| step.problem(said, status, &Values::new()).unwrap();
        assert_eq!(problem("a\nb\n", Some(0)), None);
        assert_eq!(
            problem("a b\n", Some(0)),
            Some("it does not say ^b$".to_owned())
        );
        assert_eq!(problem("b\nc\n", Some(0)), Some("it says c".to_owned()));
        assert_eq!(
            problem("b\n", Some(1)),
            Some("it ended with 1 and not 0".to_owned())
        );
        assert_eq!(
            problem("b\n", None),
            Some("it ended with a signal and not 0".to_owned())
        );
        assert!(step.shows() && !stories[0].steps[1].shows());
    }

    #[test]
    fn what_one_step_said_is_typed_in_the_next() {
        let text = "== a\n$ kafka-topics --list\n> ^(?<who>\\S+) is (?<what>\\S+)$\n\
                    $ kafka-topics --list --topic {who}\n> ^{what}$\n";
        let stories = read_stories(text).unwrap();
        let [first, second] = &stories[0].steps[..] else {
            panic!("{stories:?}");
        };
        let mut known = values(&[("folder", "/f")]);
        first.remember("x\nann is a+b\n", &mut known).unwrap();
        let expected = values(&[("folder", "/f"), ("who", "ann"), ("what", "a+b")]);
        assert_eq!(known, expected);
        let words = &call(second).words;
        assert_eq!(filled(words.last().unwrap(), &known), "ann");
        assert_eq!(filled("{\"a\":\"{folder}\"}", &known), "{\"a\":\"/f\"}");
        assert_eq!(second.problem("a+b", Some(0), &known).unwrap(), None);
        // What was said is no pattern.
        let other = second.problem("aab", Some(0), &known).unwrap();
        assert_eq!(other, Some("it does not say ^{what}$".to_owned()));
    }

    #[test]
    fn a_line_of_no_transcript_is_named() {
        const LIST: &str = "== a\n$ kafka-topics --list\n";
        for (wrong, says) in [
            ("$ kafka-topics --list".to_owned(), "before the first story"),
            ("== a\n> b".to_owned(), "before the first step"),
            (
                "== a\n$ kafka-nothing --list".to_owned(),
                "no tool that is known",
            ),
            (format!("{LIST}= one"), "no exit status"),
            (format!("{LIST}> ("), "regex"),
            ("== a\n? b".to_owned(), "before the first step"),
            (format!("{LIST}? b"), "no mark of a transcript"),
            (
                format!("{LIST}$ kafka-topics {{who}}"),
                "{who} stands for nothing",
            ),
            (
                format!("{LIST}> (?<who>.)\n== b\n$ kafka-topics {{who}}"),
                "{who} stands for nothing",
            ),
            (
                format!("{LIST}@ f {{who}}\n$ kafka-topics"),
                "{who} stands for nothing",
            ),
            ("== a\n& kafka-topics\n= 1".to_owned(), "no exit status"),
            ("== a\n& kafka-topics\n< 1".to_owned(), "no input"),
            ("== a\n% kill 2".to_owned(), "must be told alone"),
            ("=== a\n% kill all".to_owned(), "no number of a node"),
            ("=== a\n% stop 2".to_owned(), "no deed"),
            ("=== a\n% kill".to_owned(), "no verb and one word"),
            ("== a\n% hang t\n> b".to_owned(), "no tool"),
        ] {
            let error = format!("{:#}", read_stories(&wrong).unwrap_err());
            assert!(
                error.starts_with("tools.txt:") && error.contains(says),
                "{error}"
            );
        }
    }

    #[test]
    fn every_tool_is_in_the_transcript_of_the_repository() {
        let text = include_str!("../../../clients/tools.txt");
        let stories = read_stories(text).unwrap();
        for (tool, class) in TOOLS {
            let steps = stories.iter().flat_map(|story| &story.steps);
            assert!(steps.into_iter().any(|step| step.is_of(class)), "{tool}");
        }
    }
}
