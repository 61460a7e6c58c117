//! An answer as lines of a path and a value, from what Rust's `{:?}` prints of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// Fields that tell the elements of an array apart; the first that an element has names it in paths, so that their order
/// does not matter, which Kafka promises nowhere.
const NAMING: [&str; 16] = [
    "api_key",
    "name",
    "topic",
    "topic_name",
    "resource_name",
    "feature",
    "group_id",
    "transactional_id",
    "key",
    "partition_index",
    "partition_id",
    "partition",
    "index",
    "node_id",
    "broker_id",
    "replica_id",
];
const UNKNOWN_TAGS: &str = "unknown_tagged_fields";

/// Paths with their values.
pub(crate) type Lines = BTreeMap<String, String>;

/// The lines of a message.
///
/// # Errors
/// The text is not what `{:?}` prints of a structure.
pub(crate) fn lines(debug: &str) -> Result<Lines> {
    let mut parser = Parser { rest: debug };
    let value = parser.value()?;
    ensure!(
        parser.rest.is_empty(),
        "more behind the message: {:?}",
        parser.rest
    );
    let mut lines = Lines::new();
    put(&mut lines, String::new(), &value);
    Ok(lines)
}

#[derive(Debug)]
enum Value {
    /// A number, a text in quotes, `None` or an enum's word.
    Plain(String),
    List(Vec<Value>),
    Fields(Vec<(String, Value)>),
}

impl Value {
    /// What names it among the elements of an array.
    fn name(&self) -> Option<&str> {
        let Self::Fields(fields) = self else {
            return None;
        };
        NAMING.iter().find_map(|naming| {
            let found = fields.iter().find(|(name, _)| name == naming)?;
            match &found.1 {
                Self::Plain(text) if text != "\"\"" && text != "None" => {
                    Some(text.trim_matches('"'))
                }
                _ => None,
            }
        })
    }
}

fn put(lines: &mut Lines, path: String, value: &Value) {
    match value {
        Value::Plain(text) => {
            lines.insert(path, text.clone());
        }
        Value::List(elements) => {
            if elements
                .iter()
                .all(|element| matches!(element, Value::Plain(_)))
            {
                let texts: Vec<&str> = elements
                    .iter()
                    .filter_map(|element| match element {
                        Value::Plain(text) => Some(text.as_str()),
                        _ => None,
                    })
                    .collect();
                lines.insert(path, format!("[{}]", texts.join(", ")));
                return;
            }
            for (index, element) in elements.iter().enumerate() {
                let name = element
                    .name()
                    .map_or_else(|| index.to_string(), str::to_owned);
                let named = format!("{path}[{name}]");
                // Two of a name are told apart by their places.
                let is_taken = lines.keys().any(|taken| taken.starts_with(&named));
                let path = if is_taken {
                    format!("{path}[{name}, {index}]")
                } else {
                    named
                };
                put(lines, path, element);
            }
        }
        Value::Fields(fields) => {
            for (name, value) in fields {
                if name == UNKNOWN_TAGS && matches!(value, Value::Fields(tags) if tags.is_empty()) {
                    continue;
                }
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                put(lines, path, value);
            }
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Value> {
        match self.peek()? {
            '"' => Ok(Value::Plain(self.text()?.to_owned())),
            '[' => {
                self.rest = &self.rest[1..];
                Ok(Value::List(self.elements(']')?))
            }
            '{' => {
                self.rest = &self.rest[1..];
                Ok(Value::Fields(self.fields()?))
            }
            _ => self.word(),
        }
    }

    /// A number or a word, and what a word opens.
    fn word(&mut self) -> Result<Value> {
        let word = self.until_delimiter()?;
        if self.rest.starts_with('"') && word == "b" {
            return Ok(Value::Plain(self.text()?.to_owned()));
        }
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.rest = rest;
            let mut elements = self.elements(')')?;
            return Ok(match elements.len() {
                // Some(x), and names for numbers and texts: BrokerId(1).
                1 => elements.remove(0),
                _ => Value::List(elements),
            });
        }
        if let Some(rest) = self.rest.strip_prefix(" {") {
            self.rest = rest;
            return Ok(Value::Fields(self.fields()?));
        }
        Ok(Value::Plain(word.to_owned()))
    }

    fn elements(&mut self, end: char) -> Result<Vec<Value>> {
        let mut elements = Vec::new();
        loop {
            self.skip_blanks();
            if let Some(rest) = self.rest.strip_prefix(end) {
                self.rest = rest;
                return Ok(elements);
            }
            elements.push(self.value()?);
            self.skip_comma();
        }
    }

    fn fields(&mut self) -> Result<Vec<(String, Value)>> {
        let mut fields = Vec::new();
        loop {
            self.skip_blanks();
            if let Some(rest) = self.rest.strip_prefix('}') {
                self.rest = rest;
                return Ok(fields);
            }
            let name = match self.peek()? {
                '"' => self.text()?,
                _ => self.until_delimiter()?,
            };
            let rest = self.rest.strip_prefix(": ");
            self.rest = rest.with_context(|| format!("no value of {name} at {:?}", self.rest))?;
            fields.push((name.to_owned(), self.value()?));
            self.skip_comma();
        }
    }

    /// With its quotes, escaped as it is.
    fn text(&mut self) -> Result<&'a str> {
        let mut is_escaped = false;
        for (at, next) in self.rest.char_indices().skip(1) {
            match next {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '"' => {
                    let (text, rest) = self.rest.split_at(at + 1);
                    self.rest = rest;
                    return Ok(text);
                }
                _ => {}
            }
        }
        bail!("a text without an end: {:?}", self.rest)
    }

    fn until_delimiter(&mut self) -> Result<&'a str> {
        let is_delimiter = |next: char| ",(){}[]\": ".contains(next);
        let end = self.rest.find(is_delimiter).unwrap_or(self.rest.len());
        ensure!(end > 0, "no value at {:?}", self.rest);
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(word)
    }

    fn peek(&self) -> Result<char> {
        self.rest.chars().next().context("the text ends in a value")
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn skip_comma(&mut self) {
        self.rest = self.rest.strip_prefix(',').unwrap_or(self.rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_paths_with_values() {
        let text = "Answer { error_code: -1, host: Some(\"a, \\\"b\\\" }\"), rack: None, id: 0000-0f, unknown_tagged_fields: {}, \
                    nodes: [Node { node_id: BrokerId(7), tags: {}, unknown_tagged_fields: {3: b\"x\"} }], \
                    topics: [Topic { name: TopicName(\"t\"), isr: [1, 2] }, Topic { name: TopicName(\"t\"), isr: [] }], \
                    errors: [Error { code: 3 }] }";
        let lines = lines(text).unwrap();
        let lines: Vec<String> = lines
            .iter()
            .map(|(path, value)| format!("{path} {value}"))
            .collect();
        assert_eq!(
            lines,
            [
                "error_code -1",
                "errors[0].code 3",
                "host \"a, \\\"b\\\" }\"",
                "id 0000-0f",
                "nodes[7].node_id 7",
                "nodes[7].unknown_tagged_fields.3 \"x\"",
                "rack None",
                "topics[t, 1].isr []",
                "topics[t, 1].name \"t\"",
                "topics[t].isr [1, 2]",
                "topics[t].name \"t\"",
            ]
        );
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for wrong in [
            "",
            "A { b }",
            "A { b: ",
            "A { b: \"x }",
            "[1",
            "A { b: 1 } c",
        ] {
            assert!(lines(wrong).is_err(), "{wrong:?}");
        }
    }
}
