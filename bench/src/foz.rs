//! Foz as one process with both roles.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::promise::Promise;
use crate::report::Product;
use crate::server::{Server, free_ports};

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

/// Starts the broker on an empty directory below `folder`.
///
/// # Errors
/// It does not come up.
pub(crate) async fn start(
    binary: &Path,
    folder: &Path,
    promise: Promise,
) -> anyhow::Result<Server> {
    let ports = free_ports()?;
    let properties = folder.join("server.properties");
    std::fs::write(&properties, text(folder, ports, promise))?;
    let mut command = Command::new(binary);
    command
        .arg("--config")
        .arg(&properties)
        .args(["--roles", "broker,controller"]);
    Server::start(command, folder, ports[0]).await
}

fn text(folder: &Path, ports: [u16; 3], promise: Promise) -> String {
    let [port, controller_port, http_port] = ports;
    format!(
        "node.id=0\n\
         controller.quorum.voters=1000@127.0.0.1:{controller_port}\n\
         controller.listener=127.0.0.1:{controller_port}\n\
         listeners=PLAINTEXT://127.0.0.1:{port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         foz.http.listener=127.0.0.1:{http_port}\n\
         log.dirs={}\n\
         {}\n",
        folder.join("data").display(),
        promise.property(Product::Foz),
    )
}
