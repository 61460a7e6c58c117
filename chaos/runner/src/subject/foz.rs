//! `foz-broker`.

use std::path::Path;

use anyhow::Result;

use super::{LAG_TIME_MAX_MS, data_folder};
use crate::layout::{CLIENT_PORT, CONTROLLER_PORT, HTTP_PORT, NodeName, Place, REPLICATION_PORT};

pub(super) fn prepare(name: NodeName, replicas: u8, folder: &Path) -> Result<()> {
    let data = data_folder(folder);
    std::fs::create_dir_all(&data)?;
    std::fs::write(
        folder.join("server.properties"),
        properties(name, replicas, &data),
    )?;
    Ok(())
}

pub(super) fn command(broker: &Path, name: NodeName, folder: &Path) -> Vec<String> {
    let roles = if name.is_broker() {
        "broker"
    } else {
        "controller"
    };
    let config = folder.join("server.properties").display().to_string();
    let words = ["--config", &config, "--roles", roles, "--log-text"];
    std::iter::once(broker.display().to_string())
        .chain(words.map(str::to_owned))
        .collect()
}

fn properties(name: NodeName, replicas: u8, data: &Path) -> String {
    let address = Place::Node(name).address();
    let voters: Vec<String> = NodeName::controllers()
        .map(|voter| {
            let address = Place::Node(voter).address();
            format!("{}@{address}:{CONTROLLER_PORT}", voter.id())
        })
        .collect();
    let mut text = format!(
        "node.id={}\nlog.dirs={}\ncontroller.quorum.voters={}\n\
         foz.http.listener={address}:{HTTP_PORT}\nmin.insync.replicas={}\n",
        name.id(),
        data.display(),
        voters.join(","),
        // Also the controllers': they decide by it who may lead after a crash.
        replicas.min(2)
    );
    if name.is_broker() {
        let listeners = format!(
            "PLAINTEXT://{address}:{CLIENT_PORT},REPLICATION://{address}:{REPLICATION_PORT}"
        );
        text += &format!(
            "listeners={listeners}\nadvertised.listeners={listeners}\n\
             inter.broker.listener.name=REPLICATION\n\
             offsets.topic.replication.factor={replicas}\n\
             transaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr={}\n\
             replica.lag.time.max.ms={LAG_TIME_MAX_MS}\n\
             group.initial.rebalance.delay.ms=0\nbroker.rack={name}\n\
             replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector\n",
            replicas.min(2)
        );
    } else {
        text += &format!("controller.listener={address}:{CONTROLLER_PORT}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_has_both_listeners_and_a_controller_none() {
        let data = Path::new("/data");
        let broker = properties(NodeName::Broker(1), 3, data);
        assert!(broker.contains("node.id=1\n"));
        assert!(broker.contains("REPLICATION://10.78.0.22:9091"));
        let controller = properties(NodeName::Controller(0), 3, data);
        assert!(controller.contains("node.id=1000\n"));
        assert!(controller.contains("controller.listener=10.78.0.11:9093"));
        assert!(!controller.contains("REPLICATION"));
        assert!(broker.contains("\nmin.insync.replicas=2\n"));
        assert!(controller.contains("\nmin.insync.replicas=2\n"));
    }
}
