//! The few keys that a start needs. Everything else is a record of the quorum, so that no file and no
//! restart stands between a change and its effect.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use crate::cluster::build::metadata;
use crate::cluster::build::stateful_set::TERMINATION_GRACE_PERIOD_SECONDS;
use crate::cluster::validate::ValidatedCluster;
use crate::names::{
    CONTROLLER_NODE_ID_BASE, CONTROLLER_PORT, HTTP_PORT, KAFKA_PORT, REPLICATION_PORT, Role,
};

/// The file's name, in the ConfigMap and in the container.
pub(super) const FILE: &str = "server.properties";
/// The name of the listener that only the Cluster's own brokers connect to.
const NODES: &str = "REPLICATION";

pub(super) fn build(cluster: &ValidatedCluster, role: Role) -> ConfigMap {
    ConfigMap {
        metadata: metadata(cluster, role, cluster.name.of_role(role)),
        data: Some([(FILE.to_owned(), properties(cluster, role))].into()),
        ..ConfigMap::default()
    }
}

/// The controllers, for whoever starts.
const VOTERS: &str = "controller.quorum.voters";

/// How many controllers the file in a ConfigMap names.
pub(in crate::cluster) fn voters_named_in(live: &Value) -> Option<i32> {
    let mut lines = live["data"][FILE].as_str()?.lines();
    let voters = lines.find_map(|line| line.strip_prefix(VOTERS)?.strip_prefix('='))?;
    i32::try_from(voters.split(',').count()).ok()
}

/// What a process must be restarted for when it changes: not for other controllers, of which those that run learn from
/// the quorum itself.
pub(super) fn properties_of_a_process(cluster: &ValidatedCluster, role: Role) -> String {
    let properties = properties(cluster, role);
    let lines = properties.lines();
    let lines = lines.filter(|line| !line.starts_with(VOTERS));
    lines.collect::<Vec<_>>().join("\n")
}

/// One on each volume. What is mounted may hold more than that: `lost+found`, for example.
fn log_dirs(cluster: &ValidatedCluster, role: Role) -> String {
    let volumes = cluster.volumes_of(role).into_keys();
    let folders: Vec<String> = volumes.map(|it| format!("{}/data", it.folder())).collect();
    folders.join(",")
}

/// `${NAME}` is replaced by the process with the environment variable of that name: one file serves
/// all pods of a role.
pub(super) fn properties(cluster: &ValidatedCluster, role: Role) -> String {
    let voters = cluster.name.quorum_voters(cluster.controllers.get());
    let mut lines = vec![
        ("node.id", "${POD_INDEX}".to_owned()),
        ("log.dirs", log_dirs(cluster, role)),
        (VOTERS, voters),
        ("foz.http.listener", format!("0.0.0.0:{HTTP_PORT}")),
        (
            "foz.shutdown.grace.ms",
            (TERMINATION_GRACE_PERIOD_SECONDS * 1000).to_string(),
        ),
    ];
    match role {
        Role::Controller => lines.extend([
            ("foz.node.id.base", CONTROLLER_NODE_ID_BASE.to_string()),
            ("controller.listener", format!("0.0.0.0:{CONTROLLER_PORT}")),
        ]),
        Role::Broker => {
            let namespace = &cluster.name.namespace;
            // The pod, and the Service of the same name.
            let name = format!("{}-${{POD_INDEX}}", cluster.name.of_role(role));
            // Brokers look each other up anew, and find a pod before it is ready: no detour by a Service's
            // address, which a node's own proxy has to learn first.
            let pod = format!("{name}.{}", cluster.name.headless(role));
            let listeners = [("PLAINTEXT", KAFKA_PORT), (NODES, REPLICATION_PORT)];
            let bound = listeners.map(|(name, port)| format!("{name}://0.0.0.0:{port}"));
            let advertised = [
                format!("PLAINTEXT://{name}.{namespace}.svc:{KAFKA_PORT}"),
                format!("{NODES}://{pod}.{namespace}.svc:{REPLICATION_PORT}"),
            ];
            lines.extend([
                ("listeners", bound.join(",")),
                ("advertised.listeners", advertised.join(",")),
                ("inter.broker.listener.name", NODES.to_owned()),
            ]);
        }
    }
    lines.sort_unstable();
    lines.iter().fold(String::new(), |mut text, (key, value)| {
        writeln!(text, "{key}={value}").expect("a String takes any text");
        text
    })
}
