//! What is held against what.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::PATIENCE;

pub(crate) fn code(error: RDKafkaErrorCode) -> anyhow::Error {
    KafkaError::AdminOp(error).into()
}

/// The only answer of an admin call, which names what it is about.
pub(crate) fn one<N>(answers: Vec<Result<N, (N, RDKafkaErrorCode)>>) -> Result<()> {
    for answer in answers {
        answer.map_err(|(_, error)| code(error))?;
    }
    Ok(())
}

pub(crate) fn refused<T>(wanted: RDKafkaErrorCode, result: Result<T>) -> Result<()> {
    let Err(error) = result else {
        bail!("no {wanted:?}");
    };
    let found = match error.downcast_ref::<KafkaError>() {
        Some(KafkaError::AdminOp(code)) => Some(*code),
        Some(other) => other.rdkafka_error_code(),
        None => None,
    };
    if found != Some(wanted) {
        bail!("{error:#}; it should be {wanted:?}");
    }
    Ok(())
}

pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(
    found: T,
    wanted: T,
    what: impl Display,
) -> Result<()> {
    if found != wanted {
        bail!("{what}: {found:?}; it should be {wanted:?}");
    }
    Ok(())
}

/// Asks again and again until it is so.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("not yet after {} s: {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
