//! Some controllers and a client that finds the active one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foz_api::ActiveController;
use foz_api::v1::node_client::NodeClient;
use foz_controller::{ControllerConfig, ControllerHandle, Voter, start_on};
use foz_metadata::Image;
use prometheus::{Registry, TextEncoder};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

pub(crate) struct Controllers {
    pub(crate) client: Arc<ActiveController>,
    running: Vec<Option<ControllerHandle>>,
    configs: Vec<ControllerConfig>,
    registries: Vec<Registry>,
    _directories: Vec<TempDir>,
}

impl Controllers {
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_with(count, &[]).await
    }

    /// With these properties in each controller's file.
    pub(crate) async fn start_with(count: usize, properties: &[(&str, &str)]) -> Self {
        let properties: BTreeMap<_, _> = properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Self::start_as(count, |config| config.properties = properties.clone()).await
    }

    /// With what `change` makes of each controller's config.
    pub(crate) async fn start_as(count: usize, change: impl Fn(&mut ControllerConfig)) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..count {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let voters: Vec<Voter> = (1000..)
            .zip(&listeners)
            .map(|(node_id, listener)| Voter {
                node_id,
                address: listener.local_addr().unwrap().to_string(),
            })
            .collect();
        let directories: Vec<_> = (0..count).map(|_| TempDir::new().unwrap()).collect();
        let configs: Vec<_> = voters
            .iter()
            .zip(&directories)
            .map(|(voter, directory)| {
                let mut config = ControllerConfig::new(
                    voter.node_id,
                    voter.address.clone(),
                    directory.path().to_owned(),
                    voters.clone(),
                    "test".to_owned(),
                );
                config.lease = Duration::from_millis(600);
                change(&mut config);
                config
            })
            .collect();
        let mut running = Vec::new();
        let registries: Vec<_> = (0..count).map(|_| Registry::new()).collect();
        for ((listener, config), registry) in listeners.into_iter().zip(&configs).zip(&registries) {
            let handle = start_on(listener, config.clone(), registry).await.unwrap();
            running.push(Some(handle));
        }
        let addresses = voters.into_iter().map(|voter| voter.address).collect();
        let client = Arc::new(ActiveController::new(addresses));
        let controllers = Self {
            client,
            running,
            configs,
            registries,
            _directories: directories,
        };
        controllers.active().await;
        controllers
    }

    fn find_active(&self) -> Option<usize> {
        self.running.iter().position(|handle| {
            handle
                .as_ref()
                .is_some_and(|handle| handle.quorum().leadership().borrow().is_self)
        })
    }

    /// The position of the active controller, once there is one that has founded the cluster.
    pub(crate) async fn active(&self) -> usize {
        eventually("a controller is active", || {
            self.find_active()
                .is_some_and(|at| !self.image_of(at).cluster_id().is_empty())
        })
        .await;
        self.find_active().unwrap()
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        let at = self
            .find_active()
            .or_else(|| self.running.iter().position(Option::is_some));
        self.image_of(at.unwrap())
    }

    pub(crate) fn image_of(&self, at: usize) -> Arc<Image> {
        self.running[at].as_ref().unwrap().image()
    }

    pub(crate) fn handle(&self, at: usize) -> &ControllerHandle {
        self.running[at].as_ref().unwrap()
    }

    /// Whether this controller has heard who is active.
    pub(crate) fn knows_active(&self, at: usize) -> bool {
        let handle = self.running[at].as_ref().unwrap();
        let leadership = handle.quorum().leadership();
        leadership.borrow().leader.is_some()
    }

    pub(crate) fn quorum_of(&self, at: usize) -> &foz_quorum::Quorum {
        self.running[at].as_ref().unwrap().quorum()
    }

    /// What Prometheus is told of the first controller.
    pub(crate) fn metrics(&self) -> String {
        self.metrics_of(0)
    }

    pub(crate) fn metrics_of(&self, at: usize) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registries[at].gather())
            .unwrap()
    }

    pub(crate) fn lease_ms(&self) -> i32 {
        self.configs[0].lease.as_millis().try_into().unwrap()
    }

    pub(crate) fn address(&self, at: usize) -> &str {
        &self.configs[at].listen
    }

    pub(crate) async fn channel_to(&self, at: usize) -> Channel {
        let address = format!("http://{}", self.address(at));
        Endpoint::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.channel_to(self.active().await).await
    }

    pub(crate) async fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel().await)
    }

    /// Hard: without handing leadership over first.
    pub(crate) async fn stop_one(&mut self, at: usize, hard: bool) {
        let handle = self.running[at].take().unwrap();
        if hard {
            handle.quorum().clone().stop().await;
        }
        handle.stop().await;
    }

    pub(crate) async fn restart_one(&mut self, at: usize) {
        let handle = foz_controller::start(self.configs[at].clone(), &Registry::new()).await;
        self.running[at] = Some(handle.unwrap());
    }

    pub(crate) async fn stop(self) {
        for handle in self.running.into_iter().flatten() {
            handle.stop().await;
        }
    }
}

pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}
