//! The cluster's certificate authority and what it signs. Made anew for each cluster.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::addresses::{API_SERVER_SERVICE, CONTROL_PLANE, DOMAIN, node_address, node_name};
use crate::folders::write;

/// The group whose members may do everything.
const MASTERS: &str = "system:masters";

/// A folder of `<name>.crt` and `<name>.key` files.
#[derive(Debug, Clone)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes all that a cluster with these nodes needs.
    pub fn create(folder: &Path, nodes: u8) -> Result<Certificates> {
        let authority_key = KeyPair::generate()?;
        let authority = authority()?;
        let certificate = authority.self_signed(&authority_key)?;
        let certificates = Certificates {
            folder: folder.to_owned(),
        };
        certificates.save("ca", &certificate.pem(), &authority_key.serialize_pem())?;

        let issuer = Issuer::from_params(&authority, authority_key);
        let issue = |name: &str, user: &str, group: Option<&str>, hosts: &[&str]| {
            certificates.issue(&issuer, name, &subject(user, group), hosts)
        };
        let in_cluster = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let full_name = format!("kubernetes.default.svc.{DOMAIN}");
        let mut hosts = vec![
            CONTROL_PLANE,
            "127.0.0.1",
            "localhost",
            API_SERVER_SERVICE,
            &full_name,
        ];
        hosts.extend(in_cluster);
        issue("apiserver", "kube-apiserver", None, &hosts)?;
        issue(
            "kubelet-client",
            "kube-apiserver-kubelet-client",
            Some(MASTERS),
            &[],
        )?;
        issue("admin", "admin", Some(MASTERS), &[])?;
        issue("coredns", "coredns", Some(MASTERS), &[])?;
        for component in ["controller-manager", "scheduler", "proxy"] {
            issue(component, &format!("system:kube-{component}"), None, &[])?;
        }
        for number in 1..=nodes {
            let (node, address) = (node_name(number), node_address(number));
            issue(
                &node,
                &format!("system:node:{node}"),
                Some("system:nodes"),
                &[&node, &address],
            )?;
        }
        certificates.create_service_account_keys()?;
        Ok(certificates)
    }

    /// The certificate of this name; `ca` is the authority's.
    #[must_use]
    pub fn certificate(&self, name: &str) -> String {
        self.folder
            .join(format!("{name}.crt"))
            .display()
            .to_string()
    }

    /// The private key of this name.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        self.folder
            .join(format!("{name}.key"))
            .display()
            .to_string()
    }

    /// The key that checks service account tokens; [`Certificates::key`] of the same name signs them.
    #[must_use]
    pub fn service_account_public_key(&self) -> String {
        self.folder
            .join("service-account.pub")
            .display()
            .to_string()
    }

    fn create_service_account_keys(&self) -> Result<()> {
        let key = KeyPair::generate()?;
        write(self.key("service-account"), key.serialize_pem())?;
        write(self.service_account_public_key(), key.public_key_pem())
    }

    fn issue(
        &self,
        issuer: &Issuer<'_, KeyPair>,
        name: &str,
        subject: &DistinguishedName,
        hosts: &[&str],
    ) -> Result<()> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = subject.clone();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?;
        self.save(name, &certificate.pem(), &key.serialize_pem())
    }

    fn save(&self, name: &str, certificate: &str, key: &str) -> Result<()> {
        write(self.certificate(name), certificate)?;
        write(self.key(name), key)
    }
}

fn authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = subject("foz-e2e", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Kubernetes reads the user from the common name and the group from the organisation.
fn subject(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name
}
