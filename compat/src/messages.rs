//! `messages.txt.zst`: requests and responses as Apache Kafka's own classes write them, of every API and version that
//! the broker advertises. The broker's codecs must read each, and write the same bytes again.
//!
//! `compat/java/Messages.java` makes it, and says how messages are filled.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use foz_e2e::external::External;
use foz_e2e::folders::write;
use foz_protocol::apis::{APIS, Api};
use foz_protocol::frame::{LENGTH_BYTES, Request, parse_response};

use crate::codec::{Codec, Head};
use crate::compressed::{compress, decompress};
use crate::kit::Kit;
use crate::setting::Setting;

const MESSAGES: &str = "messages.txt.zst";
const JAVA_LIMIT: Duration = Duration::from_secs(5 * 60);
/// As in `Messages.java`.
const FILLINGS: [&str; 12] = [
    "plain",
    "full",
    TAGGED,
    "nulls",
    "inner_nulls",
    "empty",
    "many",
    "extreme",
    "mixed_1",
    "mixed_2",
    "mixed_3",
    "mixed_4",
];
/// As `full`, and with tagged fields that nobody knows.
const TAGGED: &str = "tagged";
const FULL: &str = "full";

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Request,
    Response,
}

/// Names a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a> {
    key: i16,
    side: Side,
    version: i16,
    filling: &'a str,
}

/// Frames without their lengths.
type Frames<'a> = BTreeMap<Name<'a>, Bytes>;

/// Makes the file anew, and fails when the broker's codecs cannot do with it. `checks` compares instead of writing.
///
/// # Errors
/// Java fails, or the broker's codecs; or the file is not what Kafka's classes print.
pub(crate) fn make(setting: &Setting, checks: bool) -> Result<()> {
    let _held = setting.hold()?;
    let file = setting.folders.repository.join("compat").join(MESSAGES);
    let text = print(&Kit::prepare(&setting.folders, &setting.progress)?)?;
    if checks {
        let kept = std::fs::read(&file).with_context(|| file.display().to_string())?;
        ensure!(
            decompress(&kept)? == text,
            "{} is not what Apache Kafka's classes print: cargo run -p foz-compat -- messages",
            file.display()
        );
    } else {
        write(file, compress(&text)?)?;
    }
    let problems = problems(APIS, &text)?;
    ensure!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
    Ok(())
}

fn print(kit: &Kit) -> Result<String> {
    let apis = APIS.iter().map(|api| {
        let Api { min, max, .. } = api;
        format!("{}:{min}:{max}", api.key as i16)
    });
    let output = External::new("java")
        .args(["-Xmx512m", "-cp"])
        .arg(kit.class_path())
        .arg("dev.foz.compat.Messages")
        .args(apis)
        .limit(JAVA_LIMIT)
        .run()?;
    String::from_utf8(output.stdout).context("what Messages printed")
}

/// What is wrong with the broker's codecs for these, or missing in the text.
fn problems(apis: &[Api], text: &str) -> Result<Vec<String>> {
    let frames = read(text)?;
    let mut problems = Vec::new();
    for api in apis {
        for version in api.min..=api.max {
            for side in [Side::Request, Side::Response] {
                for filling in FILLINGS {
                    let key = api.key as i16;
                    let name = Name {
                        key,
                        side,
                        version,
                        filling,
                    };
                    if let Err(error) = check(api, name, &frames) {
                        let api = api.name;
                        problems.push(format!(
                            "{api} {side:?} version {version}, {filling}: {error:#}"
                        ));
                    }
                }
            }
        }
    }
    Ok(problems)
}

fn read(text: &str) -> Result<Frames<'_>> {
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split('\t').collect();
            let [key, side, version, filling, frame] = words[..] else {
                bail!("not a key, a side, a version, a filling and a frame: {line:?}");
            };
            let side = match side {
                "request" => Side::Request,
                "response" => Side::Response,
                _ => bail!("{side:?} is neither request nor response"),
            };
            let name = Name {
                key: key.parse().with_context(|| format!("the key {key:?}"))?,
                side,
                version: version
                    .parse()
                    .with_context(|| format!("the version {version:?}"))?,
                filling,
            };
            Ok((name, from_hex(frame)?))
        })
        .collect()
}

fn from_hex(text: &str) -> Result<Bytes> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.with_context(|| format!("not hex: {text:?}"))?;
    ensure!(digits.len() % 2 == 0, "half a byte: {text:?}");
    let bytes = digits
        .chunks_exact(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8);
    Ok(bytes.collect())
}

