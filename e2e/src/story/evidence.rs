//! What is written down when a story fails: the state of the cluster at that moment.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::world::{NAMESPACE, World};
use crate::external::{External, last_lines};
use crate::folders::write;
use crate::operator_release;

/// Lines of the brokers' logs that are shown: where no file outlives the run, they are all there is.
const LINES_SHOWN: usize = 40;
/// Lines of a broker's log that they are chosen from.
const LINES_LOOKED_AT: &str = "--tail=3000";
/// Lines of each log that are written down.
const LINES_WRITTEN: &str = "--tail=300";

/// Writes objects, events and logs of the stories' and the operator's namespace and the files on the
/// volumes to a file, and hands back the lines to show at once.
pub(super) fn collect(world: &World, file: &Path) -> Result<String> {
    let mut text = String::new();
    let mut show = |args: &[&str]| {
        let said = kubectl(world, args);
        text.push_str(&format!("\n$ kubectl {}\n{said}\n", args.join(" ")));
        said
    };
    show(&["get", "nodes", "--output=wide"]);
    show(&["get", "persistentvolumes", "--output=wide"]);
    for namespace in [NAMESPACE, operator_release::NAMESPACE] {
        let namespace = format!("--namespace={namespace}");
        let kinds =
            "all,persistentvolumeclaims,configmaps,poddisruptionbudgets,clusters,topics,rebalances";
        show(&["get", kinds, &namespace, "--output=wide"]);
        show(&["get", "clusters,topics", &namespace, "--output=yaml"]);
        show(&["get", "events", &namespace, "--sort-by=.lastTimestamp"]);
        show(&["describe", "pods", &namespace]);
        let pods = show(&["get", "pods", &namespace, "--output=name"]);
        for pod in pods.lines().filter(|line| line.starts_with("pod/")) {
            let log = ["logs", pod, &namespace, "--all-containers", LINES_WRITTEN];
            show(&log);
            show(&[&log[..], &["--previous"]].concat());
        }
    }
    text.push_str(&volumes(world));
    write(file, text)?;
    Ok(worth_showing(world))
}

fn kubectl(world: &World, args: &[&str]) -> String {
    match world.kubectl().command(args).run_any() {
        Ok(output) => format!("{}\n{}", output.text(), output.error_text()),
        Err(error) => format!("{error:#}"),
    }
}

/// Every file on every volume, and how much that is: a volume that was emptied or exchanged shows here.
fn volumes(world: &World) -> String {
    let Ok(cluster) = world.cluster() else {
        // The volumes of a Kubernetes that is not ours are not on this machine.
        return String::new();
    };
    let folder = cluster.volumes();
    let print = "%s\t%TY-%Tm-%TdT%TT\t%P\n";
    let found = External::new("find")
        .arg(&folder)
        .args(["-type", "f", "-printf", print])
        .run_any();
    let files = match found {
        Ok(output) => output.text(),
        Err(error) => format!("{error:#}"),
    };
    let mut text = format!("\nvolumes below {}\n", folder.display());
    for (volume, (count, bytes)) in sizes(&files) {
        text.push_str(&format!("{volume}: {count} files, {bytes} bytes\n"));
    }
    text + "\nsize, changed at, file\n" + &files + "\n"
}

/// Number and bytes of the files of each volume. A line is `<bytes> <time> <volume>/<path>`, with tabs.
fn sizes(files: &str) -> BTreeMap<&str, (usize, u64)> {
    let mut sizes = BTreeMap::new();
    for line in files.lines() {
        let mut fields = line.splitn(3, '\t');
        let bytes: Option<u64> = fields.next().and_then(|bytes| bytes.parse().ok());
        let path = fields.nth(1);
        if let (Some(bytes), Some((volume, _))) =
            (bytes, path.and_then(|path| path.split_once('/')))
        {
            let size: &mut (usize, u64) = sizes.entry(volume).or_default();
            *size = (size.0 + 1, size.1 + bytes);
        }
    }
    sizes
}

/// What the brokers complained of last, and what they removed.
fn worth_showing(world: &World) -> String {
    let namespace = format!("--namespace={NAMESPACE}");
    let pods = world.pods("broker").unwrap_or_default();
    let of_each = LINES_SHOWN / pods.len().max(1);
    let mut text = String::new();
    for pod in &pods {
        let log = ["logs", pod, &namespace, LINES_LOOKED_AT];
        // The process before this one, if there was one, and then this one.
        let before = world
            .kubectl()
            .command(log)
            .arg("--previous")
            .run()
            .map_or_else(|_| String::new(), |output| output.text());
        let lines = chosen(&format!("{before}\n{}", kubectl(world, &log)));
        text.push_str(&format!("{pod}:\n{}\n", last_lines(&lines, of_each)));
    }
    text
}

fn chosen(log: &str) -> String {
    let words = ["WARN", "ERROR", "removed", "panicked"];
    let tells = |line: &&str| words.iter().any(|word| line.contains(word));
    log.lines().filter(tells).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_volumes_files_are_counted() {
        let files = "10\tmonday\ta/x.log\n5\tmonday\ta/b c/y.log\n7\ttuesday\tb/z\nfind: no\n";
        let found = sizes(files);
        assert_eq!(found, BTreeMap::from([("a", (2, 15)), ("b", (1, 7))]));
    }

    #[test]
    fn complaints_and_removals_are_chosen() {
        let log = "{\"level\":\"INFO\",\"message\":\"serves\"}\n{\"level\":\"WARN\"}\n\
                   {\"level\":\"INFO\",\"message\":\"removed orders-1\"}\n{\"level\":\"ERROR\"}";
        let found = chosen(log);
        assert_eq!(found.lines().count(), 3);
        assert!(!found.contains("serves"));
    }
}
