//! Rust as text.

use std::fmt::Write as _;

/// Lines of code, indented so that one can read what was made.
#[derive(Default)]
pub(crate) struct Code {
    pub(crate) text: String,
    depth: usize,
}

impl Code {
    pub(crate) fn line(&mut self, line: &str) {
        let indent = self.depth * 4;
        writeln!(self.text, "{:indent$}{line}", "").expect("a string takes all");
    }

    pub(crate) fn open(&mut self, line: &str) {
        self.line(line);
        self.depth += 1;
    }

    pub(crate) fn close(&mut self, line: &str) {
        self.depth -= 1;
        self.line(line);
    }
}
