//! Rust for a schema: structures, what they are when nothing is set, how they are read and written.

use anyhow::{Context, Result, ensure};

use crate::case::{pascal_case, snake_case};
use crate::code::Code;
use crate::field::{default_of, is_set, name_of, type_of};
use crate::schema::{Field, Kind, Schema, Structure, Type};
use crate::versions::{Condition, Versions};

/// The module of a message, and its name at the root.
pub(crate) fn module(schema: &Schema) -> String {
    let mut code = Code::default();
    let module = snake_case(&schema.name);
    code.line(&format!("/// [`{}`] and what is in it.", schema.name));
    code.line("#[allow(clippy::derivable_impls, reason = \"every default is said\")]");
    code.line("#[allow(clippy::nonminimal_bool, reason = \"an opposite is said as one\")]");
    code.open(&format!("pub mod {module} {{"));
    code.line("#[allow(unused_imports, reason = \"few messages have fields of every type\")]");
    code.open("use {");
    code.line("std::sync::Arc, bytes::Bytes, uuid::Uuid, foz_protocol::wire::WireError,");
    code.line("foz_records::{CoordinatorKey, Decoder, Encoder, Message, Structure, Unwritable, required},");
    code.close("};");
    for structure in &schema.structures {
        Writer { schema, structure }.write(&mut code);
    }
    message_impl(schema, &mut code);
    code.close("}");
    code.line(&format!("pub use {module}::{};", schema.name));
    code.text
}

/// The enum of all keys of a coordinator's records.
pub(crate) fn keys(folder: &str, keys: &[&Schema]) -> Result<String> {
    let name = format!("{}Key", pascal_case(folder));
    let mut code = Code::default();
    code.line("/// The key of a record, by its type.");
    code.line("#[derive(Debug, Clone, PartialEq, Eq)]");
    code.open(&format!("pub enum {name} {{"));
    for key in keys {
        code.line(&format!("/// Of type {}.", key.api_key.unwrap_or_default()));
        code.line(&format!("{}({}),", variant(key), key.name));
    }
    code.close("}");
    code.open(&format!("impl {name} {{"));
    code.line(
        "/// Reads a key; `None` when its type is not known: a later version may have written it.",
    );
    code.line("///");
    code.line("/// # Errors");
    code.line("/// The bytes are not what the schema of that type says.");
    code.open("pub fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {");
    code.line("let (record_type, key) = message::split_record_type(bytes)?;");
    code.open("Ok(Some(match record_type {");
    for key in keys {
        let api_key = key
            .api_key
            .with_context(|| format!("{} has no apiKey", key.name))?;
        ensure!(
            key.versions.from == key.versions.to,
            "{} has several versions, and nothing in a key says which",
            key.name
        );
        code.line(&format!(
            "{api_key} => Self::{}({}::decode({}, key)?),",
            variant(key),
            key.name,
            key.versions.from
        ));
    }
    code.line("_ => return Ok(None),");
    code.close("}))");
    code.close("}");
    code.close("}");
    Ok(code.text)
}

fn message_impl(schema: &Schema, code: &mut Code) {
    let name = &schema.name;
    let flexible_from = if schema.flexible.is_empty() {
        "i16::MAX".to_owned()
    } else {
        schema.flexible.from.to_string()
    };
    // `data` is what clients put into requests: the consumer protocol's metadata.
    let elements_max = match schema.kind {
        Kind::Request | Kind::Data => "foz_protocol::shape::REQUEST_ELEMENTS_MAX",
        Kind::CoordinatorKey | Kind::CoordinatorValue | Kind::Response | Kind::Header => {
            "usize::MAX"
        }
    };
    code.open(&format!("impl Message for {name} {{"));
    code.line(&format!("const NAME: &'static str = \"{name}\";"));
    code.line(&format!(
        "const VERSION_MIN: i16 = {};",
        schema.versions.from
    ));
    code.line(&format!("const VERSION_MAX: i16 = {};", schema.versions.to));
    code.line(&format!("const FLEXIBLE_FROM: i16 = {flexible_from};"));
    code.line(&format!("const ELEMENTS_MAX: usize = {elements_max};"));
    code.close("}");
    match (schema.kind, schema.api_key) {
        (Kind::CoordinatorKey, Some(api_key)) => {
            code.open(&format!("impl CoordinatorKey for {name} {{"));
            code.line(&format!("const RECORD_TYPE: i16 = {api_key};"));
            code.close("}");
        }
        (Kind::Request | Kind::Response, Some(api_key)) => {
            code.open(&format!("impl {name} {{"));
            code.line("/// The API that it is of.");
            code.line(&format!("pub const API_KEY: i16 = {api_key};"));
            code.close("}");
        }
        _ => {}
    }
}

