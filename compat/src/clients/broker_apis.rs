//! What the brokers have of what clients need, from what they advertise.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clients::exchange::exchange;

/// What a case may need, and the API without which there is none of it.
const FEATURES: [(&str, i16); 2] = [
    ("transactions", TXN_OFFSET_COMMIT),
    ("consumer groups", CONSUMER_GROUP_HEARTBEAT),
];
const TXN_OFFSET_COMMIT: i16 = 28;
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
const LIMIT: Duration = Duration::from_secs(10);

/// The features that the broker advertises.
///
/// # Errors
/// The first of these brokers does not answer, or not with the list of its APIs.
pub(crate) fn features(bootstrap: &str) -> Result<Vec<String>> {
    let first = bootstrap.split(',').next().unwrap_or_default();
    let answer = request(first, API_VERSIONS, &[]);
    let keys = answer.and_then(|answer| keys(&answer));
    let keys = keys.with_context(|| format!("asking {first} for its APIs"))?;
    let has = FEATURES.iter().filter(|(_, key)| keys.contains(key));
    Ok(has.map(|(name, _)| (*name).to_owned()).collect())
}

/// How many brokers this one knows that are alive.
///
/// # Errors
/// It does not answer, or not with a list of brokers.
pub(crate) fn count_brokers(address: &str) -> Result<usize> {
    // Version 0: no topic is named, so it tells of all, of which there are few yet. Brokers come first.
    let answer = request(address, METADATA, &0_i32.to_be_bytes())?;
    let Some(count) = answer.first_chunk::<8>() else {
        bail!("no list of brokers, but {answer:?}");
    };
    let [_, _, _, _, count @ ..] = *count;
    Ok(usize::try_from(i32::from_be_bytes(count))?)
}

/// Of version 0, of which neither header nor body has tags.
fn request(address: &str, key: i16, body: &[u8]) -> Result<Vec<u8>> {
    const CORRELATION_ID: i32 = 1;
    const NO_CLIENT_ID: i16 = -1;
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(0_i16.to_be_bytes());
    request.extend(CORRELATION_ID.to_be_bytes());
    request.extend(NO_CLIENT_ID.to_be_bytes());
    request.extend(body);
    let length = i32::try_from(request.len())?;
    let frame = [&length.to_be_bytes()[..], &request].concat();
    exchange(address, &frame, LIMIT)
}

/// Correlation id, error code, length of the list; then key, least and greatest version each.
fn keys(answer: &[u8]) -> Result<Vec<i16>> {
    const HEAD: usize = 10;
    const ROW: usize = 6;
    if answer.len() < HEAD || answer[4..6] != [0, 0] {
        bail!("no list of APIs, but {answer:?}");
    }
    let rows = answer[HEAD..].chunks_exact(ROW);
    Ok(rows
        .map(|row| i16::from_be_bytes([row[0], row[1]]))
        .collect())
}

#[cfg(test)]
mod tests {
    use foz_protocol::apis::Api;

    use super::*;

    /// What is not advertised is skipped without a row, and the page would say that it passes.
    #[test]
    fn foz_has_every_feature() {
        for (name, key) in FEATURES {
            assert!(Api::of(key).is_some(), "{name}");
        }
    }

    #[test]
    fn keys_are_read_from_an_answer() {
        let answer = [
            0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 13, 0, 68, 0, 0, 0, 1,
        ];
        assert_eq!(keys(&answer).unwrap(), [0, 68]);
        assert!(keys(&[0, 0, 0, 1, 0, 35, 0, 0, 0, 0]).is_err());
        assert!(keys(&[0; 5]).is_err());
    }
}
