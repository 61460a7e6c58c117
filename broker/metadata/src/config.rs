//! Every config key of topics, brokers and groups: what it means, what it may be, where its value comes from.
//!
//! The tables have one row for each key: [`TOPIC_KEYS`] of topics, [`GROUP_KEYS`] of groups; of brokers [`BROKER_KEYS`],
//! [`CONSUMER_GROUP_KEYS`], [`TRANSACTION_KEYS`], [`TOPIC_DEFAULT_KEYS`], and of Kafka's [`KEPT_BROKER_KEYS`], which do nothing here, and [`DEFAULT_ONLY_BROKER_KEYS`], of which any value but
//! the default is refused. The names, types, defaults and bounds are those of Apache Kafka 4.4; keys of our own begin
//! with `foz.`.
//!
//! [`validate`] checks a value before it becomes a record, [`validate_in_file`] one of a properties file, [`Resolver`]
//! finds the value that counts, and [`contradictions`] those of a broker's file that do not.

mod broker_keys;
mod consumer_group_keys;
mod contradictions;
mod default_only_broker_keys;
mod group_keys;
mod kept_broker_keys;
mod kind;
mod nearest;
mod resolve;
mod topic_default_keys;
mod topic_keys;
mod transaction_keys;

pub use broker_keys::BROKER_KEYS;
pub use consumer_group_keys::CONSUMER_GROUP_KEYS;
pub use contradictions::{Contradiction, DECIDED_BY_CONTROLLERS, contradictions};
pub use default_only_broker_keys::DEFAULT_ONLY_BROKER_KEYS;
pub use group_keys::GROUP_KEYS;
pub(crate) use group_keys::{SESSIONS, bounds};
pub use kept_broker_keys::KEPT_BROKER_KEYS;
pub use kind::Kind;
pub(crate) use kind::split_list;
pub use resolve::{Effective, Resolver, Source, SynonymValue};
pub use topic_default_keys::TOPIC_DEFAULT_KEYS;
pub use topic_keys::TOPIC_KEYS;
pub use transaction_keys::TRANSACTION_KEYS;

/// Kafka's bound on a value, blanks around it aside.
pub const VALUE_BYTES_MAX: usize = i16::MAX as usize;

/// What a key is set on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One topic.
    Topic,
    /// One broker, or the default of all brokers.
    Broker,
    /// One group.
    Group,
}

/// What happens after a key was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It counts at once.
    Applied,
    /// It is read when a broker starts.
    NeedsRestart,
    /// It belongs to the properties file of each broker and cannot be changed by a request.
    FileOnly,
}

/// What a value does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// What Kafka's does.
    Full,
    /// Nothing: any that Kafka takes is kept.
    Kept,
    /// Any but the default is refused, for this reason.
    DefaultOnly(&'static str),
}

/// One row of a table.
#[derive(Debug)]
pub struct ConfigKey {
    /// As administrators write it.
    pub name: &'static str,
    /// What it is set on.
    pub scope: Scope,
    /// Its type and bounds.
    pub kind: Kind,
    /// `None` where Kafka's default is null.
    pub default: Option<&'static str>,
    /// For a topic's or a group's key: the broker keys that give its default, the first that is set counts. For a
    /// broker key: others that stand in for it when it is not set.
    pub synonyms: &'static [Synonym],
    /// When a change counts.
    pub effect: Effect,
    /// Whether it does.
    pub support: Support,
    /// A sentence or two for `DescribeConfigs`.
    pub documentation: &'static str,
}

/// Another key whose value can count for this one.
#[derive(Clone, Copy, Debug)]
pub struct Synonym {
    /// A broker key.
    pub name: &'static str,
    /// What its number is multiplied by; negative numbers (no limit) become -1.
    pub factor: i64,
}

/// Why a config cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such key for this kind of resource.
    #[error("unknown {} config {key:?}{}", scope.noun(), suggestion_text(suggestion.as_deref()))]
    UnknownKey {
        /// As it was given.
        key: String,
        /// What it was to be set on.
        scope: Scope,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// The value is not one that the key can have.
    #[error("invalid value {value:?} for {} config {key}: it must be {expected}", scope.noun())]
    BadValue {
        /// The key.
        key: &'static str,
        /// What it is set on.
        scope: Scope,
        /// As it was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// No answer could show it.
    #[error("the value of {key} has {length} bytes; at most {VALUE_BYTES_MAX} are possible")]
    TooLong {
        /// The key.
        key: &'static str,
        /// Bytes of the value.
        length: usize,
    },
    /// The key cannot be changed by a request.
    #[error("{key} cannot be changed by a request: it is set in each broker's properties file")]
    FileOnly {
        /// The key.
        key: &'static str,
    },
    /// A value that Kafka has and this broker does not honour yet.
    #[error("{key}={value} is not supported: {why}")]
    NotSupported {
        /// The key.
        key: &'static str,
        /// As it was given.
        value: String,
        /// What is missing.
        why: &'static str,
    },
}

impl Scope {
    /// All of its keys.
    pub fn keys(self) -> impl Iterator<Item = &'static ConfigKey> {
        self.tables().iter().copied().flatten()
    }

    /// The row of a key.
    #[must_use]
    pub fn key(self, name: &str) -> Option<&'static ConfigKey> {
        self.tables().iter().find_map(|table| {
            let found = table.binary_search_by(|key| key.name.cmp(name));
            Some(&table[found.ok()?])
        })
    }

    /// Each in alphabetical order.
    fn tables(self) -> &'static [&'static [ConfigKey]] {
        match self {
            Self::Topic => &[TOPIC_KEYS],
            Self::Group => &[GROUP_KEYS],
            Self::Broker => &[
                BROKER_KEYS,
                CONSUMER_GROUP_KEYS,
                TRANSACTION_KEYS,
                TOPIC_DEFAULT_KEYS,
                KEPT_BROKER_KEYS,
                DEFAULT_ONLY_BROKER_KEYS,
            ],
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Group => "group",
        }
    }
}

