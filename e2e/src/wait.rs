//! Bounded waiting.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(100);

/// What one look found.
#[derive(Debug)]
pub enum Look<T> {
    /// It is there.
    Found(T),
    /// Not yet; the text says what was seen instead, for the error when time runs out.
    NotYet(String),
}

/// Looks again and again until `look` finds what it is after or `limit` is over.
///
/// # Errors
/// An error of `look` ends the wait at once: it means that waiting longer is of no use. When time
/// runs out the error names `what`, the limit and what the last look saw.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Look<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let seen = match look()? {
            Look::Found(value) => return Ok(value),
            Look::NotYet(seen) => seen,
        };
        if Instant::now() >= deadline {
            bail!(
                "waited {} s for {what}; last seen: {seen}",
                limit.as_secs_f64()
            );
        }
        std::thread::sleep(POLL);
    }
}

/// [`wait_for`] on a condition without a value.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Result<(), String>>,
) -> Result<()> {
    wait_for(what, limit, || {
        Ok(match look()? {
            Ok(()) => Look::Found(()),
            Err(seen) => Look::NotYet(seen),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_until_found() {
        let mut looks = 0;
        let found = wait_for("the third look", Duration::from_secs(5), || {
            looks += 1;
            Ok(if looks == 3 {
                Look::Found(looks)
            } else {
                Look::NotYet(format!("look {looks}"))
            })
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn the_error_says_what_was_awaited_and_what_was_seen() {
        let error = wait_until("a unicorn", Duration::ZERO, || Ok(Err("a horse".into())));
        assert_eq!(
            error.unwrap_err().to_string(),
            "waited 0 s for a unicorn; last seen: a horse"
        );
    }

    #[test]
    fn a_hopeless_look_ends_the_wait() {
        let error = wait_until("x", Duration::from_secs(60), || anyhow::bail!("it is dead"));
        assert_eq!(error.unwrap_err().to_string(), "it is dead");
    }
}
