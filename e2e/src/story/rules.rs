//! Every rule of the kinds on an API server, with the YAML that proves it offline: `operator/crd/rules/`. The
//! API server alone says whether it takes the rules at all, and whether it understands them as we do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::world::World;
use crate::external::{External, Output};

/// The objects here must not meet those of other stories.
const NAMESPACE: &str = "rules";
/// The first line of `rejected.yaml` says with which sentence.
const REFUSED: &str = "# refused: ";
/// A test that goes through nothing finds nothing wrong.
const RULES_LEAST: usize = 30;
const DELETE_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn hold(world: &World) -> Result<()> {
    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}");
    world.kubectl().apply(NAMESPACE, namespace)?;
    let folders = folders(&world.folders.repository.join("operator/crd/rules"))?;
    ensure!(folders.len() >= RULES_LEAST, "{} rules", folders.len());
    for folder in &folders {
        prove(world, folder).with_context(|| folder.display().to_string())?;
    }
    let delete = ["delete", "namespace", NAMESPACE];
    let delete = world.kubectl().command(delete).limit(DELETE_LIMIT);
    delete.run().map(drop)
}

/// `<kind>/<rule>`, sorted.
fn folders(rules: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for kind in entries(rules)? {
        found.extend(entries(&kind)?);
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// What is changed has to be there; all else is a dry run.
fn prove(world: &World, folder: &Path) -> Result<()> {
    let before = folder.join("before.yaml");
    if before.exists() {
        kubectl(world, "apply", &before).run()?;
    }
    let accepted = kubectl(world, "apply", &folder.join("accepted.yaml"));
    accepted.arg("--dry-run=server").run()?;
    let rejected = folder.join("rejected.yaml");
    let answer = kubectl(world, "apply", &rejected).arg("--dry-run=server");
    check_refusal(&rejected, &answer.run_any()?)?;
    if before.exists() {
        kubectl(world, "delete", &before).run()?;
    }
    Ok(())
}

fn kubectl(world: &World, verb: &str, file: &Path) -> External {
    let words = ["--namespace", NAMESPACE, verb, "--filename"];
    world.kubectl().command(words).arg(file)
}

fn check_refusal(rejected: &Path, answer: &Output) -> Result<()> {
    ensure!(!answer.status.success(), "rejected.yaml was taken");
    let yaml = std::fs::read_to_string(rejected)?;
    let first_line = yaml.lines().next().unwrap_or_default();
    let sentence = first_line
        .strip_prefix(REFUSED)
        .with_context(|| format!("rejected.yaml does not begin with {REFUSED:?}"))?;
    let said = answer.error_text();
    ensure!(
        said.contains(sentence),
        "the refusal does not say {sentence:?}: {said}"
    );
    Ok(())
}
