//! Schemas of maps from text to text. Each has bounds: the API server takes no rule over a map whose cost it
//! cannot bound.

use schemars::{Schema, SchemaGenerator, json_schema};

/// More settings than there are keys.
const CONFIG_KEYS_MAX: u32 = 500;
/// Kafka's bound on the length of a value, which the brokers keep to as well.
const CONFIG_VALUE_LENGTH_MAX: u32 = 32_767;
const LABELS_MAX: u32 = 64;
/// Kubernetes' bound on the value of a label.
const LABEL_VALUE_LENGTH_MAX: u32 = 63;
/// Kubernetes allows 256 KiB for all annotations of an object.
const ANNOTATION_VALUE_LENGTH_MAX: u32 = 256 * 1024;

/// Settings under Kafka's names.
pub(crate) fn config_schema(_: &mut SchemaGenerator) -> Schema {
    texts(CONFIG_KEYS_MAX, CONFIG_VALUE_LENGTH_MAX)
}

/// Labels.
pub(crate) fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    texts(LABELS_MAX, LABEL_VALUE_LENGTH_MAX)
}

/// Annotations.
pub(crate) fn annotations_schema(_: &mut SchemaGenerator) -> Schema {
    texts(LABELS_MAX, ANNOTATION_VALUE_LENGTH_MAX)
}

fn texts(entries_max: u32, value_length_max: u32) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": entries_max,
        "additionalProperties": {"type": "string", "maxLength": value_length_max},
    })
}
