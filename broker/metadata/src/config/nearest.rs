//! Which key was probably meant.

use super::{GROUP_KEYS, Scope, TOPIC_KEYS};

/// A longer one is no slip.
const NAME_BYTES_MAX: usize = 100;

/// The key that someone who wrote `name` probably meant, with a remark when it is set elsewhere.
pub(super) fn suggestion(scope: Scope, name: &str) -> Option<String> {
    counterpart(scope, name)
        .map(str::to_owned)
        .or_else(|| elsewhere(scope, name))
        .or_else(|| {
            let letters = letters(name)?;
            scope
                .keys()
                .filter(|key| may_be_near(&letters, key.name))
                .map(|key| (distance(name, key.name), key.name))
                .filter(|(distance, key)| *distance <= distance_max(key))
                .min()
                .map(|(_, key)| key.to_owned())
        })
}

/// `retention.ms` for who sets `log.retention.ms` on a topic, and the other way round.
fn counterpart(scope: Scope, name: &str) -> Option<&'static str> {
    match scope {
        Scope::Topic => TOPIC_KEYS
            .iter()
            .find(|key| key.synonyms.iter().any(|synonym| synonym.name == name))
            .map(|key| key.name),
        Scope::Broker => {
            let key = TOPIC_KEYS.iter().find(|key| key.name == name)?;
            key.synonyms.first().map(|synonym| synonym.name)
        }
        Scope::Group => GROUP_KEYS
            .iter()
            .find(|key| key.synonyms.iter().any(|synonym| synonym.name == name))
            .map(|key| key.name),
    }
}

fn elsewhere(scope: Scope, name: &str) -> Option<String> {
    let (other, noun) = match scope {
        Scope::Topic => (Scope::Broker, "brokers"),
        Scope::Broker => (Scope::Topic, "topics"),
        // What brokers say of all groups has a counterpart, and nobody is sent from a group to a topic.
        Scope::Group => return None,
    };
    other.key(name).map(|key| format!("{} on {noun}", key.name))
}

/// Beyond a third of the letters it is another word rather than a slip.
fn distance_max(key: &str) -> usize {
    (key.len() / 3).max(2)
}

/// How often each byte is in a name; `None` of one that is longer than any key is.
fn letters(name: &str) -> Option<[u8; 256]> {
    let mut letters = [0_u8; 256];
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    name.bytes()
        .for_each(|byte| letters[usize::from(byte)] += 1);
    Some(letters)
}

/// At least so far apart are names as the one has bytes that the other lacks. A request may name a hundred thousand unknown
/// keys, and the distance takes time.
fn may_be_near(letters: &[u8; 256], key: &str) -> bool {
    let Some(of_key) = self::letters(key) else {
        return false;
    };
    let both = || letters.iter().zip(&of_key);
    let lacking: usize = both().map(|(a, b)| usize::from(b.saturating_sub(*a))).sum();
    let more: usize = both().map(|(a, b)| usize::from(a.saturating_sub(*b))).sum();
    lacking.max(more) <= distance_max(key)
}

/// How many letters to insert, drop, replace or swap with the next (restricted Damerau-Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (last[j + 1] + 1)
                .min(row[j] + 1)
                .min(last[j] + usize::from(a != b));
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        for (scope, name, expected) in [
            (Scope::Topic, "retention.sm", Some("retention.ms")),
            (Scope::Topic, "retentionms", Some("retention.ms")),
            (
                Scope::Topic,
                "min.insync.replica",
                Some("min.insync.replicas"),
            ),
            (Scope::Topic, "log.retention.ms", Some("retention.ms")),
            (Scope::Topic, "log.retention.hours", Some("retention.ms")),
            (
                Scope::Topic,
                "num.partitions",
                Some("num.partitions on brokers"),
            ),
            (Scope::Broker, "retention.ms", Some("log.retention.ms")),
            (Scope::Broker, "num.partition", Some("num.partitions")),
            (Scope::Topic, "colour", None),
            (Scope::Topic, "", None),
            (Scope::Broker, "retention.ms".repeat(1000).as_str(), None),
        ] {
            assert_eq!(suggestion(scope, name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn distances() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "acb", 1),
            ("abc", "abd", 1),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }
}
