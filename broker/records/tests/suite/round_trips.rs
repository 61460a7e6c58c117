//! Bytes that follow a schema, written by walking over it, are read and written again unchanged by
//! the code that was made of it.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use foz_records::*;
use proptest::prelude::*;

use crate::schema::{Default, Field, Schema, Structure, Type};
use crate::test_messages::*;

/// A message, and how it is read and written again.
struct Entry {
    name: &'static str,
    versions: std::ops::RangeInclusive<i16>,
    recode: fn(i16, &[u8]) -> Result<Bytes, DecodeError>,
}

fn entry<M: Message>() -> Entry {
    Entry {
        name: M::NAME,
        versions: M::VERSION_MIN..=M::VERSION_MAX,
        recode: |version, bytes| {
            let message = M::decode(version, bytes)?;
            Ok(message
                .encode(version)
                .expect("what was read can be written"))
        },
    }
}

/// Every message, with its schema.
fn messages() -> Vec<(Entry, Schema)> {
    let entries = include!(concat!(env!("OUT_DIR"), "/all_messages.rs"));
    entries
        .into_iter()
        .map(|entry| {
            let schema = schema_of(entry.name);
            (entry, schema)
        })
        .collect()
}

fn schema_of(name: &str) -> Schema {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "schema/clients",
        "schema/group_coordinator",
        "schema/transaction_coordinator",
        "tests/schema",
        "tests/own_schema",
    ];
    let file = folders
        .iter()
        .map(|folder| crate_folder.join(folder).join(format!("{name}.json")))
        .find(|file| file.exists())
        .unwrap();
    Schema::parse(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Writes a message that follows its schema, with every kind of value in it.
struct Writer<'a> {
    out: Vec<u8>,
    choices: &'a mut std::slice::Iter<'a, u8>,
    schema: &'a Schema,
    version: i16,
    is_flexible: bool,
}

