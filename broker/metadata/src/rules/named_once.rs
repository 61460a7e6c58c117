//! A request that names a thing twice does not say what it wants of it: neither is carried out.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use super::{ErrorCode, Refusal};

/// How often each thing is named in a request.
#[derive(Debug)]
pub(super) struct NamedOnce<T> {
    times: HashMap<T, usize>,
}

impl<T: Eq + Hash> NamedOnce<T> {
    pub(super) fn of(named: impl IntoIterator<Item = T>) -> Self {
        let mut times = HashMap::new();
        for thing in named {
            *times.entry(thing).or_default() += 1;
        }
        Self { times }
    }

    /// Refuses `thing` when it is named more than once; `shown` is how people know it.
    pub(super) fn check(&self, thing: &T, shown: impl Display) -> Result<(), Refusal> {
        if self.times.get(thing).is_some_and(|times| *times > 1) {
            let message = format!("{shown} is in the request more than once");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        Ok(())
    }
}
