//! Who asks, and what for: the context that every handler gets.

use std::net::SocketAddr;
use std::sync::Arc;

use foz_replication::CatchUpPace;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::authorizer::{Operation, Principal, Resource};
use crate::broker::Broker;

/// Where a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    Clients,
    /// The other nodes.
    Replication,
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) principal: Principal,
    pub(crate) listener: Listener,
    pub(crate) peer: SocketAddr,
    /// Of connections to the listener of clients, in the order in which they were accepted; from 1. 0 of others.
    pub(crate) number: u64,
    /// Cancelled when nobody waits for answers any longer: long polls end.
    pub(crate) gone: CancellationToken,
    /// How many requests it has begun. A follower that asks for something new while its fetch waits has no use for
    /// waiting any longer.
    pub(crate) requests_begun: watch::Sender<u64>,
    /// How fast a follower gets what it missed; none before its first fetch.
    pub(crate) catch_up: Mutex<Option<CatchUpPace>>,
}

impl Client {
    /// A client of a plaintext listener.
    pub(crate) fn anonymous(
        peer: SocketAddr,
        listener: Listener,
        number: u64,
        gone: CancellationToken,
    ) -> Self {
        Self {
            principal: match listener {
                Listener::Clients => Principal::anonymous(),
                Listener::Replication => Principal::node(),
            },
            listener,
            peer,
            number,
            gone,
            requests_begun: watch::Sender::new(0),
            catch_up: Mutex::new(None),
        }
    }
}

/// One request, its body apart.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    pub(crate) broker: Arc<Broker>,
    pub(crate) client: Arc<Client>,
    /// Empty when the client gave none.
    pub(crate) client_id: String,
    pub(crate) version: i16,
}

impl RequestContext {
    /// May the client do this?
    pub(crate) fn allows(&self, operation: Operation, resource: &Resource<'_>) -> bool {
        self.broker
            .authorizer
            .allows(&self.client.principal, operation, resource)
    }
}