impl Writer<'_> {
    fn choose(&mut self, below: u8) -> usize {
        usize::from(self.choices.next().copied().unwrap_or(1) % below)
    }

    fn has(&self, versions: crate::versions::Versions) -> bool {
        (versions.from..=versions.to).contains(&self.version)
    }

    /// Of the default value of everything in it, if not of chosen ones.
    fn structure(&mut self, structure: &Structure, is_default: bool) {
        for field in &structure.fields {
            if self.has(field.untagged()) {
                self.field(field, is_default, false);
            }
        }
        if !self.is_flexible {
            return;
        }
        let mut tagged: Vec<&Field> = structure
            .fields
            .iter()
            .filter(|field| self.has(field.tagged()))
            .collect();
        tagged.sort_by_key(|field| field.tag.map(|(tag, _)| tag));
        let mut fields = Vec::new();
        for field in tagged {
            if is_default || self.choose(3) == 0 {
                continue;
            }
            let chosen = self.apart(|writer| writer.field(field, false, true));
            // One that is at its default is left out.
            if chosen != self.apart(|writer| writer.field(field, true, true)) {
                fields.push((field.tag.unwrap().0 as u8, chosen));
            }
        }
        self.out.push(fields.len() as u8);
        for (tag, bytes) in fields {
            self.out.push(tag);
            self.varint(bytes.len());
            self.out.extend(bytes);
        }
    }

    fn apart(&mut self, write: impl FnOnce(&mut Self)) -> Vec<u8> {
        let before = std::mem::take(&mut self.out);
        write(self);
        std::mem::replace(&mut self.out, before)
    }

    fn field(&mut self, field: &Field, is_default: bool, is_tagged: bool) {
        let is_nullable = self.has(field.nullable);
        let is_null = match is_default {
            true => field.default == Default::Null && is_nullable,
            false => is_nullable && self.choose(4) == 0,
        };
        let is_structure = matches!(field.kind, Type::Structure(_));
        match (is_structure && is_nullable, is_tagged, is_null) {
            (true, true, is_null) => self.out.push(u8::from(!is_null)),
            (true, false, is_null) => self.out.push(if is_null { 0xff } else { 1 }),
            (false, _, true) => self.null(&field.kind),
            (false, _, false) => {}
        }
        if is_null {
            return;
        }
        match &field.default {
            default if is_default => self.default(&field.kind, default),
            _ => self.value(&field.kind),
        }
    }

    fn null(&mut self, kind: &Type) {
        match (self.is_flexible, kind) {
            (true, _) => self.out.push(0),
            (false, Type::String) => self.out.extend([0xff; 2]),
            (false, _) => self.out.extend([0xff; 4]),
        }
    }

    fn default(&mut self, kind: &Type, default: &Default) {
        match (default, kind) {
            (Default::Bool(value), _) => self.out.push(u8::from(*value)),
            (Default::Float(value), _) => self.out.extend(value.to_be_bytes()),
            (Default::Uuid(bytes), _) => self.out.extend(bytes),
            (Default::Integer(value), kind) => {
                let bytes = value.to_be_bytes();
                self.out.extend(&bytes[8 - fixed_length(kind)..]);
            }
            (Default::String(text), _) => {
                self.length(kind, text.len());
                self.out.extend(text.as_bytes());
            }
            (_, Type::Structure(name)) => {
                let structure = self.schema.structure(name).unwrap();
                self.structure(structure, true);
            }
            (_, Type::String | Type::Bytes | Type::Array(_)) => self.length(kind, 0),
            (_, kind) => self.out.extend(vec![0; fixed_length(kind)]),
        }
    }

    fn value(&mut self, kind: &Type) {
        match kind {
            Type::Bool => {
                let value = self.choose(2);
                self.out.push(value as u8);
            }
            Type::String | Type::Bytes => {
                let length = self.choose(9);
                self.length(kind, length);
                self.out.extend(std::iter::repeat_n(b'a', length));
            }
            Type::Array(element) => {
                let length = self.choose(4);
                self.length(kind, length);
                (0..length).for_each(|_| self.value(element));
            }
            Type::Structure(name) => {
                let structure = self.schema.structure(name).unwrap();
                self.structure(structure, false);
            }
            fixed => {
                let byte = self.choose(255) as u8;
                self.out
                    .extend(std::iter::repeat_n(byte, fixed_length(fixed)));
            }
        }
    }

    fn length(&mut self, kind: &Type, length: usize) {
        match (self.is_flexible, kind) {
            (true, _) => self.varint(length + 1),
            (false, Type::String) => self.out.extend((length as u16).to_be_bytes()),
            (false, _) => self.out.extend((length as u32).to_be_bytes()),
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

fn fixed_length(kind: &Type) -> usize {
    match kind {
        Type::Bool | Type::Int8 => 1,
        Type::Int16 | Type::Uint16 => 2,
        Type::Int32 | Type::Uint32 => 4,
        Type::Int64 | Type::Float64 => 8,
        Type::Uuid => 16,
        other => panic!("{other:?} has a length of its own"),
    }
}

fn write(schema: &Schema, version: i16, choices: &[u8]) -> Vec<u8> {
    let mut writer = Writer {
        out: Vec::new(),
        choices: &mut choices.iter(),
        schema,
        version,
        is_flexible: schema.flexible.from <= version && version <= schema.flexible.to,
    };
    writer.structure(&schema.structures[0], false);
    writer.out
}

#[test]
fn the_code_has_the_versions_of_the_schemas() {
    let messages = messages();
    assert_eq!(messages.len(), 39);
    for (entry, schema) in messages {
        assert_eq!(entry.versions, schema.versions.from..=schema.versions.to);
    }
}

#[test]
fn a_field_named_version_is_not_the_version_of_the_message() {
    let message = VersionInside {
        version: 0,
        later: 7,
        tagged: 5,
        ..VersionInside::default()
    };
    let bytes = message.encode(2).unwrap();
    assert_eq!(bytes, Bytes::from_static(&[0, 0, 7, 1, 1, 0, 1, 5]));
    assert_eq!(VersionInside::decode(2, &bytes), Ok(message));
    let bytes = VersionInside {
        version: 2,
        ..VersionInside::default()
    };
    let bytes = bytes.encode(0).unwrap();
    assert_eq!(bytes, Bytes::from_static(&[0, 2, 0, 0]));
    assert_eq!(VersionInside::decode(0, &bytes).unwrap().version, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn bytes_that_follow_a_schema_are_the_same_after_reading_and_writing(
        choices in proptest::collection::vec(any::<u8>(), 0..300),
        garbage in proptest::collection::vec(any::<u8>(), 0..60),
        at: prop::sample::Index,
    ) {
        for (entry, schema) in messages() {
            for version in entry.versions.clone() {
                let mut bytes = write(&schema, version, &choices);
                let name = format!("{} {version}: {bytes:02x?}", entry.name);
                let recoded = (entry.recode)(version, &bytes);
                prop_assert_eq!(recoded.as_deref(), Ok(&bytes[..]), "{}", name);
                if bytes.is_empty() {
                    continue;
                }
                let at = at.index(bytes.len());
                let cut = (entry.recode)(version, &bytes[..at]);
                prop_assert!(cut.is_err(), "{} cut to {}", name, at);
                // Whatever stands there, nothing panics, and what can be read can be written.
                let bent = at.saturating_add(garbage.len()).min(bytes.len());
                bytes[at..bent].copy_from_slice(&garbage[..bent - at]);
                let _ = (entry.recode)(version, &bytes);
                let _ = (entry.recode)(version, &garbage);
            }
        }
    }
}
