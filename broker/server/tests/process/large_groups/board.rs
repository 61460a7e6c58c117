use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::testbed::PATIENCE;

/// What the members say of themselves.
pub(super) struct Board {
    said: Mutex<Said>,
    changed: Notify,
}

struct Said {
    /// By member: the generation or epoch, and its partitions.
    has: Vec<Option<(i32, Vec<i32>)>>,
    /// Those that have heard of another generation since all were stable.
    told: BTreeSet<usize>,
    last_join: Instant,
    last_change: Instant,
    /// By partition.
    offsets: Vec<Offsets>,
}

#[derive(Clone, Copy, Default)]
struct Offsets {
    tried: i64,
    acknowledged: i64,
    /// The error of the last one that was not.
    refused: i16,
}

impl Board {
    pub(super) fn new(partitions: usize) -> Self {
        let now = Instant::now();
        Self {
            said: Mutex::new(Said {
                has: Vec::new(),
                told: BTreeSet::new(),
                last_join: now,
                last_change: now,
                offsets: vec![Offsets::default(); partitions],
            }),
            changed: Notify::new(),
        }
    }

    /// A member that was not there asks to join; one of KIP-848, which is answered at once, has joined.
    pub(super) fn joins(&self, index: usize) {
        let mut said = self.said.lock();
        said.last_join = Instant::now();
        if said.has.len() <= index {
            said.has.resize(index + 1, None);
        }
    }

    /// It has heard that there is to be another generation.
    pub(super) fn is_told(&self, index: usize) {
        self.said.lock().told.insert(index);
        self.changed.notify_one();
    }

    pub(super) fn has(&self, index: usize, generation: i32, partitions: Vec<i32>) {
        let mut said = self.said.lock();
        said.has[index] = Some((generation, partitions));
        said.last_change = Instant::now();
        drop(said);
        self.changed.notify_one();
    }

    /// What is to be committed for the partition next, which only its owner does.
    pub(super) fn next_offset(&self, partition: i32) -> i64 {
        let offsets = &mut self.said.lock().offsets[partition as usize];
        offsets.tried += 1;
        offsets.tried
    }

    pub(super) fn is_answered(&self, partition: i32, offset: i64, error_code: i16) {
        let offsets = &mut self.said.lock().offsets[partition as usize];
        match error_code {
            0 => offsets.acknowledged = offset,
            _ => offsets.refused = error_code,
        }
    }

    pub(super) fn acknowledged(&self) -> Vec<i64> {
        let said = self.said.lock();
        let acknowledged = said.offsets.iter();
        acknowledged.map(|offsets| offsets.acknowledged).collect()
    }

    /// After something was said; one waits.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether so many members share all partitions evenly in one generation, and how long after the last of them
    /// joined they had them.
    pub(super) fn stable(&self, members: usize) -> Option<Duration> {
        let mut said = self.said.lock();
        let has: Vec<_> = said.has.iter().flatten().collect();
        let (generation, _) = has.first()?;
        let partitions = said.offsets.len();
        let share = partitions / members..=partitions.div_ceil(members);
        let is_even = has.len() == members
            && has
                .iter()
                .all(|(of, owned)| of == generation && share.contains(&owned.len()));
        let owned = || has.iter().flat_map(|(_, owned)| owned);
        let is_stable = is_even
            && owned().count() == partitions
            && owned().collect::<BTreeSet<_>>().len() == partitions;
        if !is_stable {
            return None;
        }
        said.told.clear();
        Some(said.last_change.duration_since(said.last_join))
    }

    /// At least so many members have heard of another generation.
    pub(super) async fn are_told(&self, members: usize) {
        self.until(|said| said.told.len() >= members).await;
    }

    /// Offsets of so many partitions are acknowledged that were not before.
    pub(super) async fn have_committed(&self, partitions: usize) {
        let before = self.acknowledged();
        let is_newer = |(now, before): &(&Offsets, &i64)| now.acknowledged > **before;
        self.until(|said| said.offsets.iter().zip(&before).filter(is_newer).count() >= partitions)
            .await;
    }

    async fn until(&self, is_so: impl Fn(&Said) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&self.said.lock()) {
            assert!(Instant::now() < deadline, "{}", self.say());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// For a test that fails.
    pub(super) fn say(&self) -> String {
        let said = self.said.lock();
        let mut text = format!("{} told;", said.told.len());
        let silent = said.has.iter().filter(|has| has.is_none()).count();
        let _ = write!(text, " {silent} without a generation;");
        let generations: BTreeSet<i32> = said.has.iter().flatten().map(|(of, _)| *of).collect();
        for generation in generations {
            let of = said.has.iter().flatten().filter(|has| has.0 == generation);
            let owned: usize = of.clone().map(|(_, owned)| owned.len()).sum();
            let _ = write!(
                text,
                " {} in {generation} with {owned} partitions;",
                of.count()
            );
        }
        let refused: BTreeSet<i16> = said.offsets.iter().map(|offsets| offsets.refused).collect();
        let _ = write!(text, " commits refused for {refused:?}");
        text
    }
}
