//! Accepts connections, up to a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::connection;
use crate::broker::Broker;
use crate::request::Listener;

/// Pause after `accept` failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `stop`; then no new one is accepted, and each finishes what is in flight.
/// Returns when the last has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    kind: Listener,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connections_max = connections_max(&broker, kind);
        if open.fetch_add(1, Ordering::Relaxed) >= connections_max {
            open.fetch_sub(1, Ordering::Relaxed);
            warn!(%peer, connections_max, "connection refused: max.connections are open");
            continue;
        }
        let guard = Counted {
            open: Arc::clone(&open),
            broker: Arc::clone(&broker),
        };
        guard.broker.metrics.connections.inc();
        let number = match kind {
            Listener::Clients => broker.client_connections.fetch_add(1, Ordering::AcqRel) + 1,
            Listener::Replication => 0,
        };
        let (broker, stop) = (Arc::clone(&broker), stop.clone());
        connections.spawn(async move {
            let _guard = guard;
            connection::serve(stream, peer, number, broker, kind, stop).await;
        });
    }
    // Refused, a client looks elsewhere; in the backlog it would wait for the end of the process.
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// `max.connections` of this moment. Where it was lowered, those that are open stay. Nodes are as many as
/// there are.
fn connections_max(broker: &Broker, kind: Listener) -> usize {
    match kind {
        Listener::Clients => {
            usize::try_from(broker.config_number("max.connections")).unwrap_or(usize::MAX)
        }
        Listener::Replication => usize::MAX,
    }
}

/// Counts down when the connection ends, however it ends.
struct Counted {
    open: Arc<AtomicUsize>,
    broker: Arc<Broker>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.broker.metrics.connections.dec();
    }
}
