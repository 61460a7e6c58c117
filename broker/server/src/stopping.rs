//! From SIGTERM until the process may stop. All its roles go on in full meanwhile.
//!
//! A node stops only with a restart grant ([ADR 0013](../../../docs/adr/0013-the-restart-grant.md)). Where somebody
//! acquired it before, as an operator does that rolls, it is there at once; a process that is told to end by anybody
//! else asks for itself.

use std::time::Duration;

use foz_controller::{ControllerHandle, LetGo};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::process::Signals;
use crate::role::BrokerAsking;

/// So long before the process is killed it stops in any case: to hand over, to answer, to flush and to close takes
/// less.
const STOP_TAKES_MAX: Duration = Duration::from_secs(20);

/// From being told on, a broker takes connections for so long at least. It leads nothing any more, but Kubernetes takes
/// a moment until it sends no new connections to a pod that ends, and clients that start would be turned away.
pub(crate) const TAKES_CONNECTIONS_MIN: Duration = Duration::from_millis(300);

/// Returns when the process may stop, or does all the same: near the end of its grace period, or told a second
/// time. `None`: it is no controller.
pub(crate) async fn until_may_stop(
    broker: Option<BrokerAsking>,
    controller: Option<&ControllerHandle>,
    grace: Duration,
    signals: &mut Signals,
) -> Option<LetGo> {
    let deadline = Instant::now() + grace.saturating_sub(STOP_TAKES_MAX);
    let (insist, insists) = watch::channel(false);
    // The broker first: it asks its own controller, too, where both are one process.
    let asking = async {
        if let Some(broker) = broker {
            broker.until_may_stop(insists.clone()).await;
        }
        match controller {
            Some(controller) => Some(controller.may_stop(insists.clone()).await),
            None => None,
        }
    };
    tokio::pin!(asking);
    tokio::select! {
        let_go = &mut asking => return let_go,
        () = sleep_until(deadline) => {
            warn!(
                grace_ms = grace.as_millis() as u64,
                "the grace period is about to end: stopping in any case"
            );
        }
        signal = signals.next() => info!(signal, "told again: stopping in any case"),
    }
    insist.send_replace(true);
    asking.await
}
