//! Ranges of versions.

use anyhow::{Context, Result, ensure};

/// From one version to another, both included; [`Versions::NONE`] has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) from: i16,
    pub(crate) to: i16,
}

/// Whether a version is in a range, known now or by an expression in Rust.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    Never,
    If(String),
}

impl Versions {
    pub(crate) const NONE: Self = Self { from: 0, to: -1 };

    /// Reads `none`, `3`, `3+` or `3-5`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let number = |number: &str| -> Result<i16> {
            let is_wrong = || format!("{text:?} is no range of versions");
            // A sign would be parsed too.
            ensure!(number.bytes().all(|byte| byte.is_ascii_digit()), is_wrong());
            number.parse().with_context(is_wrong)
        };
        if text == "none" {
            return Ok(Self::NONE);
        }
        if let Some(from) = text.strip_suffix('+') {
            return Ok(Self {
                from: number(from)?,
                to: i16::MAX,
            });
        }
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let (from, to) = (number(from)?, number(to)?);
        ensure!(from <= to, "{text:?} is no range of versions");
        Ok(Self { from, to })
    }

    pub(crate) fn is_empty(self) -> bool {
        self.from > self.to
    }

    pub(crate) fn intersect(self, other: Self) -> Self {
        let both = Self {
            from: self.from.max(other.from),
            to: self.to.min(other.to),
        };
        if both.is_empty() { Self::NONE } else { both }
    }

    /// Those before the first of `later`, which ends where these end.
    pub(crate) fn before(self, later: Self) -> Self {
        if later.is_empty() {
            return self;
        }
        self.intersect(Self {
            from: 0,
            to: later.from - 1,
        })
    }

    /// When the version of `coder` is one of these, where it is one of `known`.
    pub(crate) fn condition(self, known: Self, coder: &str) -> Condition {
        let here = self.intersect(known);
        // Asked for where it is needed: a local of it could be hidden by a field of the same name.
        let version = format!("{coder}.version()");
        match (here.from > known.from, here.to < known.to) {
            _ if here.is_empty() => Condition::Never,
            (false, false) => Condition::Always,
            (true, false) => Condition::If(format!("{version} >= {}", here.from)),
            (false, true) => Condition::If(format!("{version} <= {}", here.to)),
            (true, true) => Condition::If(format!(
                "({}..={}).contains(&{version})",
                here.from, here.to
            )),
        }
    }
}

impl Condition {
    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::If(condition) => Self::If(format!("!({condition})")),
        }
    }
}
