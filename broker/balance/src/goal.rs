//! What a plan is for, and how even is even.

use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// Fill brokers that are new up to the mean. Nothing moves anywhere else.
    AddedBrokers(BTreeSet<i32>),
    /// Take everything off these brokers. Nothing else moves.
    DrainBrokers(BTreeSet<i32>),
    /// Even out everything: racks, then replicas, bytes, leaders, traffic.
    Full,
}

/// A broker that has twice its share is uneven in any case.
const PERCENT_MAX: u32 = 100;

/// How far two brokers may lie apart before it is worth a move, as a share of the mean of all brokers.
///
/// One replica or one leader is always allowed, since it cannot be divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    pub replicas_percent: u32,
    pub bytes_percent: u32,
    pub leaders_percent: u32,
    pub traffic_percent: u32,
    /// A difference of bytes below this is never worth a copy, however few bytes there are.
    pub least_bytes: u64,
    /// The same for traffic.
    pub least_bytes_per_second: u64,
    /// No broker gets a replica that fills its disk beyond this share of its capacity.
    pub disk_limit_percent: u32,
    /// How far a broker may be from its share of replicas before anybody should begin by himself to even out. More than
    /// what a plan leaves, so that its end is no new beginning; of bytes and traffic, which move by themselves, several
    /// times as much (see [`Uneven`](crate::Uneven)).
    pub begin_percent: u32,
}

impl Thresholds {
    /// For people who give one number: by how many percent the replicas of a broker may differ from its share. All
    /// others follow from it. 0: they gave none.
    #[must_use]
    pub fn of_percent(percent: u32) -> Self {
        let default = Self::default();
        if percent == 0 {
            return default;
        }
        let percent = percent.min(PERCENT_MAX);
        let part = |of_default: u32| of_default * percent / default.begin_percent;
        Self {
            replicas_percent: part(default.replicas_percent),
            bytes_percent: part(default.bytes_percent),
            leaders_percent: part(default.leaders_percent),
            traffic_percent: part(default.traffic_percent),
            begin_percent: percent,
            ..default
        }
    }
}

impl Default for Thresholds {
    /// Replicas: a little below the ten percent that people count with, so that it holds whichever way they divide.
    fn default() -> Self {
        Self {
            replicas_percent: 8,
            bytes_percent: 15,
            leaders_percent: 10,
            traffic_percent: 25,
            least_bytes: 1 << 30,
            least_bytes_per_second: 1 << 20,
            disk_limit_percent: 90,
            begin_percent: 10,
        }
    }
}
