//! How far the groups that this broker coordinates are behind, for metrics.
//!
//! In a round, every few seconds, the coordinators tell what their groups have committed, and the leaders of just those
//! partitions tell where they end. A scrape shows what the last round found, of the coordinators that are known to lead when it
//! comes: no two brokers show the same group.

mod ends;
mod page;
mod round;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use foz_groups::END_AGE_MAX_MS;
use futures::future::join_all;
use prometheus::TextEncoder;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::broker::Broker;
use crate::handlers::leadership::CONFIRMATION_MAX;
use crate::partition::monotonic_ms;
use ends::{EndQueues, KnownEnds};
use round::{NEVER, Round};

/// Scrapes come every fifteen seconds or more: each finds something new.
const ROUND_INTERVAL: Duration = Duration::from_secs(5);

/// Scrapers give up after ten seconds, and want the other metrics until then.
const SCRAPE_MAX: Duration = Duration::from_secs(5);

/// What a broker knows of it.
#[derive(Debug, Default)]
pub(crate) struct GroupLags {
    last_round: ArcSwap<Round>,
    ends: EndQueues,
    /// Held while own partitions are looked at, which a disk can hold up.
    own: Arc<Mutex<()>>,
}

/// Looks from time to time, until `stop`.
pub(crate) async fn keep_group_lags(broker: Arc<Broker>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(ROUND_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = KnownEnds::default();
    loop {
        let round = async {
            tick.tick().await;
            Round::go(&broker, &mut known).await
        };
        tokio::select! {
            () = stop.cancelled() => break,
            round = round => broker.group_lags.last_round.store(Arc::new(round)),
        }
    }
    broker.group_lags.ends.stop();
}

/// The text for a scrape that comes now; none when it cannot be made in time, as while a disk holds up all threads.
pub(crate) async fn scraped(broker: &Broker) -> String {
    let made = timeout(SCRAPE_MAX, make_text(broker)).await;
    made.unwrap_or_default()
}

async fn make_text(broker: &Broker) -> String {
    let now_ms = monotonic_ms();
    let round = broker.group_lags.last_round.load_full();
    if round.began_ms == NEVER || now_ms.saturating_sub(round.began_ms) > END_AGE_MAX_MS {
        // Not even that nothing is left out.
        return String::new();
    }
    let coordinators = &round.coordinators;
    // Who was stopped or cut off does not know by itself that another has taken over, and both would be scraped.
    for coordinator in coordinators {
        coordinator.led.ask_followers(broker, now_ms);
    }
    let deadline = Instant::now() + CONFIRMATION_MAX;
    let confirmed = coordinators
        .iter()
        .map(|coordinator| async move { coordinator.led.confirm(broker, now_ms, deadline).await });
    let confirmed = join_all(confirmed).await;
    // There may be many, and making text of them takes its time.
    blocking(move || {
        let coordinators = round.coordinators.iter().zip(confirmed);
        let families = page::families(coordinators, now_ms);
        // Only without a family or in one would it fail.
        let text = TextEncoder::new().encode_to_string(&families);
        text.unwrap_or_default()
    })
    .await
}
