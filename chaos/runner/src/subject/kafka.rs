//! Apache Kafka: each process has one role, and its own defaults wherever nothing else is needed.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::{LAG_TIME_MAX_MS, data_folder};
use crate::fault::Kind;
use crate::jars::Jars;
use crate::layout::{BROKERS, CLIENT_PORT, CONTROLLER_PORT, NodeName, Place, REPLICATION_PORT};

/// Any 16 bytes in URL-safe base64 will do.
const CLUSTER_ID: &str = "Zm96LWNoYW9zLWthZmthLQ";

/// Seven of these share one machine.
const JVM: [&str; 3] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

pub(super) fn prepare(jars: &Jars, name: NodeName, folder: &Path) -> Result<()> {
    let data = data_folder(folder);
    std::fs::create_dir_all(&data)?;
    let properties = folder.join("server.properties");
    std::fs::write(&properties, text(name, &data))?;
    let words = jars.command(&JVM, "kafka.tools.StorageTool");
    let (program, arguments) = words.split_first().context("a command has words")?;
    let formatted = std::process::Command::new(program)
        .args(arguments)
        .args(["format", "--cluster-id", CLUSTER_ID, "--config"])
        .arg(&properties)
        .stdin(Stdio::null())
        .output()?;
    if !formatted.status.success() {
        bail!(
            "kafka-storage format failed:\n{}",
            String::from_utf8_lossy(&formatted.stderr)
        );
    }
    Ok(())
}

pub(super) fn command(jars: &Jars, folder: &Path) -> Vec<String> {
    let mut words = jars.command(&JVM, "kafka.Kafka");
    words.push(folder.join("server.properties").display().to_string());
    words
}

pub(super) fn spares(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::FlippedBits => Some("it does not look for damage below the recovery point"),
        Kind::EmptiedVolume => Some("a new volume must be formatted by hand"),
        Kind::OlderVolume => Some("it makes no promise for a volume that went back"),
        _ => None,
    }
}

fn text(name: NodeName, data: &Path) -> String {
    let address = Place::Node(name).address();
    let voters: Vec<String> = NodeName::controllers()
        .map(|voter| {
            let address = Place::Node(voter).address();
            format!("{}@{address}:{CONTROLLER_PORT}", voter.id())
        })
        .collect();
    let (role, listeners) = if name.is_broker() {
        let listeners = format!(
            "PLAINTEXT://{address}:{CLIENT_PORT},REPLICATION://{address}:{REPLICATION_PORT}"
        );
        ("broker", listeners)
    } else {
        (
            "controller",
            format!("CONTROLLER://{address}:{CONTROLLER_PORT}"),
        )
    };
    let advertised = if name.is_broker() {
        format!(
            "inter.broker.listener.name=REPLICATION\nbroker.rack={name}\n\
             replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector\n"
        )
    } else {
        String::new()
    };
    format!(
        "process.roles={role}\nnode.id={}\nlog.dirs={}\n\
         controller.quorum.voters={}\ncontroller.listener.names=CONTROLLER\n\
         listeners={listeners}\n{advertised}\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,REPLICATION:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         offsets.topic.replication.factor={BROKERS}\n\
         offsets.topic.num.partitions=8\n\
         min.insync.replicas=2\nreplica.lag.time.max.ms={LAG_TIME_MAX_MS}\ngroup.initial.rebalance.delay.ms=0\n\
         transaction.state.log.replication.factor={BROKERS}\n\
         share.coordinator.state.topic.replication.factor={BROKERS}\n\
         num.recovery.threads.per.data.dir=1\n",
        name.id(),
        data.display(),
        voters.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_one_role() {
        let broker = text(NodeName::Broker(2), Path::new("/data"));
        assert!(broker.contains("process.roles=broker\nnode.id=2\n"));
        assert!(broker.contains("inter.broker.listener.name=REPLICATION"));
        let controller = text(NodeName::Controller(2), Path::new("/data"));
        assert!(controller.contains("process.roles=controller\nnode.id=1002\n"));
        assert!(controller.contains("listeners=CONTROLLER://10.78.0.13:9093\n"));
    }
}
