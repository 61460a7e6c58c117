//! The cluster's DNS: CoreDNS on the control plane's address, behind the Service that pods ask.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::addresses::{CONTROL_PLANE, DNS_SERVICE, DOMAIN};
use super::daemon::{Inside, Launcher, words};
use crate::folders::write;
use crate::programs::Programs;

/// Starts CoreDNS; it serves once it has read the API server's objects.
pub fn start(
    launcher: &Launcher,
    programs: &Programs,
    folder: &Path,
    control_plane: u32,
) -> Result<()> {
    let corefile = folder.join("Corefile");
    let kubeconfig = folder.join("coredns.kubeconfig");
    // Records live 1 s: a name follows its pod, and no test waits for a resolver's memory.
    write(
        &corefile,
        format!(
            "{DOMAIN}:53 in-addr.arpa:53 ip6.arpa:53 {{\n\
             \x20   bind {CONTROL_PLANE}\n\
             \x20   errors\n\
             \x20   kubernetes {{\n\
             \x20       kubeconfig {}\n\
             \x20       ttl 1\n\
             \x20   }}\n\
             }}\n",
            kubeconfig.display()
        ),
    )?;
    let program = programs.coredns.display().to_string();
    let command = words([&program, "-conf", &corefile.display().to_string()]);
    launcher.start("coredns", Inside::Network(control_plane), &command)?;
    Ok(())
}

/// The Service `kube-dns` and its one endpoint, which is no pod.
#[must_use]
pub fn objects() -> Vec<Value> {
    let ports = json!([
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]);
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": DNS_SERVICE, "ports": ports},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-control-plane",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [CONTROL_PLANE]}],
        }),
    ]
}

/// A resolv.conf as pods of the namespace `default` have it.
#[must_use]
pub fn resolv_conf() -> String {
    format!(
        "search default.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}\n\
         nameserver {DNS_SERVICE}\n\
         options ndots:5 timeout:1 attempts:3\n"
    )
}
