//! What lies between controllers: a relay for each direction of each pair, whose connections can be broken
//! while both ends live.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::Group;

/// From each controller to each other one.
pub(crate) struct Proxies {
    relays: Vec<Relay>,
    broken: Arc<AtomicUsize>,
}

struct Relay {
    from: usize,
    to: usize,
    /// Changes when connections are to break.
    breaks: watch::Sender<()>,
    listens: JoinHandle<()>,
}

impl Proxies {
    /// Between controllers that do not run yet.
    pub(crate) async fn before(group: &mut Group) -> Self {
        let broken = Arc::new(AtomicUsize::new(0));
        let mut relays = Vec::new();
        for from in 0..group.voters.len() {
            let mut routes = group.voters.clone();
            for to in (0..group.voters.len()).filter(|to| *to != from) {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let target = group.voters[to].address.clone();
                routes[to].address = listener.local_addr().unwrap().to_string();
                let breaks = watch::Sender::new(());
                let listens =
                    tokio::spawn(listen(listener, target, breaks.clone(), broken.clone()));
                relays.push(Relay {
                    from,
                    to,
                    breaks,
                    listens,
                });
            }
            group.routes.push(routes);
        }
        Self { relays, broken }
    }

    /// Breaks every connection; the next ones are taken.
    pub(crate) fn break_all(&self) {
        for relay in &self.relays {
            relay.breaks.send_replace(());
        }
    }

    /// Connections that broke.
    pub(crate) fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }

    /// Breaks the connections from one to another, and refuses the next ones.
    pub(crate) fn refuse(&self, from: usize, to: usize) {
        let is_it = |relay: &&Relay| (relay.from, relay.to) == (from, to);
        let relay = self.relays.iter().find(is_it).unwrap();
        relay.listens.abort();
        relay.breaks.send_replace(());
    }
}

async fn listen(
    listener: TcpListener,
    target: String,
    breaks: watch::Sender<()>,
    broken: Arc<AtomicUsize>,
) {
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let (target, mut breaks, broken) = (target.clone(), breaks.subscribe(), broken.clone());
        tokio::spawn(async move {
            // An error: it does not run yet, and the connection closes.
            let Ok(mut far) = TcpStream::connect(target).await else {
                return;
            };
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = breaks.changed() => {
                    broken.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
}
