//! Foz as one process with both roles, or each broker and each controller in one of its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

use crate::cluster::Node;
use crate::promise::Promise;
use crate::report::Product;
use crate::server::free_ports;

/// The node id of the first controller.
const FIRST_CONTROLLER: u16 = 1000;

/// Builds the broker as it is shipped, and says where it is. The command is that of the images
/// (`e2e/src/images.rs`), so that nothing is built twice.
///
/// # Errors
/// cargo is not there or fails; it prints why.
pub(crate) async fn build() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("bench/ has no parent")?;
    let target = host_target().await?;
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--target", &target])
        .args(["--package", "foz-server", "--package", "foz-cli"])
        .args(["--package", "foz-operator", "--bin", "foz-broker"])
        .args(["--bin", "foz", "--bin", "foz-operator"])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .current_dir(root)
        .status()
        .await
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo build failed");
    // An absolute path replaces the root.
    let folder = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(root.join(folder).join(target).join("release/foz-broker"))
}

async fn host_target() -> anyhow::Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .await
        .context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

/// Writes the configuration of each process below `folder`, each with the lines of `properties`.
///
/// # Errors
/// There are no free ports, or the folder cannot be written.
pub(crate) fn nodes(
    binary: &Path,
    folder: &Path,
    promise: Promise,
    properties: &str,
) -> anyhow::Result<Vec<Node>> {
    let brokers = promise.brokers();
    let ports = free_ports(usize::from(brokers) * 5)?;
    // Five for each number: a broker's three, a controller's two.
    let ports: Vec<&[u16]> = ports.chunks(5).collect();
    let voters: Vec<String> = (0..)
        .zip(&ports)
        .map(|(number, ports)| format!("{}@127.0.0.1:{}", FIRST_CONTROLLER + number, ports[3]))
        .collect();
    let voters = voters.join(",");
    let mut nodes = Vec::new();
    for (number, ports) in (0..).zip(ports) {
        let [client, replication, http, controller, controller_http] = *ports else {
            bail!("{} ports in the place of five", ports.len());
        };
        let broker = format!(
            "node.id={number}\n\
             controller.quorum.voters={voters}\n\
             listeners=PLAINTEXT://127.0.0.1:{client},REPLICATION://127.0.0.1:{replication}\n\
             foz.http.listener=127.0.0.1:{http}\n\
             {}\n\
             {properties}",
            promise.property(Product::Foz),
        );
        let listener = format!("controller.listener=127.0.0.1:{controller}\n");
        if brokers == 1 {
            let text = broker + &listener;
            let ports = (client, http);
            nodes.push(node(binary, folder, "broker,controller", ports, &text)?);
            continue;
        }
        let text = format!(
            "node.id={}\n\
             controller.quorum.voters={voters}\n\
             foz.http.listener=127.0.0.1:{controller_http}\n\
             {listener}",
            FIRST_CONTROLLER + number
        );
        let below = |role: &str| folder.join(format!("{role}-{number}"));
        nodes.push(node(
            binary,
            &below("controller"),
            "controller",
            (controller, controller_http),
            &text,
        )?);
        let ports = (client, http);
        nodes.push(node(binary, &below("broker"), "broker", ports, &broker)?);
    }
    Ok(nodes)
}

/// `ports`: where it listens, and that of its metrics.
fn node(
    binary: &Path,
    folder: &Path,
    roles: &str,
    ports: (u16, u16),
    text: &str,
) -> anyhow::Result<Node> {
    std::fs::create_dir_all(folder)?;
    let properties = folder.join("server.properties");
    let text = format!("{text}log.dirs={}\n", folder.join("data").display());
    std::fs::write(&properties, text)?;
    let mut command = Command::new(binary);
    command
        .arg("--config")
        .arg(&properties)
        .args(["--roles", roles]);
    Ok(Node {
        is_broker: roles.starts_with("broker"),
        command,
        port: ports.0,
        http_port: Some(ports.1),
        folder: folder.to_owned(),
    })
}
