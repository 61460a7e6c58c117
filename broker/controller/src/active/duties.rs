//! What the active controller does of its own accord, now and then.
//!
//! Each rule bounds what it does in one call; what is left waits for a next time, so that beats and commands
//! get their turn in between.

use std::time::Duration;

use foz_metadata::config::Resolver;
use foz_metadata::rules::{
    DELETED_TOPICS_EXPIRED_PER_CALL_MAX, ELECTIONS_PER_CALL_MAX, EXPIRE_ACTIVE_MS_MIN,
    LEADERS_BALANCED_PER_CALL_MAX, balance_leaders, elect_unclean_where_allowed,
    expire_deleted_topics, free_for_room, over_deleted_topics, raise_internal_topics,
};
use tokio::time::Instant;

use super::free_room::FreeRoom;
use super::{Active, IN_FLIGHT_MAX};
use crate::wall_clock::wall_clock_ms;

/// How often it is looked for partitions that have no leader and may have one: configs change too.
const ELECT_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked for deleted topics whose grace is over.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked for brokers that are short of room.
const FREE_EVERY: Duration = Duration::from_secs(1);
/// The pause after deleted topics were purged for them: brokers remove the files, and tell every ten seconds how much
/// room there is.
const FREED_PAUSE: Duration = Duration::from_secs(30);
/// The pause while a rule does as much as one call may.
const GO_ON_AFTER: Duration = Duration::from_secs(1);
/// Kafka's default of `leader.imbalance.check.interval.seconds`.
const BALANCE_EVERY: Duration = Duration::from_secs(300);
/// A year: an instant further away cannot be written on every machine.
const BALANCE_SECONDS_MAX: u64 = 365 * 24 * 3600;

/// When what is due.
#[derive(Debug)]
pub(super) struct Duties {
    elect_at: Instant,
    raise_at: Instant,
    expire_at: Instant,
    free_at: Instant,
    /// What was over when this term began was said.
    is_over_said: bool,
    free_room: FreeRoom,
    /// `None`: not known yet.
    balance_at: Option<Instant>,
    /// The pending image in which there was nobody to elect.
    elected_offset: i64,
}

impl Duties {
    /// For a controller that becomes active: the one before it may have left anything undone.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            elect_at: now,
            raise_at: now,
            expire_at: now,
            free_at: now,
            is_over_said: false,
            free_room: FreeRoom::default(),
            balance_at: None,
            elected_offset: -1,
        }
    }

    /// A broker was unfenced: there may be room for more replicas.
    pub(super) fn broker_came(&mut self) {
        let now = Instant::now();
        (self.elect_at, self.raise_at) = (now, now);
    }

    /// A broker was fenced: what it led may be allowed an unclean leader.
    pub(super) fn broker_went(&mut self) {
        self.elect_at = Instant::now();
    }
}

impl Active {
    pub(super) fn do_duties(&mut self) {
        if self.is_in_doubt || self.in_flight.len() >= IN_FLIGHT_MAX / 2 {
            return;
        }
        let now = Instant::now();
        if self.duties.elect_at <= now {
            self.duties.elect_at = now + self.elect();
        }
        if self.duties.raise_at <= now {
            self.duties.raise_at = now + self.raise();
        }
        if self.duties.expire_at <= now {
            self.duties.expire_at = now + self.expire();
        }
        if self.duties.free_at <= now {
            self.duties.free_at = now + self.free_room();
        }
        match self.duties.balance_at {
            None => self.duties.balance_at = Some(now + self.balance_interval()),
            Some(at) if at <= now => self.duties.balance_at = Some(now + self.balance()),
            Some(_) => {}
        }
    }

    /// Each answers after what pause it is due again.
    fn elect(&mut self) -> Duration {
        if self.pending.offset() == self.duties.elected_offset {
            return ELECT_EVERY;
        }
        let shared = self.shared.clone();
        let elected = self.run_own("elect leaders", |image| {
            elect_unclean_where_allowed(image, &shared.config.properties)
        });
        match elected {
            Some(0) => {
                self.duties.elected_offset = self.pending.offset();
                ELECT_EVERY
            }
            Some(elected) => {
                tracing::info!(elected, "elected leaders where there was none");
                if elected < ELECTIONS_PER_CALL_MAX {
                    ELECT_EVERY
                } else {
                    Duration::ZERO
                }
            }
            None => ELECT_EVERY,
        }
    }

