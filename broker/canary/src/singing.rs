//! What is in a build with the feature.

use std::sync::OnceLock;

use crate::{Canary, UnknownCanary};

static CHOSEN: OnceLock<Canary> = OnceLock::new();

/// Makes the canary of this name sing from now on; to be called once, before anything else runs.
///
/// # Errors
/// A name that no canary has.
pub fn choose(name: &str) -> Result<Canary, UnknownCanary> {
    let canary = name.parse()?;
    Ok(*CHOSEN.get_or_init(|| canary))
}

/// Whether this bug is on.
#[must_use]
pub fn sings(canary: Canary) -> bool {
    CHOSEN.get() == Some(&canary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_sings_until_one_is_chosen_and_then_that_one_alone() {
        assert!(!Canary::ALL.iter().copied().any(sings));
        assert!(choose("no-such-bird").is_err());
        assert!(!Canary::ALL.iter().copied().any(sings));
        let chosen = Canary::ALL[1];
        assert_eq!(choose(chosen.name()), Ok(chosen));
        for canary in Canary::ALL.iter().copied() {
            assert_eq!(sings(canary), canary == chosen, "{}", canary.name());
        }
    }
}
