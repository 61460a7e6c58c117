//! The cluster's addresses. All of them live inside network namespaces; none can clash with this
//! machine's own.

/// The control plane's address; the API server, the DNS server and the nodes' gateway are there.
pub const CONTROL_PLANE: &str = "10.77.0.1";
/// The API server's port at [`CONTROL_PLANE`].
pub const API_SERVER_PORT: u16 = 6443;
/// Where Services get their addresses from.
pub const SERVICES: &str = "10.96.0.0/16";
/// The Service of the API server: the first address of [`SERVICES`].
pub const API_SERVER_SERVICE: &str = "10.96.0.1";
/// The Service of the DNS server.
pub const DNS_SERVICE: &str = "10.96.0.10";
/// Where pods get their addresses from; each node has a /24 of it.
pub const PODS: &str = "10.244.0.0/16";
/// The DNS domain of the cluster.
pub const DOMAIN: &str = "cluster.local";
/// As many nodes as the addresses below have room for.
pub const NODES_MAX: u8 = 99;

/// Name of the node with this number; numbers begin at 1.
#[must_use]
pub fn node_name(number: u8) -> String {
    format!("node-{number}")
}

/// Address of the node with this number.
#[must_use]
pub fn node_address(number: u8) -> String {
    format!("10.77.0.{}", 100 + u16::from(number))
}

/// The addresses of the pods on the node with this number.
#[must_use]
pub fn node_pods(number: u8) -> String {
    format!("10.244.{number}.0/24")
}
