//! Leader election by a Lease: one replica acts, the others stand by.
//!
//! As in client-go, nobody compares clocks with anybody: a replica that stands by counts the Lease as
//! given up when it has not *seen* it change for as long as the Lease says. It watches the Lease, so one
//! that is released is taken within milliseconds. Every write carries the resource version that it was
//! decided on, so of two that try only one succeeds.

mod election;

use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher::watch_object};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use election::{Election, RENEW_DEADLINE, RENEW_PAUSE};

/// The right to act.
#[derive(Debug)]
pub struct Leader {
    api: Api<Lease>,
    name: String,
    election: Arc<Mutex<Election>>,
}

impl Leader {
    /// `identity` is unique among the replicas: the pod's name.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: String, identity: String) -> Self {
        let api = Api::namespaced(client, namespace);
        Self {
            api,
            name,
            election: Arc::new(Mutex::new(Election::new(identity))),
        }
    }

    /// Waits until the Lease is ours.
    pub async fn acquire(&self) {
        let mut seen = std::pin::pin!(watch_object(self.api.clone(), &self.name).default_backoff());
        loop {
            let expires = self.election.lock().expires(Instant::now().into_std());
            tokio::select! {
                event = seen.next() => match event {
                    Some(Ok(lease)) => {
                        self.election.lock().observe(lease, Instant::now().into_std());
                    }
                    Some(Err(error)) => warn!(%error, "the watch of the Lease was interrupted"),
                    None => return std::future::pending().await,
                },
                () = sleep_until(Instant::from_std(expires)) => {}
            }
            if self.try_acquire().await {
                return;
            }
        }
    }

    /// Renews the Lease; returns when it is lost.
    pub async fn keep(&self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEW_PAUSE).await;
            let left = (renewed + RENEW_DEADLINE).saturating_duration_since(Instant::now());
            let asked = Instant::now();
            match timeout(left, self.renew()).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => {
                    warn!("another replica holds the Lease");
                    return;
                }
                Ok(Err(error)) => warn!(%error, "the Lease was not renewed"),
                Err(_) => {}
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                warn!(
                    "the Lease could not be renewed for {} s: given up",
                    RENEW_DEADLINE.as_secs()
                );
                return;
            }
        }
    }

    /// Gives the Lease up, so that another replica takes it at once.
    pub async fn release(&self) {
        let Some(lease) = self.election.lock().release() else {
            return;
        };
        match timeout(
            RENEW_PAUSE,
            self.api.replace(&self.name, &PostParams::default(), &lease),
        )
        .await
        {
            Ok(Ok(_)) => info!("released the Lease"),
            Ok(Err(error)) => warn!(%error, "the Lease was not released; it runs out by itself"),
            Err(_) => warn!("the Lease was not released in time; it runs out by itself"),
        }
    }

    async fn try_acquire(&self) -> bool {
        let now = Timestamp::now();
        let attempt = self
            .election
            .lock()
            .acquire(&self.name, now, Instant::now().into_std());
        let Some(lease) = attempt else { return false };
        let parameters = PostParams::default();
        let written = if lease.metadata.resource_version.is_some() {
            self.api.replace(&self.name, &parameters, &lease).await
        } else {
            self.api.create(&parameters, &lease).await
        };
        match written {
            Ok(lease) => {
                info!(lease = self.name, "holds the Lease");
                self.election
                    .lock()
                    .observe(Some(lease), Instant::now().into_std());
                true
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                false
            }
            Err(error) => {
                warn!(%error, "the Lease was not acquired");
                tokio::time::sleep(RENEW_PAUSE).await;
                false
            }
        }
    }

    /// Whether it is still ours.
    async fn renew(&self) -> Result<bool, kube::Error> {
        let Some(lease) = self.election.lock().renewal(Timestamp::now()) else {
            return Ok(false);
        };
        match self
            .api
            .replace(&self.name, &PostParams::default(), &lease)
            .await
        {
            Ok(lease) => {
                self.election
                    .lock()
                    .observe(Some(lease), Instant::now().into_std());
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                // A hand may have changed it, or a renewal whose answer was lost: only the holder counts.
                let found = self.api.get_opt(&self.name).await?;
                let mut election = self.election.lock();
                election.observe(found, Instant::now().into_std());
                Ok(election.is_holder())
            }
            Err(error) => Err(error),
        }
    }
}
