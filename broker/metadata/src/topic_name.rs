//! Which topic names are legal.

/// The longest name: directory names end in `-<partition>` and a suffix while they are deleted.
pub const NAME_BYTES_MAX: usize = 249;

/// Why a name is not legal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// Nothing in it.
    #[error("topic name is empty; give 1 to 249 of the characters a-z A-Z 0-9 . _ -")]
    Empty,
    /// They have a meaning of their own in paths.
    #[error("topic name cannot be \".\" or \"..\"")]
    Dots,
    /// Longer than a file name can hold.
    #[error("topic name is {length} characters long; at most 249 are possible")]
    TooLong {
        /// In bytes.
        length: usize,
    },
    /// A character that Kafka does not allow.
    #[error("topic name {name:?} contains {character:?}; only a-z A-Z 0-9 . _ - are possible")]
    IllegalCharacter {
        /// The name.
        name: String,
        /// The first such character.
        character: char,
    },
}

/// Checks a name as Kafka's `Topic.validate` does.
pub fn validate(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots);
    }
    if let Some(character) = name.chars().find(|character| !is_legal(*character)) {
        return Err(TopicNameError::IllegalCharacter {
            name: name.to_owned(),
            character,
        });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(TopicNameError::TooLong { length: name.len() });
    }
    Ok(())
}

/// Whether two names would share the name of their metrics, in which `.` becomes `_`. Kafka refuses the
/// second of them, so an equal name collides too.
#[must_use]
pub fn collide(left: &str, right: &str) -> bool {
    let unified = |byte: u8| if byte == b'.' { b'_' } else { byte };
    left.len() == right.len() && left.bytes().map(unified).eq(right.bytes().map(unified))
}

/// Whether a different name can collide with this one at all.
#[must_use]
pub fn can_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

fn is_legal(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_and_illegal_names() {
        for name in [
            "a",
            "A.b_c-9",
            "...",
            "__consumer_offsets",
            &"x".repeat(249),
        ] {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
        assert_eq!(validate(""), Err(TopicNameError::Empty));
        assert_eq!(validate("."), Err(TopicNameError::Dots));
        assert_eq!(validate(".."), Err(TopicNameError::Dots));
        assert_eq!(
            validate(&"x".repeat(250)),
            Err(TopicNameError::TooLong { length: 250 })
        );
        for (name, character) in [("a b", ' '), ("a/b", '/'), ("größe", 'ö'), ("a\0", '\0')] {
            let name = name.to_owned();
            let refused = validate(&name);
            assert_eq!(
                refused,
                Err(TopicNameError::IllegalCharacter { name, character })
            );
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert!(collide("a.b_c", "a_b.c") && collide("a", "a"));
        assert!(!collide("a.b", "a-b") && !collide("a.b", "a.bc"));
        assert!(can_collide("a.b") && can_collide("a_b") && !can_collide("a-b"));
    }
}
