//! The operator, installed by Helm from `charts/foz-operator`.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::folders::Folders;
use crate::images::{Images, REGISTRY};
use crate::kubernetes::Kubernetes;

/// The release's name.
pub const RELEASE: &str = "foz";
/// Where the operator runs.
pub const NAMESPACE: &str = "foz-system";

const LIMIT: Duration = Duration::from_secs(180);

/// Installs the operator, or upgrades it to these images, and waits until it is ready.
pub fn install(kubernetes: &Kubernetes, folders: &Folders, images: &Images) -> Result<()> {
    let helm = kubernetes
        .helm(["upgrade", "--install", RELEASE])
        .arg(folders.repository.join("charts/foz-operator"))
        .args([
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--wait",
            "--timeout=170s",
        ])
        .args(["--set-string", &format!("image.registry={REGISTRY}")])
        .args([
            "--set-string",
            &format!("image.repository={}", images.operator.repository),
        ])
        .args([
            "--set-string",
            &format!("image.tag={}", images.operator.tag),
        ])
        .args(["--set-string", &format!("brokerImage.registry={REGISTRY}")])
        .args([
            "--set-string",
            &format!("brokerImage.repository={}", images.broker.repository),
        ])
        .args([
            "--set-string",
            &format!("brokerImage.tag={}", images.broker.tag),
        ]);
    helm.limit(LIMIT)
        .run()
        .map(drop)
        .with_context(|| pods(kubernetes))
}

/// Uninstalls it; the CRDs and the objects of their kinds stay.
pub fn uninstall(kubernetes: &Kubernetes) -> Result<()> {
    let helm = kubernetes.helm(["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"]);
    helm.limit(LIMIT).run().map(drop)
}

/// What the operator's pods look like and say, for an error.
fn pods(kubernetes: &Kubernetes) -> String {
    let show = |args: &[&str]| match kubernetes.kubectl.command(args).run_any() {
        Ok(output) => format!("{}\n{}", output.text(), output.error_text()),
        Err(error) => error.to_string(),
    };
    format!(
        "installing the operator; its pods:\n{}\ntheir logs:\n{}",
        show(&["get", "pods", "--namespace", NAMESPACE, "--output=wide"]),
        show(&[
            "logs",
            "--namespace",
            NAMESPACE,
            "--selector=app.kubernetes.io/name=foz-operator"
        ]),
    )
}
