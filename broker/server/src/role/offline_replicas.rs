//! A data directory has failed: its replicas go out of service, and the quorum is told of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use foz_api::CallError;
use foz_api::v1::ReportOfflineReplicasRequest;
use foz_api::v1::node_client::NodeClient;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::membership::by_topic;
use crate::blocking::blocking;
use crate::broker::Broker;
use crate::partition::{Key, Partitions};

/// As many as the controller takes in one call.
const PARTITIONS_PER_CALL_MAX: usize = 10_000;
/// For one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Before a directory that had no room is asked again to write down which others have failed.
const UNSAID_PAUSE: Duration = Duration::from_secs(1);

/// Until `stop`. The quorum is told with each registration anew: what that one said of the logs may have been gathered
/// before a directory failed, and to be told twice changes nothing.
pub(super) async fn keep_reporting(broker: Arc<Broker>, stop: CancellationToken) {
    let Some(first) = broker.partitions.directories().all().first() else {
        return;
    };
    let news = first.failure().news();
    let mut registered = broker.registered_offset.subscribe();
    let mut reporter = Reporter::new(Arc::clone(&broker));
    loop {
        reporter.take_offline().await;
        let step = async {
            match reporter.is_due() {
                true => reporter.report().await,
                false if reporter.is_unsaid => {
                    tokio::time::sleep(UNSAID_PAUSE).await;
                    reporter.say().await;
                }
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = step => {}
            () = news.notified() => {}
            Ok(()) = registered.changed() => {}
        }
    }
}

struct Reporter {
    broker: Arc<Broker>,
    /// The directories that are out of service, by their place.
    offline: BTreeSet<usize>,
    /// With which registration the quorum was told of how many.
    told: Option<(i64, usize)>,
    /// No directory has written down yet that another one is not to be believed.
    is_unsaid: bool,
    last_said: String,
}

impl Reporter {
    fn new(broker: Arc<Broker>) -> Self {
        Self {
            broker,
            offline: BTreeSet::new(),
            told: None,
            is_unsaid: false,
            last_said: String::new(),
        }
    }

    /// Before anything is made known by which its replicas may be made anew: who took a directory out of use may be about to
    /// write that down, or found no room.
    async fn say(&mut self) {
        let broker = Arc::clone(&self.broker);
        self.is_unsaid = blocking(move || {
            let failed = broker.partitions.directories().failed();
            let unsaid = failed.filter(|it| !it.failure().doubt());
            unsaid.count() > 0
        })
        .await;
    }

    async fn take_offline(&mut self) {
        let all = self.broker.partitions.directories().all().to_vec();
        for (at, directory) in all.into_iter().enumerate() {
            if directory.has_failed() && self.offline.insert(at) {
                self.say().await;
                let broker = Arc::clone(&self.broker);
                blocking(move || {
                    let held = broker.partitions.take_offline(&broker, &directory);
                    // Nothing waits for a write that hangs, the end of the process neither.
                    std::thread::spawn(move || Partitions::put_to_rest(&directory, &held));
                })
                .await;
            }
        }
        let directories = self.broker.partitions.directories();
        let metrics = &self.broker.metrics;
        let count = directories.offline_count();
        metrics.offline_log_directories.set(count as i64);
        metrics
            .log_directories
            .set(directories.usable().count() as i64);
    }

    fn is_due(&self) -> bool {
        let epoch = self.broker.epoch();
        !self.offline.is_empty() && epoch >= 0 && self.told != Some((epoch, self.offline.len()))
    }

    async fn report(&mut self) {
        if self.is_unsaid {
            self.say().await;
        }
        let epoch = self.broker.epoch();
        let broker = Arc::clone(&self.broker);
        let replicas = blocking(move || broker.partitions.failed_replicas()).await;
        let count = replicas.len();
        match tell(&self.broker, epoch, replicas).await {
            Ok(()) => {
                self.told = Some((epoch, self.offline.len()));
                self.last_said.clear();
                info!(
                    replicas = count,
                    "the quorum knows which replicas are offline"
                );
            }
            Err(error) => {
                let reason = error.to_string();
                if reason != self.last_said {
                    warn!(
                        reason,
                        "the quorum does not know yet which replicas are offline; trying again"
                    );
                    self.last_said = reason;
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

async fn tell(broker: &Broker, epoch: i64, replicas: BTreeSet<Key>) -> Result<(), CallError> {
    let replicas: Vec<_> = replicas.into_iter().collect();
    for part in replicas.chunks(PARTITIONS_PER_CALL_MAX) {
        let request = ReportOfflineReplicasRequest {
            node_id: broker.node_id,
            broker_epoch: epoch,
            replicas: by_topic(part.to_vec()),
        };
        let asking = broker.controllers.call(async |channel| {
            let mut request = tonic::Request::new(request.clone());
            request.set_timeout(ANSWER_MAX);
            let answer = NodeClient::new(channel)
                .report_offline_replicas(request)
                .await?;
            Ok(answer.into_inner())
        });
        asking.await?;
    }
    Ok(())
}
