//! Somebody who watches the cluster, as the operator does.

use std::time::Duration;

use foz_api::v1;
use foz_api::v1::cluster_event::Event;
use tonic::Streaming;

use crate::controllers::Controllers;
use crate::support::admin;

pub(crate) struct Watcher(Streaming<v1::ClusterEvent>);

impl Watcher {
    /// Also gives what was told of the state in which it began.
    pub(crate) async fn start(controllers: &Controllers) -> (Self, Vec<Event>) {
        let mut admin = admin(controllers).await;
        let events = admin.watch_cluster(v1::WatchClusterRequest {}).await;
        let mut watcher = Self(events.unwrap().into_inner());
        let mut told = Vec::new();
        loop {
            match watcher.next().await {
                Event::Synced(_) => return (watcher, told),
                event => told.push(event),
            }
        }
    }

    /// Passes over events until there is one that is wanted.
    pub(crate) async fn next_that<T>(&mut self, wanted: impl Fn(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    async fn next(&mut self) -> Event {
        let message = tokio::time::timeout(Duration::from_secs(10), self.0.message());
        let message = message.await.expect("an event within 10 s").unwrap();
        message.unwrap().event.unwrap()
    }
}
