//! The APIs: which versions are answered, and which tests ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use foz_protocol::apis::{APIS, Api};

use super::{read, table};

const TESTS: &str = "broker/server/tests/process/versions";

const HEAD: &str = "\
## APIs

All that the broker advertises. `every_api_answers_every_version_it_advertises` fails when a version is not asked for,
when what comes back is no answer of that version, and when another file asked than is said here.
";

/// Kafka's other APIs by why they are not answered: key and name.
const NOT_ANSWERED: &[(&str, &[(i16, &str)])] = &[
    (
        "later: SASL",
        &[(17, "SaslHandshake"), (36, "SaslAuthenticate")],
    ),
    (
        "later: client metrics (KIP-714)",
        &[(71, "GetTelemetrySubscriptions"), (72, "PushTelemetry")],
    ),
    (
        "later: share groups (KIP-932)",
        &[
            (76, "ShareGroupHeartbeat"),
            (77, "ShareGroupDescribe"),
            (78, "ShareFetch"),
            (79, "ShareAcknowledge"),
            (83, "InitializeShareGroupState"),
            (84, "ReadShareGroupState"),
            (85, "WriteShareGroupState"),
            (86, "DeleteShareGroupState"),
            (87, "ReadShareGroupStateSummary"),
            (90, "DescribeShareGroupOffsets"),
            (91, "AlterShareGroupOffsets"),
            (92, "DeleteShareGroupOffsets"),
        ],
    ),
    (
        "later: streams groups (KIP-1071)",
        &[(88, "StreamsGroupHeartbeat"), (89, "StreamsGroupDescribe")],
    ),
    (
        "Kafka's nodes among each other; those of Foz speak gRPC",
        &[
            (52, "Vote"),
            (53, "BeginQuorumEpoch"),
            (54, "EndQuorumEpoch"),
            (56, "AlterPartition"),
            (58, "Envelope"),
            (59, "FetchSnapshot"),
            (62, "BrokerRegistration"),
            (63, "BrokerHeartbeat"),
            (67, "AllocateProducerIds"),
            (70, "ControllerRegistration"),
            (73, "AssignReplicasToDirs"),
            (82, "UpdateRaftVoter"),
        ],
    ),
];

pub(super) fn render(repository: &Path) -> Result<String> {
    let text = read(repository, &format!("{TESTS}/answered.tsv"))?;
    let asked = read_asked(&text).context("answered.tsv")?;
    let mut rows = Vec::new();
    for api in APIS {
        rows.push(row(api, asked.get(api.name))?);
    }
    let files: BTreeSet<&str> = asked.values().flatten().map(|(file, _)| *file).collect();
    let links = files
        .iter()
        .map(|file| format!("[{file}]: ../{TESTS}/{file}.rs\n"));
    let links: String = links.collect();
    let answered = table(["key", "API", "versions", "asked for by"], rows);
    let others = NOT_ANSWERED.iter().map(|(why, apis)| {
        let apis = apis.iter().map(|(key, name)| format!("{name} ({key})"));
        let apis: Vec<String> = apis.collect();
        [apis.join(", "), (*why).to_owned()]
    });
    let others = table(["not answered", "why"], others);
    Ok(format!("{HEAD}\n{answered}\n{links}\n{others}"))
}

/// Files and their versions, as written, by the name of an API.
type Asked<'a> = BTreeMap<&'a str, Vec<(&'a str, &'a str)>>;

fn read_asked(text: &str) -> Result<Asked<'_>> {
    let mut asked = Asked::new();
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split('\t').collect();
        let [api, file, versions] = words[..] else {
            bail!("not an API, a file and versions: {line:?}");
        };
        asked.entry(api).or_default().push((file, versions));
    }
    Ok(asked)
}

fn row(api: &Api, asked: Option<&Vec<(&str, &str)>>) -> Result<[String; 4]> {
    let name = api.name;
    let all = range(api.min, api.max);
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for (file, versions) in asked.into_iter().flatten() {
        seen.extend(read_ranges(versions).with_context(|| format!("{name} {versions:?}"))?);
        let link = format!("[{file}]");
        files.push(if *versions == all {
            link
        } else {
            format!("{link} {versions}")
        });
    }
    if !(api.min..=api.max).eq(seen) {
        bail!("answered.tsv has not all versions of {name}, {all}: run the tests of foz-server");
    }
    let versions = if api.advertised_min == api.min {
        all
    } else {
        format!("{all}, advertised from {} on", api.advertised_min)
    };
    let key = (api.key as i16).to_string();
    Ok([key, name.to_owned(), versions, files.join(", ")])
}

fn range(min: i16, max: i16) -> String {
    if min == max {
        min.to_string()
    } else {
        format!("{min}-{max}")
    }
}

/// The versions of `0-2,4`.
fn read_ranges(text: &str) -> Result<Vec<i16>> {
    let mut versions = Vec::new();
    for part in text.split(',') {
        let (min, max) = part.split_once('-').unwrap_or((part, part));
        versions.extend(min.parse::<i16>()?..=max.parse()?);
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;

    use super::*;

    #[test]
    fn each_api_of_kafka_is_answered_or_has_a_reason() {
        for key in 0..i16::from(i8::MAX) {
            let others = NOT_ANSWERED.iter().flat_map(|(_, apis)| *apis);
            let others = others.filter(|(other, _)| *other == key);
            let places = others.count() + usize::from(Api::of(key).is_some());
            let is_known = ApiKey::try_from(key).is_ok();
            assert!(
                places == 1 || (places == 0 && !is_known),
                "{key}: {places} places"
            );
        }
    }

    #[test]
    fn versions_that_no_file_asked_for_are_an_error() {
        let api = APIS.iter().find(|api| api.name == "ListOffsets").unwrap();
        let row = |text: &str| row(api, read_asked(text).unwrap().get("ListOffsets"));
        let whole =
            row("api\tfile\tversions\nListOffsets\toffsets\t1-11\nListOffsets\tepochs\t2,7\n")
                .unwrap();
        assert_eq!(whole[1..3], ["ListOffsets", "1-11"]);
        assert_eq!(whole[3], "[offsets], [epochs] 2,7");
        for wrong in [
            "",
            "ListOffsets\toffsets\t1-10",
            "ListOffsets\toffsets\t1-5,7-11",
            "Fetch\tfetching\t1-11",
        ] {
            let error = row(&format!("head\n{wrong}")).unwrap_err().to_string();
            assert!(error.contains("ListOffsets, 1-11"), "{error}");
        }
        assert!(read_asked("head\nFetch 1").is_err());
    }
}