/// Checks a key and its value as a request gives them, and finds the key's row.
pub fn validate(scope: Scope, name: &str, value: &str) -> Result<&'static ConfigKey, ConfigError> {
    let key = settable(scope, name)?;
    key.check(value)?;
    Ok(key)
}

/// Checks a key and its value as a broker's properties file gives them.
pub fn validate_in_file(name: &str, value: &str) -> Result<(), ConfigError> {
    known(Scope::Broker, name)?.check(value)
}

/// The row of a key that a request may set or remove.
pub fn settable(scope: Scope, name: &str) -> Result<&'static ConfigKey, ConfigError> {
    let key = known(scope, name)?;
    match key.effect {
        Effect::FileOnly => Err(ConfigError::FileOnly { key: key.name }),
        Effect::Applied | Effect::NeedsRestart => Ok(key),
    }
}

fn known(scope: Scope, name: &str) -> Result<&'static ConfigKey, ConfigError> {
    scope.key(name).ok_or_else(|| ConfigError::UnknownKey {
        key: name.to_owned(),
        scope,
        suggestion: nearest::suggestion(scope, name),
    })
}

impl ConfigKey {
    /// Whether `value` is one that the key can have here.
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        let length = value.trim().len();
        if length > VALUE_BYTES_MAX {
            return Err(ConfigError::TooLong {
                key: self.name,
                length,
            });
        }
        let shown = || match self.kind {
            Kind::Password => "[hidden]".to_owned(),
            _ => value.to_owned(),
        };
        if !self.kind.accepts(value) {
            return Err(ConfigError::BadValue {
                key: self.name,
                scope: self.scope,
                value: shown(),
                expected: self.kind.to_string(),
            });
        }
        match self.support {
            Support::DefaultOnly(why) if !self.is_default(value) => {
                Err(ConfigError::NotSupported {
                    key: self.name,
                    value: shown(),
                    why,
                })
            }
            _ => Ok(()),
        }
    }

    /// Nothing at all stands for a default of null.
    fn is_default(&self, value: &str) -> bool {
        let (value, default) = (value.trim(), self.default.unwrap_or_default());
        match self.kind {
            Kind::Boolean => value.eq_ignore_ascii_case(default),
            Kind::List(_) => split_list(value) == split_list(default),
            Kind::Double(..) => value.parse::<f64>() == default.parse(),
            _ => value == default,
        }
    }

    const fn topic(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        synonyms: &'static [Synonym],
        documentation: &'static str,
    ) -> Self {
        Self {
            name,
            scope: Scope::Topic,
            kind,
            default: Some(default),
            synonyms,
            effect: Effect::Applied,
            support: Support::Full,
            documentation,
        }
    }

    const fn group(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        synonyms: &'static [Synonym],
        documentation: &'static str,
    ) -> Self {
        Self {
            scope: Scope::Group,
            ..Self::topic(name, kind, default, synonyms, documentation)
        }
    }

    const fn broker(
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
        effect: Effect,
        documentation: &'static str,
    ) -> Self {
        Self {
            name,
            scope: Scope::Broker,
            kind,
            default,
            synonyms: &[],
            effect,
            support: Support::Full,
            documentation,
        }
    }

    const fn default_only(mut self, why: &'static str) -> Self {
        self.support = Support::DefaultOnly(why);
        self
    }

    const fn or(mut self, synonyms: &'static [Synonym]) -> Self {
        self.synonyms = synonyms;
        self
    }
}

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

const fn minutes(name: &'static str) -> Synonym {
    Synonym {
        name,
        factor: 60_000,
    }
}

const fn hours(name: &'static str) -> Synonym {
    Synonym {
        name,
        factor: 3_600_000,
    }
}

fn suggestion_text(suggestion: Option<&str>) -> String {
    suggestion
        .map(|nearest| format!("; did you mean {nearest}?"))
        .unwrap_or_default()
}
