//! What goes on going wrong is said when it begins and when it changes, not each time.

use parking_lot::Mutex;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct SaidOnce(Mutex<String>);

impl SaidOnce {
    /// Whether this is to be said now.
    pub(super) fn is_new(&self, text: String) -> bool {
        let mut said = self.0.lock();
        let is_new = *said != text;
        *said = text;
        is_new
    }

    /// It is over: should it come again, it is said again.
    pub(super) fn is_over(&self) {
        let mut said = self.0.lock();
        if !said.is_empty() {
            said.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_each_time_it_begins() {
        let said = SaidOnce::default();
        let mut heard = 0;
        for text in ["disk full", "disk full", "disk full"] {
            heard += usize::from(said.is_new(text.to_owned()));
        }
        assert_eq!(heard, 1);
        assert!(said.is_new("another".to_owned()));
        assert!(said.is_new("disk full".to_owned()));
        said.is_over();
        assert!(said.is_new("disk full".to_owned()));
    }
}
