//! Members of groups.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use rdkafka::consumer::Consumer;

use crate::check::until;
use crate::record::next;
use crate::{PARTITIONS, Scenario};

impl Scenario {
    pub(crate) fn join(&self, group: &str, config: &[(&str, &str)]) -> Result<Member> {
        let consumer = self.consumer(group, config)?;
        consumer.subscribe(&[&self.topic])?;
        let owned = Arc::new(Mutex::new(BTreeSet::new()));
        let stops = Arc::new(AtomicBool::new(false));
        let (shared, told) = (Arc::clone(&owned), Arc::clone(&stops));
        let thread = std::thread::spawn(move || -> Result<()> {
            while !told.load(Ordering::Relaxed) {
                next(&consumer, Duration::from_millis(100))?;
                let assigned = consumer.assignment()?;
                let assigned = assigned
                    .elements()
                    .iter()
                    .map(|it| it.partition())
                    .collect();
                *shared.lock().map_err(|_| anyhow!("poisoned"))? = assigned;
            }
            Ok(())
        });
        Ok(Member {
            owned,
            stops,
            thread,
        })
    }
}

/// A member of a group that polls and never commits.
pub(crate) struct Member {
    owned: Arc<Mutex<BTreeSet<i32>>>,
    stops: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Member {
    pub(crate) fn owned(&self) -> BTreeSet<i32> {
        self.owned
            .lock()
            .map(|owned| owned.clone())
            .unwrap_or_default()
    }

    pub(crate) fn leave(self) -> Result<()> {
        self.stops.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("a member panicked"))?
    }
}

pub(crate) fn share(one: &Member, two: &Member) -> Result<()> {
    until("two members share the partitions", || {
        let (a, b) = (one.owned(), two.owned());
        Ok(a.is_disjoint(&b) && a.len() + b.len() == PARTITIONS && a.len() >= 2 && b.len() >= 2)
    })
}
