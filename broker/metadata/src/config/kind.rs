//! The types of config values.

use std::collections::HashSet;
use std::fmt;

/// The type of a key's value, with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// A 32-bit number; both bounds are allowed values.
    Int(i32, i32),
    /// A 16-bit number; both bounds are allowed values.
    Short(i16, i16),
    /// A 64-bit number; both bounds are allowed values.
    Long(i64, i64),
    /// Both bounds are allowed values.
    Double(f64, f64),
    /// Any text.
    Text,
    /// Any text, as the name of a Java class.
    Class,
    /// Any text; it is never shown.
    Password,
    /// One of these words; the empty one, where it is among them, is the last.
    OneOf(&'static [&'static str]),
    /// Words separated by commas, none twice; only these where any are given.
    List(&'static [&'static str]),
    /// 1 to 9, or -1 for the codec's own default.
    GzipLevel,
    /// `*`, or `partition:broker` pairs separated by commas.
    ThrottledReplicas,
    /// Where a share group begins: `earliest`, `latest`, or `by_duration:` and a time of ISO 8601 (KIP-932).
    OffsetReset,
    /// `listener:protocol` pairs separated by commas. No listener is encrypted here: the protocol is PLAINTEXT, or one for a
    /// listener of its very name, as Kafka's default has them and nobody listens.
    ProtocolOfListeners,
}

pub(super) const fn int(min: i32) -> Kind {
    Kind::Int(min, i32::MAX)
}

pub(super) const fn long(min: i64) -> Kind {
    Kind::Long(min, i64::MAX)
}

impl Kind {
    /// The number that Kafka's `DescribeConfigs` gives the type.
    #[must_use]
    pub fn kafka_type(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::Text | Self::OneOf(_) | Self::OffsetReset | Self::ProtocolOfListeners => 2,
            Self::Int(..) | Self::GzipLevel => 3,
            Self::Short(..) => 4,
            Self::Long(..) => 5,
            Self::Double(..) => 6,
            Self::List(_) | Self::ThrottledReplicas => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    /// Whether `APPEND` and `SUBTRACT` mean something.
    #[must_use]
    pub fn is_list(self) -> bool {
        matches!(self, Self::List(_) | Self::ThrottledReplicas)
    }

    /// Whether a value given as text, blanks around it aside, is of this type and within bounds.
    #[must_use]
    pub fn accepts(self, value: &str) -> bool {
        let value = value.trim();
        match self {
            Self::Boolean => {
                value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
            }
            Self::Int(min, max) => value
                .parse()
                .is_ok_and(|number| (min..=max).contains(&number)),
            Self::Short(min, max) => value
                .parse()
                .is_ok_and(|number| (min..=max).contains(&number)),
            Self::Long(min, max) => value
                .parse()
                .is_ok_and(|number| (min..=max).contains(&number)),
            Self::Double(min, max) => value
                .parse()
                .is_ok_and(|number: f64| (min..=max).contains(&number)),
            Self::Text | Self::Class | Self::Password => true,
            Self::OneOf(words) => words.contains(&value),
            Self::List(words) => {
                let mut seen = HashSet::new();
                let mut items = split_list(value).into_iter();
                items.all(|item| (words.is_empty() || words.contains(&item)) && seen.insert(item))
            }
            Self::GzipLevel => value
                .parse()
                .is_ok_and(|level: i32| level == -1 || (1..=9).contains(&level)),
            Self::ThrottledReplicas => {
                value == "*" || split_list(value).into_iter().all(is_replica)
            }
            Self::OffsetReset => {
                let duration = value.strip_prefix("by_duration:");
                duration.map_or(matches!(value, "earliest" | "latest"), is_duration)
            }
            Self::ProtocolOfListeners => split_list(value).into_iter().all(is_plaintext),
        }
    }
}

/// What would be right, to follow "it must be".
impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Boolean => write!(formatter, "true or false"),
            Self::Int(i32::MIN, i32::MAX) => write!(formatter, "a 32-bit number"),
            Self::Int(min, i32::MAX) => write!(formatter, "a 32-bit number, at least {min}"),
            Self::Int(min, max) => write!(formatter, "a number from {min} to {max}"),
            Self::Short(min, max) => write!(formatter, "a number from {min} to {max}"),
            Self::Long(i64::MIN, i64::MAX) => write!(formatter, "a 64-bit number"),
            Self::Long(min, i64::MAX) => write!(formatter, "a 64-bit number, at least {min}"),
            Self::Long(min, max) => write!(formatter, "a number from {min} to {max}"),
            Self::Double(f64::MIN, f64::MAX) => write!(formatter, "a number"),
            Self::Double(min, max) => write!(formatter, "a number from {min} to {max}"),
            Self::Text | Self::Password => write!(formatter, "text"),
            Self::Class => write!(formatter, "the name of a Java class"),
            Self::OneOf([words @ .., ""]) => {
                write!(formatter, "one of {}, or empty", words.join(", "))
            }
            Self::OneOf(words) => write!(formatter, "one of {}", words.join(", ")),
            Self::List([]) => write!(formatter, "words separated by commas, none twice"),
            Self::List(words) => {
                write!(
                    formatter,
                    "any of {}, separated by commas, none twice",
                    words.join(", ")
                )
            }
            Self::GzipLevel => write!(formatter, "a number from 1 to 9, or -1"),
            Self::OffsetReset => {
                write!(
                    formatter,
                    "earliest, latest or by_duration:PnDTnHnMn.nS, as by_duration:P1DT12H"
                )
            }
            Self::ProtocolOfListeners => {
                write!(
                    formatter,
                    "listener:PLAINTEXT pairs separated by commas: there is no TLS and no SASL in this version"
                )
            }
            Self::ThrottledReplicas => {
                write!(
                    formatter,
                    "* or partition:broker pairs separated by commas, as 0:1,1:2"
                )
            }
        }
    }
}

