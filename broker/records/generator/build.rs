//! Makes Rust from Kafka's message schemas. `messages.rs` becomes part of the crate; what is made of
//! `tests/schema`, Kafka's own test messages, and `tests/own_schema` is for the tests, as is the list of
//! all messages.

mod case;
mod code;
mod field;
mod json;
mod rust;
mod schema;
mod versions;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use schema::{Kind, Schema};

/// The folders of `schema/`, named after those of Kafka that their files are from.
const FOLDERS: [&str; 3] = ["clients", "group_coordinator", "transaction_coordinator"];

/// Those for tests: Kafka's, and what they lack.
const TEST_FOLDERS: [&str; 2] = ["tests/schema", "tests/own_schema"];

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=generator");
    println!("cargo::rerun-if-changed=schema");
    for folder in TEST_FOLDERS {
        println!("cargo::rerun-if-changed={folder}");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);

    let mut messages = String::new();
    let mut names = Vec::new();
    for folder in FOLDERS {
        let schemas = schemas_in(&Path::new("schema").join(folder))?;
        for schema in &schemas {
            messages.push_str(&rust::module(schema));
            names.push(schema.name.clone());
        }
        let keys: Vec<&Schema> = schemas
            .iter()
            .filter(|schema| schema.kind == Kind::CoordinatorKey)
            .collect();
        if !keys.is_empty() {
            messages.push_str(&rust::keys(folder, &keys)?);
        }
    }
    fs::write(out.join("messages.rs"), messages)?;

    let mut test_messages = String::new();
    for folder in TEST_FOLDERS {
        for schema in schemas_in(Path::new(folder))? {
            test_messages.push_str(&rust::module(&schema));
            names.push(schema.name);
        }
    }
    fs::write(out.join("test_messages.rs"), test_messages)?;

    let mut list = "[\n".to_owned();
    for name in names {
        writeln!(list, "    entry::<{name}>(),")?;
    }
    list.push_str("]\n");
    fs::write(out.join("all_messages.rs"), list)?;
    Ok(())
}

/// In the order of their names, so that the same files make the same code.
fn schemas_in(folder: &Path) -> Result<Vec<Schema>> {
    let reading = || format!("reading {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        paths.push(entry.with_context(reading)?.path());
    }
    paths.sort();
    let schema = |path: &PathBuf| {
        let text = fs::read_to_string(path)?;
        Schema::parse(&text)
    };
    paths
        .iter()
        .map(|path| schema(path).with_context(|| path.display().to_string()))
        .collect()
}