    fn raise(&mut self) -> Duration {
        let shared = self.shared.clone();
        let raised = self.run_own("raise internal topics", |image| {
            raise_internal_topics(image, &shared.config.properties)
        });
        match raised {
            Some(raised) if raised > 0 => {
                tracing::info!(raised, "partitions of internal topics got more replicas");
                GO_ON_AFTER
            }
            _ => self.balance_interval(),
        }
    }

    fn expire(&mut self) -> Duration {
        let now_ms = wall_clock_ms();
        let active = self.began.elapsed().as_millis();
        let active_ms = i64::try_from(active).unwrap_or(i64::MAX);
        self.say_what_is_over(now_ms);
        let purged = self.run_own("purge deleted topics", |image| {
            expire_deleted_topics(image, now_ms, active_ms)
        });
        let purged = purged.unwrap_or_default();
        if purged > 0 {
            tracing::info!(purged, "deleted topics were purged: their grace is over");
        }
        if purged < DELETED_TOPICS_EXPIRED_PER_CALL_MAX {
            EXPIRE_EVERY
        } else {
            GO_ON_AFTER
        }
    }

    /// Once: should this controller's clock be wrong, there is time to put it right.
    fn say_what_is_over(&mut self, now_ms: i64) {
        if std::mem::replace(&mut self.duties.is_over_said, true) {
            return;
        }
        let ends = over_deleted_topics(&self.pending, now_ms).map(|it| it.grace_ends_at_ms);
        let ends: Vec<_> = ends.collect();
        if let Some(first) = ends.iter().min() {
            tracing::warn!(
                topics = ends.len(),
                now_ms,
                over_for_ms = now_ms.saturating_sub(*first),
                purged_after_ms = EXPIRE_ACTIVE_MS_MIN,
                "the grace of deleted topics is over by the clock of the controller that became active"
            );
        }
    }

    fn free_room(&mut self) -> Duration {
        if self.pending.deleted_topic_count() == 0 {
            return FREE_EVERY;
        }
        let percent = self.number("foz.delete.keep.free.percent");
        let disks = self.shared.loads.lock().disks(self.term);
        let short = self
            .duties
            .free_room
            .short(&disks, percent.unwrap_or_default());
        let topics_max = self.duties.free_room.topics_max();
        let freed = self.run_own("purge deleted topics for room", |image| {
            free_for_room(image, &short, topics_max)
        });
        let freed = freed.unwrap_or_default();
        let Some(oldest) = freed.first() else {
            return FREE_EVERY;
        };
        self.duties.free_room.freed(&disks, freed.len());
        self.shared.metrics.freed(freed.len());
        let (purged, oldest) = (freed.len(), &*oldest.topic.name);
        tracing::warn!(
            purged,
            oldest,
            brokers = ?short,
            "deleted topics were purged before their time: brokers have less room than foz.delete.keep.free.percent"
        );
        FREED_PAUSE
    }

    fn balance(&mut self) -> Duration {
        let shared = self.shared.clone();
        let moved = self.run_own("balance leaders", |image| {
            balance_leaders(image, &shared.config.properties)
        });
        let moved = moved.unwrap_or_default();
        if moved > 0 {
            tracing::info!(moved, "preferred leaders lead again");
        }
        if moved < LEADERS_BALANCED_PER_CALL_MAX {
            self.balance_interval()
        } else {
            GO_ON_AFTER
        }
    }

    fn balance_interval(&self) -> Duration {
        self.number("leader.imbalance.check.interval.seconds")
            .map_or(BALANCE_EVERY, |seconds| {
                Duration::from_secs(seconds.clamp(1, BALANCE_SECONDS_MAX))
            })
    }

    /// What a broker key says that is a number.
    fn number(&self, key: &str) -> Option<u64> {
        let config = &self.shared.config;
        Resolver::new(&self.pending, config.node_id, &config.properties)
            .broker(key)
            .and_then(|found| u64::try_from(found.as_i64()?).ok())
    }
}