/// Writes one structure.
struct Writer<'a> {
    schema: &'a Schema,
    structure: &'a Structure,
}

impl Writer<'_> {
    fn write(&self, code: &mut Code) {
        let name = &self.structure.name;
        if *name == self.schema.name {
            code.line(&format!("/// Kafka's `{name}`."));
        } else {
            code.line(&format!("/// A structure of [`{}`].", self.schema.name));
        }
        let eq = if self.has_float() { "" } else { ", Eq" };
        code.line(&format!("#[derive(Debug, Clone, PartialEq{eq})]"));
        code.open(&format!("pub struct {name} {{"));
        for field in self.fields() {
            let about = match field.about.as_str() {
                "" => format!("Kafka's `{}`.", field.name),
                about => about.trim_end().replace('[', "\\["),
            };
            code.line(&format!("/// {about}"));
            code.line(&format!("pub {}: {},", name_of(field), type_of(field)));
        }
        code.close("}");

        code.open(&format!("impl Default for {name} {{"));
        code.open("fn default() -> Self {");
        code.open("Self {");
        for field in self.fields() {
            code.line(&format!("{}: {},", name_of(field), default_of(field)));
        }
        code.close("}");
        code.close("}");
        code.close("}");

        code.open(&format!("impl Structure for {name} {{"));
        let versions = self.structure.versions;
        code.open("fn read(decoder: &mut Decoder<'_>) -> Result<Self, WireError> {");
        self.read_fields(versions, code);
        code.close("}");
        code.open("fn write(&self, encoder: &mut Encoder) -> Result<(), Unwritable> {");
        self.write_fields(versions, code);
        code.close("}");
        code.close("}");
    }

    fn read_fields(&self, versions: Versions, code: &mut Code) {
        for field in self.fields() {
            let (name, kind) = (name_of(field), type_of(field));
            let read = self.read_value(field, "decoder", field.untagged());
            let default = default_of(field);
            let read = match field.untagged().condition(versions, "decoder") {
                Condition::Always => read,
                Condition::Never => default,
                Condition::If(condition) => {
                    format!("if {condition} {{ {read} }} else {{ {default} }}")
                }
            };
            let is_tagged = !field.tagged().is_empty();
            let mutable = if is_tagged { "mut " } else { "" };
            code.line(&format!("let {mutable}{name}: {kind} = {read};"));
        }
        let tagged: Vec<&Field> = self.tagged().collect();
        if tagged.is_empty() {
            code.line("decoder.tagged_fields(|_, _| Ok(false))?;");
        } else {
            code.open("decoder.tagged_fields(|tag, field| {");
            code.open("match tag {");
            for field in tagged {
                let (tag, in_versions) = field.tag.expect("of a tagged field");
                let guard = match in_versions.condition(versions, "field") {
                    Condition::Always => String::new(),
                    Condition::Never => continue,
                    Condition::If(condition) => format!(" if {condition}"),
                };
                let read = self.read_value(field, "field", in_versions);
                code.line(&format!("{tag}{guard} => {} = {read},", name_of(field)));
            }
            code.line("_ => return Ok(false),");
            code.close("}");
            code.line("Ok(true)");
            code.close("})?;");
        }
        let names: Vec<String> = self.fields().map(name_of).collect();
        code.line(&format!("Ok(Self {{ {} }})", names.join(", ")));
    }

    /// An expression that reads a field, in one of `versions`, from what is called `from`.
    fn read_value(&self, field: &Field, from: &str, versions: Versions) -> String {
        let name = &field.name;
        let nullable = match (&field.kind, from) {
            (Type::Structure(_), "field") => format!("{from}.nullable_tagged(\"{name}\")?"),
            _ => format!("{from}.nullable(\"{name}\")?"),
        };
        if field.nullable.is_empty() {
            return format!("{from}.value(\"{name}\")?");
        }
        match field.nullable.condition(versions, from) {
            Condition::Always => nullable,
            Condition::Never => format!("Some({from}.value(\"{name}\")?)"),
            Condition::If(condition) => {
                format!(
                    "if {condition} {{ {nullable} }} else {{ Some({from}.value(\"{name}\")?) }}"
                )
            }
        }
    }

    fn write_fields(&self, versions: Versions, code: &mut Code) {
        for field in self.fields() {
            let lacks = field.versions.condition(versions, "encoder").opposite();
            let is_lost = match lacks {
                _ if field.is_ignorable => None,
                Condition::Always => Some(is_set(field)),
                Condition::Never => None,
                Condition::If(lacks) => Some(format!("{lacks} && {}", is_set(field))),
            };
            if let Some(is_lost) = is_lost {
                code.open(&format!("if {is_lost} {{"));
                let error = format!("Unwritable::NotInVersion {{ field: \"{}\" }}", field.name);
                code.line(&format!("return Err({error});"));
                code.close("}");
            }
            let write = self.write_value(field, "encoder", field.untagged());
            match field.untagged().condition(versions, "encoder") {
                Condition::Always => code.line(&format!("{write}?;")),
                Condition::Never => {}
                Condition::If(condition) => {
                    code.open(&format!("if {condition} {{"));
                    code.line(&format!("{write}?;"));
                    code.close("}");
                }
            }
        }
        let mut tagged: Vec<&Field> = self.tagged().collect();
        tagged.sort_by_key(|field| field.tag.map(|(tag, _)| tag));
        let mutable = if tagged.is_empty() { "" } else { "mut " };
        code.line(&format!("let {mutable}tagged = encoder.tagged_fields();"));
        for field in tagged {
            let (tag, in_versions) = field.tag.expect("of a tagged field");
            let condition = match in_versions.condition(versions, "encoder") {
                Condition::Always => is_set(field),
                Condition::Never => continue,
                Condition::If(condition) => format!("{condition} && {}", is_set(field)),
            };
            let write = self.write_value(field, "field", in_versions);
            code.open(&format!("if {condition} {{"));
            code.line(&format!("tagged.add({tag}, |field| {write})?;"));
            code.close("}");
        }
        code.line("encoder.end(&tagged)");
    }

    /// An expression that writes a field, in one of `versions`, to what is called `to`.
    fn write_value(&self, field: &Field, to: &str, versions: Versions) -> String {
        let (name, own) = (&field.name, name_of(field));
        if field.nullable.is_empty() {
            return format!("{to}.value(&self.{own}, \"{name}\")");
        }
        let method = match (&field.kind, to) {
            (Type::Structure(_), "field") => "nullable_tagged",
            _ => "nullable",
        };
        let nullable = format!("{to}.{method}(self.{own}.as_ref(), \"{name}\")");
        let required =
            format!("{to}.value(required(self.{own}.as_ref(), \"{name}\")?, \"{name}\")");
        match field.nullable.condition(versions, to) {
            Condition::Always => nullable,
            Condition::Never => required,
            Condition::If(condition) => {
                format!("if {condition} {{ {nullable} }} else {{ {required} }}")
            }
        }
    }

    /// Those that any version has.
    fn fields(&self) -> impl Iterator<Item = &Field> {
        let fields = self.structure.fields.iter();
        fields.filter(|field| !field.versions.is_empty())
    }

    fn tagged(&self) -> impl Iterator<Item = &Field> {
        self.fields().filter(|field| !field.tagged().is_empty())
    }

    /// Whether a number that is not equal to itself may be in it.
    fn has_float(&self) -> bool {
        self.fields().any(|field| match &field.kind {
            Type::Float64 => true,
            kind => {
                let named = kind
                    .structure()
                    .and_then(|name| self.schema.structure(name));
                named.is_some_and(|structure| {
                    let schema = self.schema;
                    Writer { schema, structure }.has_float()
                })
            }
        })
    }
}

/// `OffsetCommitKey` is the variant `OffsetCommit`.
fn variant(key: &Schema) -> &str {
    key.name.strip_suffix("Key").unwrap_or(&key.name)
}
