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
    Ok(format!("{HEAD}\n{rows}"))
}

fn row(tool: &str, class: &str, stories: &[Story], expected: &[Expected]) -> [String; 3] {
    let (mut shown, mut failing) = (Vec::new(), Vec::new());
    let mut refusals = Some(Vec::new());
    for story in stories {
        let steps: Vec<&Step> = story
            .steps
            .iter()
            .filter(|step| step.class == class)
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
