//! Persistent volumes: a StorageClass and the process that serves it.
//!
//! Each volume is a folder of this machine, offered as a `local` volume that every node can reach:
//! it behaves like a network disk, a pod may come back on another node and finds its data. `local`
//! and not `hostPath`, because the kubelet gives a `local` volume to the pod's fsGroup, so that a
//! container that is not root can write. A claim that asks for more gets it: a folder has no size.

use std::collections::HashMap;
use std::fs;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::daemon::{Inside, Launcher, words};
use super::kubectl::Kubectl;

/// The default StorageClass.
pub const STORAGE_CLASS: &str = "local";
/// The subcommand of this program that [`serve`] runs under.
pub const SUBCOMMAND: &str = "provision-volumes";
const PROVISIONER: &str = "foz.dev/local-folder";
/// The scheduler has chosen a node: from here on the volume is wanted.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const RETRY_PAUSE: Duration = Duration::from_secs(1);

#[must_use]
pub fn objects() -> Vec<Value> {
    vec![json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": true,
    })]
}

/// Starts the provisioner; the folders of the volumes are made below `folder`.
pub fn start(launcher: &Launcher, kubectl: &Kubectl, folder: &Path) -> Result<()> {
    let program = std::env::current_exe()?.display().to_string();
    let command = words([
        &program,
        SUBCOMMAND,
        &kubectl.program().display().to_string(),
        &kubectl.kubeconfig().display().to_string(),
        &folder.display().to_string(),
    ]);
    launcher.start("volumes", Inside::Host, &command)?;
    Ok(())
}

/// Makes and removes volumes for ever.
pub fn serve(kubectl: &Kubectl, folder: &Path) -> Result<()> {
    thread::scope(|scope| {
        for kind in ["persistentvolumeclaims", "persistentvolumes"] {
            scope.spawn(move || {
                loop {
                    // A watch ends from time to time, and the API server may be away: begin again
                    // with the list that a new watch starts with.
                    if let Err(error) = watch(kubectl, kind, folder) {
                        eprintln!("watching {kind}: {error:#}");
                    }
                    thread::sleep(RETRY_PAUSE);
                }
            });
        }
    });
    Ok(())
}

/// What an object asks for.
#[derive(Debug, PartialEq)]
enum Step {
    Make {
        volume: Value,
        path: PathBuf,
    },
    Remove {
        name: String,
        path: PathBuf,
    },
    Grow {
        namespace: String,
        claim: String,
        volume: String,
        size: String,
    },
}

/// Decides from one object, a claim or a volume, as it is now.
fn step(object: &Value, folder: &Path) -> Option<Step> {
    match object["kind"].as_str()? {
        "PersistentVolumeClaim" => {
            let wanted = object["spec"]["storageClassName"] == STORAGE_CLASS
                && object["status"]["phase"] == "Pending"
                && object["metadata"]["annotations"][SELECTED_NODE].is_string()
                && object["metadata"]["deletionTimestamp"].is_null();
            if wanted {
                make(object, folder)
            } else {
                grow(object)
            }
        }
        "PersistentVolume" => {
            let metadata = &object["metadata"];
            let over = object["status"]["phase"] == "Released"
                && object["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
                && metadata["annotations"][PROVISIONED_BY] == PROVISIONER;
            let path = PathBuf::from(object["spec"]["local"]["path"].as_str()?);
            let ours = path.parent() == Some(folder);
            let name = metadata["name"].as_str()?.to_owned();
            (over && ours).then_some(Step::Remove { name, path })
        }
        _ => None,
    }
}

/// What the claim asks for is another size than it has.
fn grow(claim: &Value) -> Option<Step> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let wanted = text(&claim["spec"]["resources"]["requests"]["storage"])?;
    let has = text(&claim["status"]["capacity"]["storage"])?;
    let ours = claim["spec"]["storageClassName"] == STORAGE_CLASS
        && claim["status"]["phase"] == "Bound"
        && claim["metadata"]["deletionTimestamp"].is_null();
    (ours && wanted != has).then_some(Step::Grow {
        namespace: text(&claim["metadata"]["namespace"])?,
        claim: text(&claim["metadata"]["name"])?,
        volume: text(&claim["spec"]["volumeName"])?,
        size: wanted,
    })
}

fn make(claim: &Value, folder: &Path) -> Option<Step> {
    let metadata = &claim["metadata"];
    let (namespace, claim_name) = (metadata["namespace"].as_str()?, metadata["name"].as_str()?);
    let uid = metadata["uid"].as_str()?;
    let name = format!("pvc-{uid}");
    let path = folder.join(format!("{namespace}-{claim_name}-{uid}"));
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "storageClassName": STORAGE_CLASS,
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace,
                "name": claim_name,
                "uid": uid,
            },
            "local": {"path": path},
            // Kubernetes demands a rule here; this one lets every node in.
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "Exists"},
            ]}]}},
        },
    });
    Some(Step::Make { volume, path })
}

fn watch(kubectl: &Kubectl, kind: &str, folder: &Path) -> Result<()> {
    let mut child = Command::new(kubectl.program())
        .args(["get", kind, "--all-namespaces", "--watch", "--output=json"])
        .env("KUBECONFIG", kubectl.kubeconfig())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start kubectl")?;
    let stdout = child.stdout.take().context("kubectl has no output")?;
    let followed = follow(kubectl, BufReader::new(stdout), folder);
    end(&mut child)?;
    followed
}

