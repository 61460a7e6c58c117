//! Sentences for people, cut to what others take.

/// At most so many bytes, at least 3; what is cut shows.
#[must_use]
pub fn cut(mut sentence: String, bytes_max: usize) -> String {
    if sentence.len() <= bytes_max {
        return sentence;
    }
    let end = (0..=bytes_max.saturating_sub(3))
        .rev()
        .find(|&end| sentence.is_char_boundary(end));
    sentence.truncate(end.unwrap_or_default());
    sentence.push_str("...");
    sentence
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(cut("four".into(), 4), "four");
        assert_eq!(cut("fives".into(), 4), "f...");
        assert_eq!(cut("üüüü".into(), 6), "ü...");
        assert_eq!(cut(String::new(), 3), "");
    }
}
