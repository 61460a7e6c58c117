//! Which file asked for which API in which version and got an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::panic::Location;
use std::sync::Mutex;

use foz_protocol::apis::{APIS, Api};

/// What `docs/compatibility.md` says of tests comes from here.
pub(crate) const TABLE: &str = include_str!("answered.tsv");
const HEADER: &str = "api\tfile\tversions\n";
/// Requests that others need on their way test nothing of their own.
const HELPERS: &str = "connection";

/// Keys and versions that came back decodable, and who asked.
#[derive(Debug, Default)]
pub(crate) struct Answered(Mutex<BTreeMap<(i16, i16), BTreeSet<&'static str>>>);

impl Answered {
    #[track_caller]
    pub(crate) fn add(&self, key: i16, version: i16) {
        let file = name(Location::caller().file());
        let mut answered = self.0.lock().unwrap();
        let files = answered.entry((key, version)).or_default();
        if file != HELPERS {
            files.insert(file);
        }
    }

    /// What the table of APIs promises and no test has asked for.
    pub(crate) fn missing(&self) -> Vec<String> {
        APIS.iter()
            .flat_map(|api| (api.min..=api.max).map(move |version| (api, version)))
            .filter(|(api, version)| self.files(api, *version).is_empty())
            .map(|(api, version)| format!("{} {version}", api.name))
            .collect()
    }

    /// As `answered.tsv`: a line for each API and file.
    pub(crate) fn table(&self) -> String {
        let mut table = HEADER.to_owned();
        for api in APIS {
            let mut asked: BTreeMap<&str, Vec<i16>> = BTreeMap::new();
            for version in api.min..=api.max {
                for file in self.files(api, version) {
                    asked.entry(file).or_default().push(version);
                }
            }
            for (file, versions) in asked {
                writeln!(table, "{}\t{file}\t{}", api.name, ranges(&versions)).unwrap();
            }
        }
        table
    }

    fn files(&self, api: &Api, version: i16) -> BTreeSet<&'static str> {
        let answered = self.0.lock().unwrap();
        let files = answered.get(&(api.key as i16, version));
        files.cloned().unwrap_or_default()
    }
}

/// `groups/static_members` of its path.
fn name(path: &'static str) -> &'static str {
    let (_, name) = path.rsplit_once("versions/").unwrap_or_default();
    name.trim_end_matches(".rs")
}

/// `0-2,4` of 0, 1, 2 and 4.
fn ranges(versions: &[i16]) -> String {
    let runs = versions.chunk_by(|one, next| one + 1 == *next);
    let runs: Vec<String> = runs
        .map(|run| match run {
            [one] => one.to_string(),
            _ => format!("{}-{}", run[0], run[run.len() - 1]),
        })
        .collect();
    runs.join(",")
}