fn follow(kubectl: &Kubectl, objects: impl Read, folder: &Path) -> Result<()> {
    // What was done lately: claims are seen again until the controllers have bound them.
    let mut done: HashMap<PathBuf, bool> = HashMap::new();
    for object in serde_json::Deserializer::from_reader(objects).into_iter::<Value>() {
        match step(&object?, folder) {
            Some(Step::Make { volume, path }) if done.get(&path) != Some(&true) => {
                fs::create_dir_all(&path)?;
                let create = kubectl
                    .command(["create", "-f", "-"])
                    .stdin(volume.to_string());
                let created = create.run_any()?;
                if !created.status.success() && !created.error_text().contains("AlreadyExists") {
                    anyhow::bail!("creating {volume}: {}", created.error_text());
                }
                eprintln!("made {}", path.display());
                done.insert(path, true);
            }
            Some(Step::Remove { name, path }) if done.get(&path) != Some(&false) => {
                crate::build_cache::remove_folder(&path)?;
                kubectl.run(["delete", "persistentvolume", &name, "--wait=false"])?;
                eprintln!("removed {}", path.display());
                done.insert(path, false);
            }
            Some(Step::Grow {
                namespace,
                claim,
                volume,
                size,
            }) => {
                let capacity = json!({"capacity": {"storage": size}});
                let of_volume = json!({"spec": capacity}).to_string();
                let of_claim = json!({"status": capacity}).to_string();
                kubectl.run(["patch", "persistentvolume", &volume, "--patch", &of_volume])?;
                kubectl.run([
                    "patch",
                    "persistentvolumeclaim",
                    &claim,
                    "--namespace",
                    &namespace,
                    "--subresource=status",
                    "--patch",
                    &of_claim,
                ])?;
                eprintln!("{claim} in {namespace} has {size}");
            }
            _ => {}
        }
    }
    Ok(())
}

fn end(child: &mut Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Value {
        json!({
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "namespace": "a", "name": "data-0", "uid": "1-2",
                "annotations": {SELECTED_NODE: "node-1"},
            },
            "spec": {
                "storageClassName": "local",
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
            "status": {"phase": "Pending"},
        })
    }

    fn volume() -> Value {
        json!({
            "kind": "PersistentVolume",
            "metadata": {"name": "pvc-1", "annotations": {PROVISIONED_BY: PROVISIONER}},
            "spec": {
                "persistentVolumeReclaimPolicy": "Delete",
                "local": {"path": "/volumes/a-data-0-1"},
            },
            "status": {"phase": "Released"},
        })
    }

    #[test]
    fn a_claim_whose_pod_has_a_node_gets_a_volume() {
        let Some(Step::Make { volume, path }) = step(&claim(), Path::new("/volumes")) else {
            panic!("nothing made");
        };
        assert_eq!(path, Path::new("/volumes/a-data-0-1-2"));
        assert_eq!(volume["spec"]["claimRef"]["uid"], "1-2");
        assert_eq!(volume["spec"]["capacity"]["storage"], "1Gi");
    }

    #[test]
    fn a_claim_without_a_pod_of_another_class_or_bound_gets_none() {
        let changes: [fn(&mut Value); 4] = [
            |claim| claim["metadata"]["annotations"] = Value::Null,
            |claim| claim["spec"]["storageClassName"] = json!("other"),
            |claim| claim["status"]["phase"] = json!("Bound"),
            |claim| claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        ];
        for change in changes {
            let mut claim = claim();
            change(&mut claim);
            assert_eq!(step(&claim, Path::new("/volumes")), None, "{claim}");
        }
    }

    #[test]
    fn a_claim_that_asks_for_more_gets_it() {
        let mut claim = claim();
        claim["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        claim["spec"]["volumeName"] = json!("pvc-1-2");
        assert_eq!(step(&claim, Path::new("/volumes")), None);
        claim["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
        let grow = Step::Grow {
            namespace: "a".into(),
            claim: "data-0".into(),
            volume: "pvc-1-2".into(),
            size: "2Gi".into(),
        };
        assert_eq!(step(&claim, Path::new("/volumes")), Some(grow));
        claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(step(&claim, Path::new("/volumes")), None);
    }

    #[test]
    fn only_a_released_volume_of_ours_to_be_deleted_is_removed() {
        let folder = Path::new("/volumes");
        let path = PathBuf::from("/volumes/a-data-0-1");
        assert_eq!(
            step(&volume(), folder),
            Some(Step::Remove {
                name: "pvc-1".into(),
                path
            })
        );
        let changes: [fn(&mut Value); 4] = [
            |volume| volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain"),
            |volume| volume["status"]["phase"] = json!("Bound"),
            |volume| volume["metadata"]["annotations"] = Value::Null,
            |volume| volume["spec"]["local"]["path"] = json!("/etc"),
        ];
        for change in changes {
            let mut volume = volume();
            change(&mut volume);
            assert_eq!(step(&volume, folder), None, "{volume}");
        }
    }
}
