//! The process was asked to end: what it and the lease thread tell each other until the broker may stop.
//!
//! The lease thread asks with each beat for the restart grant, and the broker serves on in full meanwhile. It waits
//! for no longer than the process insists, and not for controllers that are not there at all: then the
//! cluster is being taken down, and nobody will ever answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

/// How much the broker wants to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// It does not.
    None,
    /// When it has the grant.
    Asks,
    /// In any case.
    Insists,
}

/// Silent for so long, it is looked whether any controller is there at all.
const SILENT_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A controller that lives takes a connection sooner.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// Shared by the process and the lease threads that come one after the other.
#[derive(Debug)]
pub(super) struct StopWish {
    urgency: watch::Sender<Urgency>,
    is_granted: watch::Sender<bool>,
    /// When a controller last answered a beat.
    answered: watch::Sender<Option<Instant>>,
}

/// Why a broker waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitEnd {
    /// It has the grant, and others lead.
    Granted,
    /// It stops all the same.
    Insists,
    /// There is nobody who could grant anything.
    NoController,
}

impl StopWish {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            urgency: watch::Sender::new(Urgency::None),
            is_granted: watch::Sender::new(false),
            answered: watch::Sender::new(None),
        })
    }

    /// What the beats are to say.
    pub(super) fn urgency(&self) -> watch::Receiver<Urgency> {
        self.urgency.subscribe()
    }

    /// The broker leaves, whether it may or not.
    pub(super) fn insist(&self) {
        self.urgency.send_replace(Urgency::Insists);
    }

    /// A controller has answered a beat.
    pub(super) fn answered(&self, may_stop: bool) {
        self.answered.send_replace(Some(Instant::now()));
        self.is_granted
            .send_if_modified(|granted| std::mem::replace(granted, may_stop) != may_stop);
    }

    /// Has the beats ask, and waits. `controllers` are the addresses of all of them.
    pub(super) async fn wait(
        &self,
        mut insists: watch::Receiver<bool>,
        controllers: &[String],
    ) -> WaitEnd {
        self.urgency.send_replace(Urgency::Asks);
        let mut is_granted = self.is_granted.subscribe();
        tokio::select! {
            biased;
            Ok(_) = is_granted.wait_for(|granted| *granted) => WaitEnd::Granted,
            Ok(_) = insists.wait_for(|insists| *insists) => {
                self.insist();
                WaitEnd::Insists
            }
            () = self.until_nobody_is_there(controllers) => {
                warn!("no controller answers, nor is any there: the broker stops without a grant");
                WaitEnd::NoController
            }
        }
    }

    /// A controller that answers nothing may be in the middle of an election; it is waited for.
    async fn until_nobody_is_there(&self, controllers: &[String]) {
        let began = Instant::now();
        loop {
            sleep(LOOK_EVERY).await;
            let heard = self.answered.borrow().map_or(began, |at| at.max(began));
            if heard.elapsed() >= SILENT_MAX && !is_any_there(controllers).await {
                return;
            }
        }
    }
}

async fn is_any_there(controllers: &[String]) -> bool {
    let mut connecting = JoinSet::new();
    for address in controllers.iter().cloned() {
        connecting.spawn(timeout(CONNECT_MAX, TcpStream::connect(address)));
    }
    while let Some(connected) = connecting.join_next().await {
        if matches!(connected, Ok(Ok(Ok(_)))) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn waits_for_the_grant_and_no_longer_than_it_insists() {
        let wish = StopWish::new();
        let urgency = wish.urgency();
        let (insist, insists) = watch::channel(false);
        let waits = tokio::spawn({
            let (wish, insists) = (Arc::clone(&wish), insists.clone());
            async move { wish.wait(insists, &[]).await }
        });
        wish.answered(false);
        while *urgency.borrow() == Urgency::None {
            tokio::task::yield_now().await;
        }
        assert_eq!(*urgency.borrow(), Urgency::Asks);
        assert!(!waits.is_finished());
        wish.answered(true);
        assert_eq!(waits.await.unwrap(), WaitEnd::Granted);
        // The grant has ended since.
        wish.answered(false);
        insist.send_replace(true);
        assert_eq!(wish.wait(insists, &[]).await, WaitEnd::Insists);
        assert_eq!(*urgency.borrow(), Urgency::Insists);
    }

    #[tokio::test(start_paused = true)]
    async fn controllers_that_are_there_are_waited_for_though_they_do_not_answer() {
        let wish = StopWish::new();
        let (_insist, insists) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap().to_string();
        let gone = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().to_string()
        };
        wish.answered(false);
        let silent = 3 * SILENT_MAX;
        let both = [gone.clone(), there];
        let waited = timeout(silent, wish.wait(insists.clone(), &both)).await;
        assert!(waited.is_err(), "{waited:?}");
        let asked = Instant::now();
        let waited = wish.wait(insists, &[gone]).await;
        assert_eq!(waited, WaitEnd::NoController);
        assert!(asked.elapsed() >= SILENT_MAX);
    }
}
