//! Kubeconfig files. They name the certificate files by path and are valid as long as the cluster.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::certificates::Certificates;
use crate::folders::write;

/// Writes a kubeconfig for the client certificate `user` and an API server at `host:port`.
pub fn write_kubeconfig(
    path: &Path,
    certificates: &Certificates,
    user: &str,
    cluster: &str,
    server: &str,
) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "clusters": [{"name": cluster, "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority": certificates.certificate("ca"),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": certificates.certificate(user),
            "client-key": certificates.key(user),
        }}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
    });
    // JSON is YAML, which is what readers of the file expect.
    write(path, serde_json::to_string_pretty(&config)? + "\n")
}
