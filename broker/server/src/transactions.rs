//! The transactions of the partitions of `__transaction_state` that this broker leads.
//!
//! `foz-transactions` decides; an actor for each partition feeds it requests, time, producer ids and the outcomes of its
//! appends and markers, and carries out what it says. A coordinator lives as long as this broker leads its partition in one
//! leader epoch, which is its coordinator epoch.

mod actor;
mod adding;
mod figures;
mod load;
mod markers;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foz_groups::partition_for;
use foz_metadata::Image;
use foz_metadata::config::Resolver;
use foz_metadata::image::TRANSACTION_VERSION_FEATURE;
use foz_transactions::{Request, Response, Route, TransactionConfig, merge, split};
use futures::future::join_all;
use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::broker::Broker;
use crate::coordinator_log::{CoordinatorLog, led_partitions};
use crate::internal_topics::TRANSACTION_STATE;
use crate::partition::monotonic_ms;
use crate::request::RequestContext;
use actor::ActorHandle;
use adding::AddingQueues;
pub(crate) use adding::add;
pub(crate) use figures::Figures;
use markers::MarkerQueues;

/// The coordinators that run now, by partition, and the markers that they send.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    running: Mutex<Running>,
    markers: MarkerQueues,
    adding: AddingQueues,
}

#[derive(Debug, Default)]
struct Running {
    actors: BTreeMap<i32, ActorHandle>,
    /// For all actors; none before the first.
    followed: Option<Followed>,
}

/// What coordinators go by besides their partition.
#[derive(Debug, Clone)]
struct Followed {
    /// At least as new as the one by which this broker leads any of them.
    image: Arc<ArcSwap<Image>>,
    config: watch::Sender<TransactionConfig>,
}

impl Transactions {
    /// Starts and ends coordinators as leadership moves. Called after the partitions have followed the same image.
    pub(crate) fn apply(&self, broker: &Broker, image: &Arc<Image>) {
        let mut running = self.running.lock();
        let led = led_partitions(image, TRANSACTION_STATE, broker.node_id);
        running
            .actors
            .retain(|index, actor| led.get(index) == Some(&actor.led()));
        if led.is_empty() {
            // Nobody looks at that image any longer.
            running.followed = None;
            return;
        }
        let followed = running.follow(broker, image);
        for (index, led) in led {
            if running.actors.contains_key(&index) {
                continue;
            }
            if let Some(partition) = broker.partitions.get(led.0, index) {
                let log = CoordinatorLog {
                    partition,
                    leader_epoch: led.1,
                };
                let actor = ActorHandle::start(broker.me(), led.0, log, followed.clone());
                running.actors.insert(index, actor);
            }
        }
    }

    /// Ends all.
    pub(crate) fn stop(&self) {
        self.running.lock().actors.clear();
        self.markers.stop();
        self.adding.stop();
    }

    /// Sends a request to the coordinators that it concerns and puts their answers together. None: the connection is to
    /// be closed.
    pub(crate) async fn ask(&self, context: &RequestContext, request: Request) -> Option<Response> {
        let version = context.version;
        let empty = request.empty_response();
        let image = context.broker.image();
        let Some(topic) = image.topic(TRANSACTION_STATE) else {
            // Nobody asked for a coordinator yet, so there are no transactions.
            return Some(match request {
                Request::ListTransactions(_) => empty,
                other => other.error_response(version, ResponseError::CoordinatorNotAvailable),
            });
        };
        let count = topic.partitions.len() as i32;
        let mut asked = Vec::new();
        for (route, part) in split(request, version, |id| partition_for(id, count)) {
            match route {
                Route::Partition(index) => asked.push(self.ask_one(context, index, part)),
                Route::Every => {
                    let indexes: Vec<i32> = self.running.lock().actors.keys().copied().collect();
                    let each = indexes.into_iter();
                    asked.extend(each.map(|index| self.ask_one(context, index, part.clone())));
                }
            }
        }
        // Together: of those that a broker asks for its clients each may wait for a record.
        let responses: Option<Vec<Response>> = join_all(asked).await.into_iter().collect();
        let responses = responses?.into_iter().filter(counts_in_list);
        Some(merge(responses.collect(), empty))
    }

    async fn ask_one(
        &self,
        context: &RequestContext,
        index: i32,
        request: Request,
    ) -> Option<Response> {
        let refused = request.error_response(context.version, ResponseError::NotCoordinator);
        let tells_only = matches!(
            request,
            Request::DescribeTransactions(_) | Request::ListTransactions(_)
        );
        let asked_ms = monotonic_ms();
        let asked = {
            let running = self.running.lock();
            let actor = running.actors.get(&index);
            actor.map(|actor| (actor.led_in(), actor.ask(context, request)))
        };
        let Some((led, asked)) = asked else {
            return Some(refused);
        };
        let answer = tokio::select! {
            biased;
            // It never comes when the coordinator has ended.
            answer = asked => answer.unwrap_or_else(|_| Some(refused.clone())),
            // Nobody is there to be answered, or this broker is stopping.
            () = context.client.gone.cancelled() => return Some(refused),
        };
        if answer.is_none() || tells_only || answer.as_ref() == Some(&refused) {
            return answer;
        }
        // Much is answered by what the coordinator remembers. One that was stopped or cut off does not know of its
        // successor, and would tell of the last transaction what the client asks of the next.
        match led.counts(&context.broker, asked_ms).await {
            true => answer,
            false => Some(refused),
        }
    }
}

/// While a cluster comes from a version without transactions there are brokers that take no markers: the feature is
/// written when there are none left.
pub(crate) fn are_served(image: &Image) -> bool {
    let mut features = image.features();
    features.any(|(name, _)| name == TRANSACTION_VERSION_FEATURE)
}

/// A coordinator that cannot say anything is as good as none, or one record that cannot be read would hide all
/// transactions of a broker.
fn counts_in_list(response: &Response) -> bool {
    let not_coordinator = ResponseError::NotCoordinator.code();
    !matches!(response, Response::ListTransactions(it) if it.error_code == not_coordinator)
}

impl Running {
    /// Before actors are started by the same image, and before clients are answered by it.
    fn follow(&mut self, broker: &Broker, image: &Arc<Image>) -> Followed {
        let config = transaction_config(broker, image);
        let Some(followed) = &self.followed else {
            let followed = Followed {
                image: Arc::new(ArcSwap::from(Arc::clone(image))),
                config: watch::Sender::new(config),
            };
            return self.followed.insert(followed).clone();
        };
        followed.image.store(Arc::clone(image));
        followed.config.send_if_modified(|known| {
            let is_known = *known == config;
            *known = config;
            !is_known
        });
        followed.clone()
    }
}

fn transaction_config(broker: &Broker, image: &Image) -> TransactionConfig {
    let resolver = Resolver::new(image, broker.node_id, &broker.statics);
    let number = |key: &str| {
        let value = resolver.broker(key).and_then(|value| value.as_i64());
        value.expect("the key is in the table, with a number")
    };
    TransactionConfig {
        transaction_max_timeout_ms: number("transaction.max.timeout.ms") as i32,
        transactional_id_expiration_ms: number("transactional.id.expiration.ms"),
        transaction_abort_timed_out_transaction_cleanup_interval_ms: number(
            "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        ),
        transaction_remove_expired_transaction_cleanup_interval_ms: number(
            "transaction.remove.expired.transaction.cleanup.interval.ms",
        ),
        transaction_version: image.transaction_version() as i16,
        ..TransactionConfig::default()
    }
}