fn check(api: &Api, name: Name<'_>, frames: &Frames<'_>) -> Result<()> {
    let find = |name: Name<'_>| {
        let found = frames.get(&name).cloned();
        found.context("missing; cargo run -p foz-compat -- messages")
    };
    let codec = Codec::of(api.key)?;
    let (head, body) = split(api, name, &find(name)?)?;
    let read = match name.side {
        Side::Request => codec.request,
        Side::Response => codec.response,
    };
    let again = read(&head, &body)?;
    let is_without_tags = name.filling == TAGGED && !codec.keeps_unknown_tags;
    let filling = if is_without_tags { FULL } else { name.filling };
    let kafka = find(Name { filling, ..name })?;
    let (_, kafka_body) = split(api, name, &kafka)?;
    match name.side {
        Side::Request => same(&again, &kafka_body),
        // The header's unknown tags are never written again.
        Side::Response if name.filling == TAGGED => {
            let (_, body) = split(api, name, &again.slice(LENGTH_BYTES..))?;
            same(&body, &kafka_body)
        }
        Side::Response => {
            let length = u32::try_from(kafka.len())?.to_be_bytes();
            same(&again[..LENGTH_BYTES], &length).context("the length")?;
            same(&again[LENGTH_BYTES..], &kafka)
        }
    }
}

/// As the broker reads the header of a request, and a client that of a response.
fn split(api: &Api, name: Name<'_>, frame: &Bytes) -> Result<(Head, Bytes)> {
    let (correlation_id, body) = match name.side {
        Side::Response => parse_response(api.key, name.version, frame)?,
        Side::Request => {
            let Request::Known { header, body } = Request::parse(frame)? else {
                bail!("the broker does not know this version");
            };
            ensure!(
                (header.api.key, header.version) == (api.key, name.version),
                "the header is that of {} version {}",
                header.api.name,
                header.version
            );
            (header.correlation_id, body)
        }
    };
    let head = Head {
        key: api.key,
        version: name.version,
        correlation_id,
    };
    Ok((head, body))
}

/// Names the first byte that differs.
fn same(ours: &[u8], kafka: &[u8]) -> Result<()> {
    if ours == kafka {
        return Ok(());
    }
    let differs = ours
        .iter()
        .zip(kafka)
        .position(|(ours, kafka)| ours != kafka);
    let at = differs.unwrap_or(ours.len().min(kafka.len()));
    let from = at.saturating_sub(8);
    let part = |bytes: &[u8]| hex(&bytes[from..bytes.len().min(at + 16)]);
    bail!(
        "byte {at} differs; from byte {from} on, Foz {} ({} bytes), Kafka {} ({} bytes)",
        part(ours),
        ours.len(),
        part(kafka),
        kafka.len()
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafkas() -> String {
        decompress(include_bytes!("../messages.txt.zst")).unwrap()
    }

    #[test]
    fn every_message_of_kafkas_is_read_and_written_again_byte_for_byte() {
        let problems = problems(APIS, &kafkas()).unwrap();
        assert!(
            problems.is_empty(),
            "{} problems:\n{}",
            problems.len(),
            problems.join("\n")
        );
    }

    /// Its problems when the line of this name is another one.
    fn problems_with(name: &str, change: impl Fn(&str) -> String) -> Vec<String> {
        let kafkas = kafkas();
        let (key, _) = name.split_once('\t').unwrap();
        let api = Api::of(key.parse().unwrap()).unwrap();
        let lines = kafkas.lines().map(|line| {
            if line.starts_with(name) {
                change(line)
            } else {
                line.to_owned()
            }
        });
        let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
        problems(&[*api], &lines.join("\n")).unwrap()
    }

    #[test]
    fn what_is_missing_or_other_is_named() {
        let missing = problems_with("3\tresponse\t12\tempty\t", |_| String::new());
        assert_eq!(
            missing,
            ["Metadata Response version 12, empty: missing; cargo run -p foz-compat -- messages"]
        );
        // What Kafka writes behind the last field is read by no codec, and so not written again.
        for name in [
            "0\trequest\t13\tfull\t",
            "1\tresponse\t18\textreme\t",
            "35\tresponse\t5\tplain\t",
        ] {
            let more = problems_with(name, |line| format!("{line}00"));
            assert!(!more.is_empty() && more[0].contains("byte"), "{more:?}");
        }
        let cut = problems_with("68\trequest\t1\tmany\t", |line| {
            line[..line.len() - 2].to_owned()
        });
        assert_eq!(cut.len(), 1, "{cut:?}");
        let other_api = problems_with("12\trequest\t4\tnulls\t", |line| {
            line.replacen("000c", "000d", 1)
        });
        assert!(
            other_api[0].contains("the header is that of LeaveGroup"),
            "{other_api:?}"
        );
    }

    #[test]
    fn a_wrong_line_is_an_error() {
        for wrong in [
            "3\trequest\t12",
            "3\tanswer\t12\tfull\t00",
            "x\trequest\t1\tfull\t00",
            "3\trequest\t1\tfull\t0g",
        ] {
            assert!(problems(APIS, wrong).is_err(), "{wrong:?}");
        }
    }
}
