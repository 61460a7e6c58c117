//! What a user was promised in figures: how little memory and disk Foz takes.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::world::{NAMESPACE, World};
use crate::objects::{items, name};
use crate::operator_release;

/// Of an idle controller, and of an idle broker.
const BROKER_MEMORY_MAX: u64 = 20_000_000;
/// Of each idle replica of the operator.
const OPERATOR_MEMORY_MAX: u64 = 40_000_000;
const IMAGE_MAX: u64 = 40_000_000;

pub(super) fn hold(world: &World) -> Result<()> {
    let figures = [
        memory(world, NAMESPACE, "foz-broker", BROKER_MEMORY_MAX)?,
        memory(
            world,
            operator_release::NAMESPACE,
            "foz-operator",
            OPERATOR_MEMORY_MAX,
        )?,
        images(world)?,
    ]
    .concat();
    for figure in &figures {
        world.progress.line(&format!("        {figure}"));
    }
    none_over(&figures)
}

/// A size in bytes, and what it may be.
#[derive(Debug, Clone)]
struct Figure {
    of: String,
    bytes: u64,
    max: u64,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let (is, max) = (megabytes(self.bytes), megabytes(self.max));
        write!(f, "{}: {is:.1} MB of at most {max:.0} MB", self.of)
    }
}

fn none_over(figures: &[Figure]) -> Result<()> {
    let over: Vec<String> = figures
        .iter()
        .filter(|figure| figure.bytes > figure.max)
        .map(Figure::to_string)
        .collect();
    ensure!(over.is_empty(), "too large: {}", over.join(", "));
    Ok(())
}

/// The resident memory of the one process of each pod of a namespace.
fn memory(world: &World, namespace: &str, program: &str, max: u64) -> Result<Vec<Figure>> {
    let list = world
        .kubectl()
        .get_json(["pods", "--namespace", namespace])?;
    let figures = items(&list)
        .map(|pod| {
            let bytes = resident_bytes(world, pod, program)
                .with_context(|| format!("the memory of the pod {}", name(pod)))?;
            Ok(Figure {
                of: format!("resident memory of {}", name(pod)),
                bytes,
                max,
            })
        })
        .collect::<Result<Vec<Figure>>>()?;
    ensure!(!figures.is_empty(), "no pod in the namespace {namespace}");
    Ok(figures)
}

pub(super) fn resident_bytes(world: &World, pod: &Value, program: &str) -> Result<u64> {
    let uid = pod["metadata"]["uid"].as_str().context("no UID")?;
    match world.cluster()?.processes_of_pod(uid, program)[..] {
        [pid] => {
            let file = format!("/proc/{}/status", pid.as_raw_nonzero());
            let status = std::fs::read_to_string(&file).with_context(|| file.clone())?;
            vm_rss_bytes(&status).with_context(|| format!("no VmRSS in {file}"))
        }
        ref others => bail!("{} processes {program}", others.len()),
    }
}

/// From the text of `/proc/<pid>/status`, see proc(5): its `kB` are 1024 bytes.
fn vm_rss_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// An archive's layers are not compressed, so it is as large as the files of the image, and a little
/// more.
fn images(world: &World) -> Result<Vec<Figure>> {
    [&world.images.broker, &world.images.operator]
        .into_iter()
        .map(|image| {
            let archive = image.archive.metadata();
            let archive = archive.with_context(|| image.archive.display().to_string())?;
            Ok(Figure {
                of: format!("the image {}", image.repository),
                bytes: archive.len(),
                max: IMAGE_MAX,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tfoz-broker\nVmHWM:\t   20000 kB\nVmRSS:\t   10000 kB\n";
        assert_eq!(vm_rss_bytes(status), Some(10_240_000));
        assert_eq!(vm_rss_bytes("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn what_is_over_is_named_with_its_figure() {
        let figure = |of: &str, bytes| Figure {
            of: of.to_owned(),
            bytes,
            max: 20_000_000,
        };
        none_over(&[figure("a", 20_000_000)]).unwrap();
        let error = none_over(&[figure("a", 1), figure("b", 20_100_000)]).unwrap_err();
        assert_eq!(error.to_string(), "too large: b: 20.1 MB of at most 20 MB");
    }
}
