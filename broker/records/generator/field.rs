//! What a field is in Rust.

use crate::case::snake_case;
use crate::schema::{Default, Field, Type};

/// Its name in Rust.
pub(crate) fn name_of(field: &Field) -> String {
    match snake_case(&field.name).as_str() {
        "type" => "r#type".to_owned(),
        name => name.to_owned(),
    }
}

/// Its type in Rust.
pub(crate) fn type_of(field: &Field) -> String {
    let kind = type_name(&field.kind);
    if field.nullable.is_empty() {
        kind
    } else {
        format!("Option<{kind}>")
    }
}

fn type_name(kind: &Type) -> String {
    match kind {
        Type::Bool => "bool".to_owned(),
        Type::Int8 => "i8".to_owned(),
        Type::Int16 => "i16".to_owned(),
        Type::Uint16 => "u16".to_owned(),
        Type::Int32 => "i32".to_owned(),
        Type::Uint32 => "u32".to_owned(),
        Type::Int64 => "i64".to_owned(),
        Type::Float64 => "f64".to_owned(),
        Type::Uuid => "Uuid".to_owned(),
        Type::String => "Arc<str>".to_owned(),
        Type::Bytes => "Bytes".to_owned(),
        Type::Array(element) => format!("Vec<{}>", type_name(element)),
        Type::Structure(name) => name.clone(),
    }
}

/// An expression of its default.
pub(crate) fn default_of(field: &Field) -> String {
    let value = match &field.default {
        Default::Null => return "None".to_owned(),
        Default::Bool(value) => value.to_string(),
        Default::Integer(value) => value.to_string(),
        Default::Float(value) => format!("{value:?}"),
        Default::Uuid(bytes) => format!("Uuid::from_bytes({bytes:?})"),
        Default::String(text) => format!("Arc::from({text:?})"),
        Default::Empty => match &field.kind {
            Type::Bool => "false".to_owned(),
            Type::Float64 => "0.0".to_owned(),
            Type::Uuid => "Uuid::nil()".to_owned(),
            Type::String => "Arc::default()".to_owned(),
            Type::Bytes => "Bytes::new()".to_owned(),
            Type::Array(_) => "Vec::new()".to_owned(),
            Type::Structure(name) => format!("{name}::default()"),
            _ => "0".to_owned(),
        },
    };
    if field.nullable.is_empty() {
        value
    } else {
        format!("Some({value})")
    }
}

/// A condition: the field is not at its default.
pub(crate) fn is_set(field: &Field) -> String {
    let name = name_of(field);
    match (&field.default, &field.kind, field.nullable.is_empty()) {
        (Default::Null, ..) => format!("self.{name}.is_some()"),
        (Default::Bool(true), ..) => format!("!self.{name}"),
        (_, Type::Bool, _) => format!("self.{name}"),
        (Default::Empty, Type::String | Type::Bytes | Type::Array(_), true) => {
            format!("!self.{name}.is_empty()")
        }
        (Default::Empty, Type::String | Type::Bytes | Type::Array(_), false) => {
            format!("self.{name}.as_ref().is_none_or(|value| !value.is_empty())")
        }
        _ => format!("self.{name} != {}", default_of(field)),
    }
}
