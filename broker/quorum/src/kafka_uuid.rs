//! Kafka's spelling of a UUID: 22 characters of URL-safe base64, as in `meta.properties`.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// 128 bits, written as Kafka's `Uuid.toString` writes them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KafkaUuid([u8; 16]);

/// A string that is not a [`KafkaUuid`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{found:?} is not 22 characters of URL-safe base64")]
pub struct KafkaUuidError {
    found: String,
}

impl KafkaUuid {
    /// A new one, never one that Kafka's `Uuid.randomUuid` would not give: a leading dash looks like an
    /// option on a command line.
    #[must_use]
    pub fn random() -> Self {
        loop {
            let id = Self(uuid::Uuid::new_v4().into_bytes());
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From 16 bytes; none for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for KafkaUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 128 bits and 4 zero bits are 22 groups of six.
        let bits = u128::from_be_bytes(self.0);
        for group in 0..22_u32 {
            let six = if group < 21 {
                (bits >> (122 - 6 * group)) & 63
            } else {
                (bits << 4) & 63
            };
            let character = ALPHABET[usize::try_from(six).unwrap_or(0)];
            write!(f, "{}", char::from(character))?;
        }
        Ok(())
    }
}

impl fmt::Debug for KafkaUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KafkaUuid {
    type Err = KafkaUuidError;

    fn from_str(text: &str) -> Result<Self, KafkaUuidError> {
        let malformed = || KafkaUuidError {
            found: text.to_owned(),
        };
        if text.len() != 22 {
            return Err(malformed());
        }
        let mut bits: u128 = 0;
        for (group, character) in text.bytes().enumerate() {
            let six = ALPHABET
                .iter()
                .position(|known| *known == character)
                .ok_or_else(malformed)?;
            let six = six as u128;
            match group {
                0..21 => bits = (bits << 6) | six,
                _ if six & 15 == 0 => bits = (bits << 2) | (six >> 4),
                _ => return Err(malformed()),
            }
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spelled_as_kafka_spells_it() {
        // org.apache.kafka.common.Uuid: METADATA_TOPIC_ID is "AAAAAAAAAAAAAAAAAAAAAQ".
        let one = KafkaUuid(1_u128.to_be_bytes());
        assert_eq!(one.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let high = KafkaUuid([0xff; 16]);
        assert_eq!(high.to_string(), "_____________________w");
        for id in [one, high, KafkaUuid::random(), KafkaUuid::random()] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn other_strings_are_refused() {
        for bad in [
            "",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAA+",
            "AAAAAAAAAAAAAAAAAAAAAB",
        ] {
            assert!(bad.parse::<KafkaUuid>().is_err(), "{bad}");
        }
    }
}
