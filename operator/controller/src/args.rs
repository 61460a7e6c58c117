//! The command line, each option with an environment variable of its own.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

/// The operator of Foz: makes Clusters and Topics what their objects say.
#[derive(Debug, Parser)]
#[command(name = "foz-operator", version)]
pub struct Args {
    /// What to do instead of running the operator.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The image of brokers and controllers of Clusters that name none.
    #[arg(long, env = "FOZ_BROKER_IMAGE", default_value = concat!("localhost/foz-broker:", env!("CARGO_PKG_VERSION")))]
    pub broker_image: String,

    /// The namespaces to look after, separated by commas; empty for all.
    #[arg(long, env = "FOZ_WATCH_NAMESPACES", default_value = "")]
    pub watch_namespaces: String,

    /// The Lease by which one replica acts and the others stand by.
    #[arg(long, env = "FOZ_LEASE_NAME", default_value = "foz-operator")]
    pub lease_name: String,

    /// Who this replica is: the name of its pod.
    #[arg(long, env = "POD_NAME", default_value = "foz-operator")]
    pub pod_name: String,

    /// Where this replica runs, and where the Lease is.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub pod_namespace: String,

    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "FOZ_HTTP_LISTENER", default_value = "0.0.0.0:8080")]
    pub http_listener: SocketAddr,
}

/// What can be done without a cluster.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Print the CustomResourceDefinitions.
    Crds,
    /// Print what the operator may do in Kubernetes, as rules of Roles.
    Permissions,
}

/// The namespaces of a list separated by commas.
#[must_use]
pub fn namespaces(list: &str) -> Vec<String> {
    let mut names: Vec<String> = list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::{Args, namespaces};
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn lists_of_namespaces() {
        assert_eq!(namespaces(""), Vec::<String>::new());
        assert_eq!(namespaces(" b, a,,b"), ["a", "b"]);
    }
}
