//! Where the data are: `log.dirs` and `metadata.log.dir`.

use std::path::{Path, PathBuf};

use super::{ConfigError, Roles, Unused, value_error};

/// Of each role.
pub(super) struct Directories {
    /// Hold the partitions, at least one.
    pub(super) broker: Vec<PathBuf>,
    /// Holds the quorum's log.
    pub(super) controller: Option<PathBuf>,
}

/// Both roles of one process keep apart on disk, so that either can move out later.
pub(super) fn directories(keys: &mut Unused, roles: Roles) -> Result<Directories, ConfigError> {
    let text = keys.require("log.dirs", "the directories that hold the data")?;
    let log_dirs = parse(&text)?;
    let metadata_dir = keys.0.remove("metadata.log.dir");
    let metadata_dir = metadata_dir.filter(|text| !text.is_empty());
    let controller = match (roles.controller, metadata_dir, &log_dirs[..]) {
        (false, ..) => None,
        (true, Some(metadata_dir), _) => Some(PathBuf::from(metadata_dir)),
        (true, None, [only]) => Some(only.clone()),
        // Kafka takes the first of them. With another one in its place a controller would have forgotten its votes.
        (true, None, _) => {
            return Err(ConfigError::Missing {
                key: "metadata.log.dir",
                needed: "the one directory of the controller, where log.dirs names several",
            });
        }
    };
    let below = |path: PathBuf, name: &str| match roles.broker && roles.controller {
        true => path.join(name),
        false => path,
    };
    let broker = log_dirs.into_iter().map(|path| below(path, "broker"));
    Ok(Directories {
        broker: broker.collect(),
        controller: controller.map(|path| below(path, "controller")),
    })
}

fn parse(text: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let wrong = |needed: &str| value_error("log.dirs", text, needed);
    let mut found: Vec<PathBuf> = Vec::new();
    for part in text.split(',').map(str::trim) {
        if part.is_empty() {
            return Err(wrong("a directory before and after each comma"));
        }
        let path = Path::new(part);
        for other in &found {
            if path == other {
                return Err(wrong(&format!("{part} once")));
            }
            if path.starts_with(other) || other.starts_with(path) {
                let other = other.display();
                let needed = format!("{part} and {other} as neighbours, none within the other");
                return Err(wrong(&needed));
            }
        }
        found.push(path.to_owned());
    }
    Ok(found)
}
