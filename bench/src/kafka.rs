//! Apache Kafka as one combined KRaft node, or each broker and each controller in a process of its own, with
//! the defaults of its own start script.

use std::path::Path;

use anyhow::bail;

use crate::cluster::Node;
use crate::java::Java;
use crate::promise::Promise;
use crate::report::Product;
use crate::server::free_ports;

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

/// Formats a directory for each process below `folder`, each with the lines of `properties` in its configuration.
///
/// # Errors
/// One cannot be formatted.
pub(crate) async fn nodes(
    java: &Java,
    folder: &Path,
    promise: Promise,
    properties: &str,
) -> anyhow::Result<Vec<Node>> {
    let brokers = promise.brokers();
    let ports = free_ports(usize::from(brokers) * 2)?;
    // Two for each number: a broker's and a controller's.
    let ports: Vec<(u16, u16)> = ports.chunks(2).map(|two| (two[0], two[1])).collect();
    // A process with both roles has one node id.
    let first_controller = if brokers == 1 { 0 } else { 1000 };
    let voters: Vec<String> = (first_controller..)
        .zip(&ports)
        .map(|(node_id, (_, port))| format!("{node_id}@127.0.0.1:{port}"))
        .collect();
    let voters = voters.join(",");
    let mut nodes = Vec::new();
    for (number, (port, controller_port)) in (0..).zip(ports) {
        let client = format!("PLAINTEXT://127.0.0.1:{port}");
        let controller = format!("CONTROLLER://127.0.0.1:{controller_port}");
        let shared = format!(
            "controller.quorum.voters={voters}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             offsets.topic.replication.factor={brokers}\n\
             {}\n\
             {properties}",
            promise.property(Product::Kafka),
        );
        let text = |roles: &str, node_id: u16, listeners: &str| {
            format!("process.roles={roles}\nnode.id={node_id}\nlisteners={listeners}\n{shared}")
        };
        if brokers == 1 {
            let text = text(
                "broker,controller",
                number,
                &format!("{client},{controller}"),
            );
            nodes.push(node(java, folder, true, port, &text).await?);
            continue;
        }
        let below = |role: &str| folder.join(format!("{role}-{number}"));
        let properties = text("controller", first_controller + number, &controller);
        nodes.push(
            node(
                java,
                &below("controller"),
                false,
                controller_port,
                &properties,
            )
            .await?,
        );
        let properties = text("broker", number, &client);
        nodes.push(node(java, &below("broker"), true, port, &properties).await?);
    }
    Ok(nodes)
}

async fn node(
    java: &Java,
    folder: &Path,
    is_broker: bool,
    port: u16,
    text: &str,
) -> anyhow::Result<Node> {
    std::fs::create_dir_all(folder)?;
    let properties = folder.join("server.properties");
    let text = format!("{text}log.dirs={}\n", folder.join("data").display());
    std::fs::write(&properties, text)?;
    let formatted = java
        .command(&[], "kafka.tools.StorageTool")
        .args(["format", "--cluster-id", CLUSTER_ID, "--config"])
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
    Ok(Node {
        is_broker,
        command,
        port,
        http_port: None,
        folder: folder.to_owned(),
    })
}
