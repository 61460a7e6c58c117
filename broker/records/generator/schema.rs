//! A message schema of Kafka's, checked: what the generator writes code from.
//!
//! What the attributes mean is said in Kafka's `clients/src/main/resources/common/message/README.md`.
//! An attribute, a type or a combination that is not known here is an error, never passed over: it
//! could change the bytes.

use anyhow::{Context, Result, bail, ensure};

use crate::json::{RawField, RawMessage};
use crate::versions::Versions;

/// A message and the structures in it.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) api_key: Option<i16>,
    pub(crate) versions: Versions,
    /// Those that are flexible (KIP-482).
    pub(crate) flexible: Versions,
    /// The first is the message itself.
    pub(crate) structures: Vec<Structure>,
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    CoordinatorKey,
    CoordinatorValue,
    Request,
    Response,
    Data,
    Header,
}

/// Fields in the order of the wire.
#[derive(Debug)]
pub(crate) struct Structure {
    pub(crate) name: String,
    /// In which it can occur.
    pub(crate) versions: Versions,
    pub(crate) fields: Vec<Field>,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    /// As in the schema.
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) kind: Type,
    /// That have it, tagged or not.
    pub(crate) versions: Versions,
    /// In which it may be null.
    pub(crate) nullable: Versions,
    /// Its tag, and the versions in which it is a tagged field.
    pub(crate) tag: Option<(u32, Versions)>,
    pub(crate) default: Default,
    /// Whether a version that lacks it may drop a value.
    pub(crate) is_ignorable: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Array(Box<Type>),
    Structure(String),
}

/// The value of a field that is not there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Default {
    /// False, zero, or nothing in it.
    Empty,
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Uuid([u8; 16]),
    String(String),
}

impl Schema {
    /// Reads a schema.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let raw = RawMessage::parse(text)?;
        let name = raw.name.clone();
        Self::check(raw).with_context(|| format!("the schema of {name}"))
    }

    fn check(raw: RawMessage) -> Result<Self> {
        let versions = Versions::parse(&raw.valid_versions)?;
        ensure!(!versions.is_empty(), "validVersions is none");
        let flexible = Versions::parse(&raw.flexible_versions)?.intersect(versions);
        ensure!(
            flexible.is_empty() || flexible.to == versions.to,
            "flexibleVersions is {:?}: a version after a flexible one is flexible too",
            raw.flexible_versions
        );
        ensure!(
            !raw.latest_version_unstable,
            "latestVersionUnstable is true: such a version must not be written"
        );
        let mut parser = Parser {
            flexible,
            structures: Vec::new(),
        };
        parser.structure(&raw.name, versions, raw.fields)?;
        for common in raw.common_structs {
            let versions = Versions::parse(&common.versions)?.intersect(versions);
            parser.structure(&common.name, versions, common.fields)?;
        }
        let schema = Self {
            name: raw.name,
            kind: raw.kind,
            api_key: raw.api_key,
            versions,
            flexible,
            structures: parser.structures,
        };
        schema.check_structures()?;
        Ok(schema)
    }

    /// The structure of that name.
    pub(crate) fn structure(&self, name: &str) -> Option<&Structure> {
        self.structures
            .iter()
            .find(|structure| structure.name == name)
    }

    /// Every structure that is named is there, once, in all versions of the fields that name it.
    fn check_structures(&self) -> Result<()> {
        for (at, structure) in self.structures.iter().enumerate() {
            let earlier = &self.structures[..at];
            ensure!(
                earlier.iter().all(|other| other.name != structure.name),
                "there are two structures {}",
                structure.name
            );
            for field in &structure.fields {
                let Some(name) = field.kind.structure() else {
                    continue;
                };
                let Some(named) = self.structure(name) else {
                    bail!("{} is of the unknown type {name}", field.name);
                };
                ensure!(
                    field.versions.intersect(named.versions) == field.versions,
                    "{} is there in versions that {name} lacks",
                    field.name
                );
            }
        }
        Ok(())
    }
}

impl Type {
    fn parse(text: &str) -> Self {
        match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            _ => match text.strip_prefix("[]") {
                Some(element) => Self::Array(Box::new(Self::parse(element))),
                None => Self::Structure(text.to_owned()),
            },
        }
    }

    /// The structure that it is, or that its elements are.
    pub(crate) fn structure(&self) -> Option<&str> {
        match self {
            Self::Structure(name) => Some(name),
            Self::Array(element) => element.structure(),
            _ => None,
        }
    }

    fn can_be_null(&self) -> bool {
        matches!(
            self,
            Self::String | Self::Bytes | Self::Array(_) | Self::Structure(_)
        )
    }
}

impl Field {
    /// The versions in which it stands in its place among the others.
    pub(crate) fn untagged(&self) -> Versions {
        match self.tag {
            Some((_, tagged)) => self.versions.before(tagged),
            None => self.versions,
        }
    }

