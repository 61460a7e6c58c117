//! Kafka's classes wrote golden.txt (see golden/Golden.java); here the same messages are made in
//! Rust, and must have the same bytes.

mod clients;
mod group;
mod test_messages;
mod transaction;

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::Bytes;
use foz_records::{CoordinatorKey, DecodeError, EncodeError, Message};
use uuid::Uuid;

/// The id in all of them.
const ID: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

/// Fails when the bytes are no message; panics when they are another one.
type Decode = Box<dyn Fn(&[u8]) -> Result<(), DecodeError>>;

/// A line of golden.txt, as a message.
struct Case {
    label: String,
    version: i16,
    encoded: Result<Bytes, EncodeError>,
    decode: Decode,
}

/// The key of a record.
fn key<M: CoordinatorKey + Debug + PartialEq + 'static>(label: &str, message: M) -> Case {
    Case {
        label: label.to_owned(),
        version: 0,
        encoded: message.encode_key(),
        decode: Box::new(move |bytes| {
            let record_type = M::RECORD_TYPE.to_be_bytes();
            let key = bytes.strip_prefix(&record_type).unwrap_or_default();
            assert_eq!(M::decode(0, key)?, message);
            Ok(())
        }),
    }
}

/// A message behind its version.
fn prefixed<M: Message + Debug + PartialEq + 'static>(
    label: &str,
    version: i16,
    message: M,
) -> Case {
    Case {
        label: label.to_owned(),
        version,
        encoded: message.encode_prefixed(version),
        decode: Box::new(move |bytes| {
            assert_eq!(M::decode_prefixed(bytes)?, message);
            Ok(())
        }),
    }
}

/// A message alone.
fn body<M: Message + Debug + PartialEq + 'static>(label: &str, version: i16, message: M) -> Case {
    Case {
        label: label.to_owned(),
        version,
        encoded: message.encode(version),
        decode: Box::new(move |bytes| {
            assert_eq!(M::decode(version, bytes)?, message);
            Ok(())
        }),
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn messages_have_kafkas_bytes() {
    let mut cases = clients::cases();
    cases.extend(group::cases());
    cases.extend(transaction::cases());
    cases.extend(test_messages::cases());
    let mut left: BTreeSet<(String, i16)> = cases
        .iter()
        .map(|case| (case.label.clone(), case.version))
        .collect();
    assert_eq!(left.len(), cases.len(), "two cases have one name");
    for line in include_str!("golden/golden.txt").lines() {
        let [label, version, hex] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line:?} is not label, version, bytes")
        };
        let version: i16 = version.parse().unwrap();
        let name = (label.to_owned(), version);
        assert!(left.remove(&name), "{label} {version} has no case");
        let find = |case: &&Case| case.label == label && case.version == version;
        let case = cases.iter().find(find).unwrap();
        let golden = unhex(hex);
        assert_eq!(
            case.encoded.as_deref(),
            Ok(&golden[..]),
            "{label} {version} is written otherwise"
        );
        assert_eq!((case.decode)(&golden), Ok(()), "{label} {version}");
        for length in 0..golden.len() {
            assert!(
                (case.decode)(&golden[..length]).is_err(),
                "{label} {version} cut to {length} bytes of {}",
                golden.len()
            );
        }
    }
    assert_eq!(left, BTreeSet::new(), "Kafka did not write these");
}
