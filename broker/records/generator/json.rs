//! Kafka's schema files as they are: JSON with comments.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::schema::Kind;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RawMessage {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    pub(crate) api_key: Option<i16>,
    pub(crate) valid_versions: String,
    pub(crate) flexible_versions: String,
    pub(crate) fields: Vec<RawField>,
    #[serde(default)]
    pub(crate) common_structs: Vec<RawStructure>,
    #[serde(default)]
    pub(crate) latest_version_unstable: bool,
    #[serde(rename = "listeners")]
    _listeners: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStructure {
    pub(crate) name: String,
    pub(crate) versions: String,
    pub(crate) fields: Vec<RawField>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RawField {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) versions: Option<String>,
    pub(crate) nullable_versions: Option<String>,
    pub(crate) tagged_versions: Option<String>,
    pub(crate) tag: Option<u32>,
    pub(crate) default: Option<serde_json::Value>,
    #[serde(default)]
    pub(crate) ignorable: bool,
    #[serde(default)]
    pub(crate) about: String,
    #[serde(default)]
    pub(crate) fields: Vec<RawField>,
    // What these say has no bytes: the meaning of a name or number, a key that Java's collection
    // looks its elements up by, and how Java keeps the bytes.
    #[serde(rename = "entityType")]
    _entity_type: Option<String>,
    #[serde(rename = "mapKey")]
    _map_key: Option<bool>,
    #[serde(rename = "zeroCopy")]
    _zero_copy: Option<bool>,
}

impl RawMessage {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(&without_comments(text)).context("not a message schema")
    }
}

/// Blanks what stands behind `//` outside of strings, so that errors keep their lines.
fn without_comments(text: &str) -> String {
    let line = |line: &str| {
        let (mut in_string, mut is_escaped) = (false, false);
        for (at, character) in line.char_indices() {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' if in_string => is_escaped = true,
                '"' => in_string = !in_string,
                '/' if !in_string && line[at..].starts_with("//") => return line[..at].to_owned(),
                _ => {}
            }
        }
        line.to_owned()
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
