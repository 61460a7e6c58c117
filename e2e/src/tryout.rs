//! `make up`: everything from nothing to messages read back and a broker more, left running.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::cluster;
use crate::external::is_on_path;
use crate::folders::Folders;
use crate::foz::{Foz, ensure_same_messages};
use crate::images::Images;
use crate::kubernetes::Kubernetes;
use crate::objects::{await_object, await_ready};
use crate::operator_release;
use crate::prerequisites::{self, For};
use crate::programs::Programs;
use crate::progress::{Progress, seconds};

/// The Cluster and the Topic.
const DEMO: &str = include_str!("../demo.yaml");
const NAMESPACE: &str = "default";
const CLUSTER: &str = "cluster.foz.dev/demo";
const TOPIC: &str = "topic.foz.dev/orders";
const BROKERS_MORE: u64 = 4;

const READY_LIMIT: Duration = Duration::from_secs(120);

/// Brings everything up, or up to date if it runs, and shows it working.
pub fn up(folders: &Folders, name: &str, progress: &Progress) -> Result<()> {
    prerequisites::ensure(folders, For::Cluster, progress)?;
    let programs = Programs::build(folders, progress)?;
    let images = Images::build(folders, progress)?;
    let built = progress.elapsed();

    let _held = cluster::hold(folders, name)?;
    let kubernetes = Kubernetes::get(folders, &programs, name, progress)?;
    kubernetes.load(&images, progress)?;
    progress.step("install the operator with Helm", || {
        operator_release::install(&kubernetes, folders, &images)
    })?;
    show(&kubernetes, progress, built)?;
    progress.line(&format!("done, {} of it building", seconds(built)));
    eprintln!("\n{}", what_next(&kubernetes));
    Ok(())
}

fn show(kubernetes: &Kubernetes, progress: &Progress, built: Duration) -> Result<()> {
    let kubectl = &kubernetes.kubectl;
    progress.step(
        "apply the Cluster demo: 3 brokers, 3 controllers; and the Topic orders",
        || kubectl.apply(NAMESPACE, DEMO).map(drop),
    )?;
    progress.step("wait until both are Ready", || {
        await_ready(kubectl, NAMESPACE, CLUSTER, READY_LIMIT)?;
        await_ready(kubectl, NAMESPACE, TOPIC, READY_LIMIT).map(drop)
    })?;
    progress.step("produce 3 messages and read them back with foz", || {
        let foz = Foz {
            kubectl,
            namespace: NAMESPACE,
            pod: "demo-broker-0".to_owned(),
        };
        // An earlier run's messages are still there: these say which run they are of.
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let sent = ["one", "two", "three"].map(|number| format!("{number} at {now_ms}"));
        foz.produce("orders", &sent)?;
        let mut received = foz.consume("orders")?;
        received.retain(|message| sent.contains(message));
        ensure_same_messages(&sent, &received)
    })?;
    let since = seconds(progress.elapsed().saturating_sub(built));
    progress.line(&format!(
        "the first messages were read back {since} after building"
    ));
    progress.step("kubectl scale cluster/demo --replicas=4", || {
        let replicas = format!("--replicas={BROKERS_MORE}");
        kubectl.run(["scale", "--namespace", NAMESPACE, CLUSTER, &replicas])?;
        let limit = READY_LIMIT;
        await_object(
            kubectl,
            NAMESPACE,
            CLUSTER,
            "Ready with 4 brokers",
            limit,
            |cluster| cluster["status"]["readyReplicas"] == BROKERS_MORE,
        )
        .map(drop)
    })
}

fn what_next(kubernetes: &Kubernetes) -> String {
    let kubectl = kubernetes.kubectl.program();
    let path = match kubectl.parent() {
        Some(folder) if !is_on_path("kubectl") => {
            format!("export PATH={}:$PATH\n", folder.display())
        }
        _ => String::new(),
    };
    format!(
        "Kubernetes and Foz are running. Try:\n\
         \n\
         export KUBECONFIG={}\n\
         {path}\
         kubectl get clusters,topics,pods\n\
         kubectl describe cluster demo\n\
         echo hello | kubectl exec -i demo-broker-0 -- foz produce orders\n\
         kubectl exec demo-broker-0 -- foz consume orders --from-beginning --exit-at-end\n\
         kubectl scale cluster/demo --replicas=5\n\
         \n\
         make down removes all of it.",
        kubernetes.kubectl.kubeconfig().display()
    )
}
