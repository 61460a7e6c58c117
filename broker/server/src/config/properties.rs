//! Java's properties format, as far as Kafka's files use it, with `${NAME}` from the environment.

use std::collections::BTreeMap;

/// Why a text is not properties.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PropertiesError {
    /// A line without `=`.
    #[error("line {line}: {text:?} is not key=value")]
    Line {
        /// From 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// Two lines for one key: one of them would be ignored in silence.
    #[error("line {line}: {key} is set a second time")]
    Twice {
        /// From 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// `${` without `}`, or a name that is not set.
    #[error("line {line}: {key}={value}: environment variable {name} is not set")]
    Variable {
        /// From 1.
        line: usize,
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// What stands between `${` and `}`.
        name: String,
    },
}

/// Reads `key=value` lines; `#` and `!` begin comments; a backslash at the end continues the line.
///
/// # Errors
/// The first line that is wrong.
pub(crate) fn parse_properties(
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, PropertiesError> {
    let mut properties = BTreeMap::new();
    for (line, logical) in logical_lines(text) {
        let Some((key, value)) = logical.split_once('=') else {
            return Err(PropertiesError::Line {
                line,
                text: logical,
            });
        };
        let (key, value) = (key.trim(), value.trim());
        let expanded = expand(value, &environment).map_err(|name| PropertiesError::Variable {
            line,
            key: key.to_owned(),
            value: value.to_owned(),
            name,
        })?;
        if properties.insert(key.to_owned(), expanded).is_some() {
            return Err(PropertiesError::Twice {
                line,
                key: key.to_owned(),
            });
        }
    }
    Ok(properties)
}

fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continued = false;
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if !continued && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let (content, goes_on) = match line.strip_suffix('\\') {
            Some(content) => (content, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some((_, last)) if continued => last.push_str(content),
            _ => lines.push((index + 1, content.to_owned())),
        }
        continued = goes_on;
    }
    lines
}

fn expand(value: &str, environment: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        expanded.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let end = after.find('}').ok_or_else(|| after.to_owned())?;
        let name = &after[..end];
        expanded.push_str(&environment(name).ok_or_else(|| name.to_owned())?);
        rest = &after[end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}
