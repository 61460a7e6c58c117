//! Apache Kafka as one combined KRaft node, with the defaults of its own start script.

use std::path::Path;

use anyhow::bail;

use crate::java::Java;
use crate::promise::Promise;
use crate::report::Product;
use crate::server::{Server, free_ports};

/// What `kafka-server-start.sh` gives the JVM.
const JVM: [&str; 7] = [
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// Any 16 bytes in URL-safe base64 will do: the directory is empty.
const CLUSTER_ID: &str = "Zm96LWJlbmNoLWthZmthLQ";

/// Formats a directory below `folder` and starts the broker on it.
///
/// # Errors
/// It cannot be formatted or does not come up.
pub(crate) async fn start(java: &Java, folder: &Path, promise: Promise) -> anyhow::Result<Server> {
    let [port, controller_port] = free_ports()?;
    let properties = folder.join("server.properties");
    std::fs::write(&properties, text(folder, port, controller_port, promise))?;
    let formatted = java
        .command(&[], "kafka.tools.StorageTool")
        .args([
            "format",
            "--standalone",
            "--cluster-id",
            CLUSTER_ID,
            "--config",
        ])
        .arg(&properties)
        .output()
        .await?;
    if !formatted.status.success() {
        bail!(
            "kafka-storage format failed:\n{}",
            String::from_utf8_lossy(&formatted.stderr)
        );
    }
    let mut command = java.command(&JVM, "kafka.Kafka");
    command.arg(&properties);
    Server::start(command, folder, port).await
}

fn text(folder: &Path, port: u16, controller_port: u16, promise: Promise) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         {}\n",
        folder.join("data").display(),
        promise.property(Product::Kafka),
    )
}