    /// The versions in which it is tagged.
    pub(crate) fn tagged(&self) -> Versions {
        self.tag.map_or(Versions::NONE, |(_, versions)| versions)
    }
}

struct Parser {
    flexible: Versions,
    structures: Vec<Structure>,
}

impl Parser {
    fn structure(&mut self, name: &str, versions: Versions, raw: Vec<RawField>) -> Result<()> {
        let at = self.structures.len();
        self.structures.push(Structure {
            name: name.to_owned(),
            versions,
            fields: Vec::new(),
        });
        let mut fields: Vec<Field> = Vec::new();
        for field in raw {
            let field_name = field.name.clone();
            let field = self
                .field(versions, field)
                .with_context(|| format!("field {field_name} of {name}"))?;
            if let Some((tag, _)) = field.tag {
                let is_taken = |other: &Field| other.tag.is_some_and(|(taken, _)| taken == tag);
                ensure!(
                    !fields.iter().any(is_taken),
                    "{name} has two fields of tag {tag}"
                );
            }
            fields.push(field);
        }
        self.structures[at].fields = fields;
        Ok(())
    }

    fn field(&mut self, parent: Versions, raw: RawField) -> Result<Field> {
        let tagged = raw.tagged_versions.as_deref().map(Versions::parse);
        let tagged = tagged.transpose()?.unwrap_or(Versions::NONE);
        let versions = match &raw.versions {
            Some(versions) => Versions::parse(versions)?,
            None => tagged,
        };
        ensure!(
            tagged.intersect(versions) == tagged,
            "taggedVersions has more than versions"
        );
        let versions = versions.intersect(parent);
        let tagged = tagged.intersect(parent);
        ensure!(
            tagged.is_empty() || tagged.to == versions.to,
            "it is no longer tagged after version {}",
            tagged.to
        );
        ensure!(
            tagged.intersect(self.flexible) == tagged,
            "taggedVersions has versions that are not flexible"
        );
        let tag = match (raw.tag, tagged.is_empty()) {
            (Some(tag), false) => Some((tag, tagged)),
            (None, true) => None,
            _ => bail!("tag and taggedVersions need each other"),
        };
        let kind = Type::parse(&raw.kind);
        let nullable = match &raw.nullable_versions {
            Some(nullable) => Versions::parse(nullable)?.intersect(versions),
            None => Versions::NONE,
        };
        ensure!(
            nullable.is_empty() || kind.can_be_null(),
            "a {} is never null",
            raw.kind
        );
        let default = default_of(&kind, raw.default.as_ref(), nullable == versions)?;
        if !raw.fields.is_empty() {
            let Some(name) = kind.structure() else {
                bail!("a {} has no fields", raw.kind);
            };
            self.structure(name, versions, raw.fields)?;
        }
        Ok(Field {
            name: raw.name,
            about: raw.about,
            kind,
            versions,
            nullable,
            tag,
            default,
            is_ignorable: raw.ignorable,
        })
    }
}

/// The default of a field. A JSON `null` is none at all, for Kafka's generator too; the string `"null"`
/// is the null. `ClassicMemberMetadata` has the former, so Kafka writes a tag for its nulls.
fn default_of(
    kind: &Type,
    json: Option<&serde_json::Value>,
    is_always_nullable: bool,
) -> Result<Default> {
    let text = match json {
        None => return Ok(Default::Empty),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text == "null" {
        ensure!(
            is_always_nullable,
            "the default is null, which not every version allows"
        );
        return Ok(Default::Null);
    }
    let wrong = || format!("{text:?} is no default of this type");
    Ok(match kind {
        Type::Bool => Default::Bool(text.parse().with_context(wrong)?),
        Type::Float64 => Default::Float(text.parse().with_context(wrong)?),
        Type::String => Default::String(text),
        Type::Uuid => Default::Uuid(uuid_of(&text).with_context(wrong)?),
        Type::Bytes | Type::Array(_) | Type::Structure(_) => bail!(wrong()),
        integer => {
            let value = match text.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16),
                None => text.parse(),
            }
            .with_context(wrong)?;
            let (least, most) = match integer {
                Type::Int8 => (i8::MIN.into(), i8::MAX.into()),
                Type::Int16 => (i16::MIN.into(), i16::MAX.into()),
                Type::Uint16 => (0, u16::MAX.into()),
                Type::Int32 => (i32::MIN.into(), i32::MAX.into()),
                Type::Uint32 => (0, u32::MAX.into()),
                _ => (i64::MIN, i64::MAX),
            };
            ensure!((least..=most).contains(&value), wrong());
            Default::Integer(value)
        }
    })
}

/// Kafka writes UUIDs as base64 for URLs.
fn uuid_of(text: &str) -> Result<[u8; 16]> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text)?;
    bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| anyhow::anyhow!("{} bytes instead of 16", bytes.len()))
}
