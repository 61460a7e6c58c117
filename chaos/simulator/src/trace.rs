//! What happened, as a number to compare runs by, and as lines for people.

use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Trace {
    digest: u64,
    now_ms: i64,
    lines: Option<Lines>,
}

#[derive(Debug)]
struct Lines {
    kept: VecDeque<String>,
    most: usize,
}

impl Trace {
    /// Only the number.
    pub(crate) fn silent() -> Self {
        Self {
            digest: 0,
            now_ms: 0,
            lines: None,
        }
    }

    /// The newest lines, too.
    pub(crate) fn keeping(most: usize) -> Self {
        Self {
            lines: Some(Lines {
                kept: VecDeque::new(),
                most,
            }),
            ..Self::silent()
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    pub(crate) fn now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    pub(crate) fn mix(&mut self, number: u64) {
        let mixed = (self.digest ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest = mixed ^ (mixed >> 31);
    }

    pub(crate) fn event(&mut self, to: i32, life: u32, what: &str) {
        self.mix(self.now_ms as u64);
        self.mix(to as u64);
        self.line(|| format!("{to}/{life} {what}"));
    }

    pub(crate) fn note(&mut self, of: i32, note: &str) {
        self.line(|| format!("{of}   {note}"));
    }

    pub(crate) fn line(&mut self, line: impl FnOnce() -> String) {
        let now_ms = self.now_ms;
        if let Some(lines) = &mut self.lines {
            if lines.kept.len() >= lines.most {
                lines.kept.pop_front();
            }
            lines.kept.push_back(format!("{now_ms:>6} {}", line()));
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        let lines = self.lines.map(|lines| lines.kept);
        lines.into_iter().flatten().collect()
    }
}
