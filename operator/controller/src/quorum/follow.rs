//! The task that follows one quorum.

use std::sync::Arc;
use std::time::Duration;

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::{DescribeQuorumRequest, WatchClusterRequest};
use foz_api::{ActiveController, CallError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::names::ClusterName;
use crate::quorum::view::{Change, View};
use crate::quorum::{Contact, Quorum};
use crate::trigger::Triggers;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// An election and a reconnect take less: only what lasts longer is worth a person's attention.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// Longer than the search for an active controller, which says why there is none.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Follows the quorum until cancelled.
pub(super) async fn run(
    name: ClusterName,
    quorum: Arc<Quorum>,
    mut addresses: watch::Receiver<Vec<String>>,
    triggers: Triggers,
) {
    let mut pause = PAUSE_MIN;
    let mut without_since = Instant::now();
    loop {
        let known = addresses.borrow_and_update().clone();
        if !known.is_empty() {
            let client = Arc::new(ActiveController::new(known));
            quorum.state.write().client = Some(Arc::clone(&client));
            let error = follow(&name, &quorum, &client, &triggers).await;
            let mut state = quorum.state.write();
            if matches!(state.contact, Contact::Followed) {
                info!(cluster = %name.name, namespace = %name.namespace, error, "the stream of the quorum ended");
                state.contact = Contact::Reconnecting;
                (pause, without_since) = (PAUSE_MIN, Instant::now());
            } else {
                debug!(cluster = %name.name, namespace = %name.namespace, error, "the quorum does not answer");
            }
            let waits = matches!(state.contact, Contact::Reconnecting | Contact::Never);
            if waits && without_since.elapsed() >= LOST_AFTER {
                warn!(cluster = %name.name, namespace = %name.namespace, error, "the quorum is lost");
                state.contact = Contact::Lost(error);
                triggers.rebalanced(&name);
            }
        }
        if addresses.borrow().is_empty() {
            // There is nobody to lose, as while a Cluster is suspended.
            without_since = Instant::now();
        }
        // New addresses are worth a try at once.
        if let Ok(Err(_)) = timeout(pause, addresses.changed()).await {
            return;
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Follows one stream to its end and says why it ended.
async fn follow(
    name: &ClusterName,
    quorum: &Quorum,
    client: &ActiveController,
    triggers: &Triggers,
) -> String {
    let opened = timeout(OPEN_TIMEOUT, open(client)).await;
    let (mut stream, active_node_id) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return error.to_string(),
        Err(_) => return format!("no answer within {} s", OPEN_TIMEOUT.as_secs()),
    };
    // What was there is told first; until all of it is, the view of before stays.
    let mut fresh = Some(View::default());
    let mut cluster_due: Option<Instant> = None;
    loop {
        let due = cluster_due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        let event = tokio::select! {
            () = sleep_until(due), if cluster_due.is_some() => {
                cluster_due = None;
                triggers.rebalanced(name);
                continue;
            }
            event = stream.message() => match event {
                Ok(Some(event)) => event,
                Ok(None) => return "the active controller ended the stream".to_owned(),
                Err(status) => return status.message().to_owned(),
            },
        };
        if let Some(mut view) = fresh.take() {
            if view.apply(event) == Change::Synced {
                info!(cluster = %name.name, namespace = %name.namespace, cluster_id = view.cluster_id, topics = view.topics.len(), brokers = view.brokers.len(), "follows the quorum");
                let mut state = quorum.state.write();
                state.view = view;
                state.active_node_id = active_node_id;
                state.contact = Contact::Followed;
                drop(state);
                quorum.changed.notify_waiters();
                triggers.rebalanced(name);
                triggers.topics(name);
            } else {
                fresh = Some(view);
            }
            continue;
        }
        let (change, has_more_room) = {
            let view = &mut quorum.state.write().view;
            let before = view.room();
            (view.apply(event), view.room().is_more_than(before))
        };
        if has_more_room {
            // Topics may be waiting for room.
            triggers.topics(name);
        }
        match change {
            Change::Topic(topic) => {
                triggers.topic(name, &topic);
                cluster_due.get_or_insert_with(|| Instant::now() + quorum.counts_pause);
            }
            Change::Cluster => {
                quorum.changed.notify_waiters();
                cluster_due.get_or_insert_with(Instant::now);
            }
            Change::Nothing | Change::Synced => {}
        }
    }
}

async fn open(
    client: &ActiveController,
) -> Result<(tonic::Streaming<foz_api::v1::ClusterEvent>, i32), CallError> {
    let watch = |channel| async move {
        AdminClient::new(channel)
            .watch_cluster(WatchClusterRequest {})
            .await
    };
    let stream = client.call(watch).await?.into_inner();
    let describe = |channel| async move {
        AdminClient::new(channel)
            .describe_quorum(DescribeQuorumRequest {})
            .await
    };
    let quorum = client.call(describe).await?.into_inner();
    Ok((stream, quorum.active_node_id))
}
