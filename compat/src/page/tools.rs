//! The tools: which work, and where not, why.

use std::path::Path;

use anyhow::Result;

use super::{read, table};
use crate::clients::expected::{Expected, read_expected};
use crate::clients::tools::{OF, Step, Story, TOOLS, read_stories};

const HEAD: &str = "\
## Tools

The tools of Apache Kafka, unchanged, as [their transcript](../compat/clients/tools.txt) has them in every `make test`.
";

const OTHERS_HEAD: &str = "\
The other scripts `kafka-*.sh` of Kafka 4.3:
";

/// Scripts that are no step of the transcript, and why.
const OTHERS: [(&str, &str); 11] = [
    (
        "kafka-console-share-consumer",
        "does not work; later: share groups (KIP-932)",
    ),
    (
        "kafka-dump-log",
        "works: it reads files, and the story \"kafka-dump-log reads every file without complaint\" has it read those of \
         Foz in every `make test`; not `--cluster-metadata-decoder`, as the metadata are Foz's own",
    ),
    (
        "kafka-jmx",
        "does not work: there is no JVM to ask; figures are at `/metrics`",
    ),
    (
        "kafka-metadata-shell",
        "does not work: it reads Kafka's own metadata log; Foz's is another",
    ),
    (
        "kafka-replica-verification",
        "not run: it goes on until it is killed, so there is no end to compare with",
    ),
    (
        "kafka-run-class",
        "starts a class of Kafka's, and asks no broker: each row above is a class that it starts",
    ),
    (
        "kafka-server-start",
        "starts Kafka's own broker; Foz's is `foz-broker --config server.properties`",
    ),
    (
        "kafka-server-stop",
        "looks for processes of Kafka's own broker; Foz's ends by SIGTERM",
    ),
    (
        "kafka-share-consumer-perf-test",
        "does not work; later: share groups (KIP-932)",
    ),
    (
        "kafka-storage",
        "not needed: it formats folders for Kafka's own broker; Foz's does that itself when it starts",
    ),
    (
        "kafka-verifiable-share-consumer",
        "does not work; later: share groups (KIP-932)",
    ),
];

/// Tools that show what Foz has none of.
const NOTHING_TO_SHOW: [(&str, &str); 2] = [
    ("kafka-share-groups", "later: share groups (KIP-932)"),
    ("kafka-streams-groups", "later: streams groups (KIP-1071)"),
];

pub(super) fn render(repository: &Path) -> Result<String> {
    let expected = read_expected(&read(repository, "compat/clients/expected.tsv")?)?;
    let stories = read_stories(&read(repository, "compat/clients/tools.txt")?)?;
    let rows = TOOLS.map(|(tool, class)| row(tool, class, &stories, &expected));
    let rows = table(["tool", "result", "shown by"], rows);
    let others = OTHERS.map(|(tool, result)| [format!("`{tool}`"), result.to_owned()]);
    let others = table(["script", "result"], others);
    Ok(format!("{HEAD}\n{rows}\n{OTHERS_HEAD}\n{others}"))
}

fn row(tool: &str, class: &str, stories: &[Story], expected: &[Expected]) -> [String; 3] {
    let (mut shown, mut failing) = (Vec::new(), Vec::new());
    let mut refusals = Some(Vec::new());
    for story in stories {
        let steps: Vec<&Step> = story
            .steps
            .iter()
            .filter(|step| step.is_of(class))
            .collect();
        if steps.is_empty() {
            continue;
        }
        let row = expected
            .iter()
            .find(|row| row.of == OF && row.case == story.name);
        if let Some(row) = row {
            failing.push(format!("{} ({})", story.name, row.reason));
            continue;
        }
        shown.push(story.name.clone());
        for step in steps {
            match &mut refusals {
                Some(refusals) if step.status != 0 => {
                    refusals.extend(step.wanted.iter().map(|said| format!("`{said}`")));
                }
                _ => refusals = None,
            }
        }
    }
    let nothing = NOTHING_TO_SHOW.iter().find(|(name, _)| *name == tool);
    let result = match (nothing, refusals) {
        _ if shown.is_empty() => format!("does not work: {}", failing.join(", ")),
        (Some((_, why)), _) => format!("lists none; {why}"),
        (None, Some(refusals)) => format!("is refused: {}", refusals.join(", ")),
        (None, None) if failing.is_empty() => "works".to_owned(),
        (None, None) => format!("works, but for {}", failing.join(", ")),
    };
    [format!("`{tool}`"), result, shown.join(", ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `bin/kafka-*.sh` of Kafka 4.3.1.
    #[test]
    fn each_script_of_kafka_has_one_row() {
        const SCRIPTS: &str = "acls broker-api-versions client-metrics cluster configs console-consumer \
            console-producer console-share-consumer consumer-groups consumer-perf-test delegation-tokens \
            delete-records dump-log e2e-latency features get-offsets groups jmx leader-election log-dirs \
            metadata-quorum metadata-shell producer-perf-test reassign-partitions replica-verification run-class \
            server-start server-stop share-consumer-perf-test share-groups storage streams-application-reset \
            streams-groups topics transactions verifiable-consumer verifiable-producer verifiable-share-consumer";
        let run = TOOLS.iter().map(|(tool, _)| *tool);
        let mut rows: Vec<&str> = run.chain(OTHERS.map(|(tool, _)| tool)).collect();
        rows.sort_unstable();
        let scripts = SCRIPTS.split_whitespace();
        let scripts: Vec<String> = scripts.map(|name| format!("kafka-{name}")).collect();
        assert_eq!(rows, scripts);
    }

    #[test]
    fn what_is_said_to_be_shown_by_a_story_is_one() {
        let told = foz_e2e::story::all();
        for (tool, result) in OTHERS {
            let Some((_, story)) = result.split_once("the story \"") else {
                continue;
            };
            let (name, _) = story.split_once('"').unwrap();
            assert!(
                told.iter().any(|story| story.name == name),
                "{tool}: {name}"
            );
        }
    }

    #[test]
    fn a_tool_works_is_refused_or_does_not() {
        let stories = "== a\n$ kafka-topics --list\n$ kafka-acls --list\n= 1\n> No!\n== b\n$ kafka-configs --list\n\
                       $ kafka-topics --list\n";
        let stories = read_stories(stories).unwrap();
        let expected = read_expected("tools\tb\tfailed\tlater: b").unwrap();
        let result = |name: &str| {
            let (tool, class) = TOOLS.iter().find(|(tool, _)| *tool == name).unwrap();
            row(tool, class, &stories, &expected)[1].clone()
        };
        assert_eq!(result("kafka-topics"), "works, but for b (later: b)");
        assert_eq!(result("kafka-configs"), "does not work: b (later: b)");
        assert_eq!(result("kafka-acls"), "is refused: `No!`");
    }
}