/// The items of a list; none of an empty text.
#[must_use]
pub(crate) fn split_list(value: &str) -> Vec<&str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

/// `PnDTnHnMn.nS` with one number at least, as `java.time.Duration` reads it, here without signs.
fn is_duration(value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    let Some(value) = value.strip_prefix('P') else {
        return false;
    };
    match value.split_once('T') {
        Some(("", time)) => has_units(time, "HMS"),
        Some((days, time)) => has_units(days, "D") && has_units(time, "HMS"),
        None => has_units(value, "D"),
    }
}

/// Numbers, one at least, each followed by one of `units`, in their order.
fn has_units(part: &str, units: &str) -> bool {
    let mut rest = part;
    let mut units = units.chars();
    while let Some(at) = rest.find(|it: char| !it.is_ascii_digit() && it != '.') {
        let (number, unit) = (&rest[..at], rest[at..].chars().next());
        let is_number = match number.split_once('.') {
            Some((whole, fraction)) => {
                unit == Some('S')
                    && whole.parse::<u32>().is_ok()
                    && fraction.len() <= 9
                    && !fraction.contains('.')
            }
            None => number.parse::<u32>().is_ok(),
        };
        if !is_number || !units.any(|it| Some(it) == unit) {
            return false;
        }
        rest = &rest[at + 1..];
    }
    rest.is_empty() && !part.is_empty()
}

fn is_plaintext(item: &str) -> bool {
    item.split_once(':')
        .is_some_and(|(listener, protocol)| protocol == "PLAINTEXT" || protocol == listener)
}

fn is_replica(item: &str) -> bool {
    let is_number = |part: &str| part.parse::<u32>().is_ok();
    item.split_once(':')
        .is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_at_and_past_their_bounds() {
        for (kind, good, bad) in [
            (
                Kind::Boolean,
                &["true", "False", " true "][..],
                &["", "yes", "1"][..],
            ),
            (
                int(1),
                &["1", "2147483647"],
                &["0", "-1", "2147483648", "1.5", ""],
            ),
            (Kind::Short(1, 3), &["1", "3"], &["0", "4"]),
            (
                long(-1),
                &["-1", "9223372036854775807"],
                &["-2", "9223372036854775808", "1h"],
            ),
            (
                Kind::Double(0.0, 1.0),
                &["0", "0.5", "1"],
                &["1.01", "-0.1", "NaN", ""],
            ),
            (Kind::OneOf(&["a", "b"]), &["a", "b"], &["A", "", "a,b"]),
            (Kind::OneOf(&["a", ""]), &["a", "", " "], &["A", "b"]),
            (
                Kind::List(&["a", "b"]),
                &["a", "b,a", "", " a , b "],
                &["c", "a,a"],
            ),
            (Kind::GzipLevel, &["-1", "1", "9"], &["0", "10"]),
            (
                Kind::ThrottledReplicas,
                &["*", "", "0:1,1:2"],
                &["0", "0:", "a:1", "*,0:1"],
            ),
            (
                Kind::OffsetReset,
                &[
                    "earliest",
                    "latest",
                    "by_duration:PT1H",
                    "by_duration:P1DT2H3M4.5S",
                    "by_duration:pt0.000000001s",
                    "by_duration:P7D",
                ],
                &[
                    "",
                    "none",
                    "Latest",
                    "by_duration:",
                    "by_duration:1h",
                    "by_duration:P",
                    "by_duration:PT",
                    "by_duration:P1DT",
                    "by_duration:P1",
                    "by_duration:PT-1H",
                    "by_duration:-PT1H",
                    "by_duration:PT1M1H",
                    "by_duration:PT1.5H",
                    "by_duration:P1H",
                    "by_duration:PT1\u{20ac}",
                    "by_duration:PT1.0000000001S",
                    "by_duration:PT1.1.1S",
                ],
            ),
            (
                Kind::ProtocolOfListeners,
                &["PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL", ""],
                &["PLAINTEXT:SSL", "CONTROLLER:SASL_SSL", "PLAINTEXT"],
            ),
        ] {
            for value in good {
                assert!(kind.accepts(value), "{kind:?} should accept {value:?}");
            }
            for value in bad {
                assert!(!kind.accepts(value), "{kind:?} should refuse {value:?}");
            }
        }
    }
}
