//! Ranges of versions.

use anyhow::{Context, Result, ensure};

/// From one version to another, both included; [`Versions::NONE`] has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) from: i16,
    pub(crate) to: i16,
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

    /// A condition in Rust on a `version` of which only `known` values occur: true for those here.
    pub(crate) fn condition(self, known: Self) -> String {
        let here = self.intersect(known);
        match (here.from > known.from, here.to < known.to) {
            _ if here.is_empty() => "false".to_owned(),
            (false, false) => "true".to_owned(),
            (true, false) => format!("version >= {}", here.from),
            (false, true) => format!("version <= {}", here.to),
            (true, true) => format!("({}..={}).contains(&version)", here.from, here.to),
        }
    }
    /// The opposite of [`Self::condition`]; `None` when every known version is here.
    pub(crate) fn lacking(self, known: Self) -> Option<String> {
        let here = self.intersect(known);
        match (here.from > known.from, here.to < known.to) {
            _ if here.is_empty() => Some("true".to_owned()),
            (false, false) => None,
            (true, false) => Some(format!("version < {}", here.from)),
            (false, true) => Some(format!("version > {}", here.to)),
            (true, true) => Some(format!("!({}..={}).contains(&version)", here.from, here.to)),
        }
    }
}
