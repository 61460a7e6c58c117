//! What the active controller does of its own accord, now and then.
//!
//! Each rule bounds what it does in one call; what is left waits for a next time, so that beats and commands
//! get their turn in between.

use std::time::Duration;

use foz_metadata::config::Resolver;
use foz_metadata::rules::{
    ELECTIONS_PER_CALL_MAX, LEADERS_BALANCED_PER_CALL_MAX, balance_leaders,
    elect_unclean_where_allowed, raise_internal_topics,
};
use tokio::time::Instant;

use super::{Active, IN_FLIGHT_MAX};

/// How often it is looked for partitions that have no leader and may have one: configs change too.
const ELECT_EVERY: Duration = Duration::from_secs(2);
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
        let config = &self.shared.config;
        Resolver::new(&self.pending, config.node_id, &config.properties)
            .broker("leader.imbalance.check.interval.seconds")
            .and_then(|found| u64::try_from(found.as_i64()?).ok())
            .map_or(BALANCE_EVERY, |seconds| {
                Duration::from_secs(seconds.clamp(1, BALANCE_SECONDS_MAX))
            })
    }
}
