//! Kafka, Foz, Foz, Kafka: the same workloads for each.

use std::time::Duration;

use crate::Tools;
use crate::cluster::Cluster;
use crate::java::Java;
use crate::promise::Promise;
use crate::report::{Measurement, Product, Run};
use crate::workload::{WARM_UP, WORKLOADS};

/// How long brokers are left alone before their idle memory is read.
const IDLE: Duration = Duration::from_secs(3);

/// As many rounds as asked for.
///
/// # Errors
/// A broker or a tool fails; with the ends of the brokers' logs.
pub(crate) async fn run(
    tools: &Tools,
    promise: Promise,
    megabytes: u64,
    rounds: usize,
) -> anyhow::Result<Vec<Run>> {
    let order = [Product::Kafka, Product::Foz, Product::Foz, Product::Kafka];
    let total = order.len() * rounds;
    let mut runs = Vec::with_capacity(total);
    for product in order.into_iter().cycle().take(total) {
        eprintln!(
            "[{}/{total}] {} {}",
            runs.len() + 1,
            product.name(),
            promise.sentence(product)
        );
        let measured = Cluster::live(tools, product, promise, "", async |cluster, _| {
            measure(&tools.java, cluster, megabytes).await
        });
        runs.push(measured.await?.of(product));
    }
    Ok(runs)
}

/// What one life of a cluster showed.
struct Measured {
    idle_memory_bytes: u64,
    loaded_memory_bytes: u64,
    measurements: Vec<Measurement>,
}

impl Measured {
    fn of(self, product: Product) -> Run {
        Run {
            product,
            idle_memory_bytes: self.idle_memory_bytes,
            loaded_memory_bytes: self.loaded_memory_bytes,
            measurements: self.measurements,
        }
    }
}

async fn measure(java: &Java, cluster: &Cluster, megabytes: u64) -> anyhow::Result<Measured> {
    tokio::time::sleep(IDLE).await;
    let idle_memory_bytes = cluster.memory_bytes()?;
    for workload in WARM_UP {
        workload.run(java, cluster, megabytes.div_ceil(2)).await?;
    }
    let mut measurements = Vec::new();
    for workload in WORKLOADS {
        eprintln!("        {}", workload.name);
        measurements.push(workload.run(java, cluster, megabytes).await?);
    }
    Ok(Measured {
        idle_memory_bytes,
        loaded_memory_bytes: cluster.memory_bytes()?,
        measurements,
    })
}
