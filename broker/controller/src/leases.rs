//! Who is alive: the leases of brokers, as a plain state machine.
//!
//! Pure: time is passed in, as what has passed on a monotonic clock since any fixed moment. So
//! `foz-simulator` plays the very same rules.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long a broker stays unfenced without a beat. Brokers beat every 500 ms.
pub const LEASE: Duration = Duration::from_millis(2500);
/// How long a broker that lives (it still observes the metadata), and whose lease stream closed, may take to
/// open another one. Brokers pause for 100 ms before they try. A process that died is not waited for.
pub const RECONNECT_GRACE: Duration = Duration::from_millis(500);
/// A pause between two calls of [`Leases`] that is longer says that this process stood still.
pub const STALL: Duration = Duration::from_millis(750);

/// The leases that the active controller knows. Nobody is in here without a registration.
#[derive(Debug)]
pub struct Leases {
    lease: Duration,
    reconnect_grace: Duration,
    /// See [`STALL`].
    stall: Duration,
    brokers: BTreeMap<i32, Lease>,
    /// When this controller became active.
    began: Duration,
    last_look: Duration,
    /// Until then a closed connection says nothing: brokers close theirs to a controller that stands still.
    closes_mean_nothing_until: Duration,
}

#[derive(Debug)]
struct Lease {
    epoch: i64,
    ends: Duration,
    /// The stream that holds it; `None` from the takeover, or after the stream closed.
    stream: Option<u64>,
    /// The stream closed and no other was opened since.
    is_disconnected: bool,
    /// What must be applied before the broker is unfenced.
    catch_up_offset: i64,
    /// The broker said that it exits: it is not unfenced again.
    is_leaving: bool,
}

/// One beat of one stream.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    /// Whose it is.
    pub node_id: i32,
    /// Of its registration.
    pub epoch: i64,
    /// The stream it came on; no two have the same number.
    pub stream: u64,
    /// Up to where the broker has applied the metadata.
    pub applied_offset: i64,
    /// The broker wants to stop, and to hand leadership over before.
    pub is_stopping: bool,
    /// It stops in any case.
    pub is_insisting: bool,
    /// The broker exits.
    pub is_leaving: bool,
    /// Its disk has no room.
    pub is_short_of_space: bool,
}

/// What a beat asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The broker has caught up: unfence it if it is fenced.
    Unfence,
    /// The broker exits: fence it if it is not fenced.
    Fence,
    /// It has not caught up yet.
    Nothing,
}

impl Leases {
    /// For a controller that becomes active: every broker in `alive` (node id, epoch) gets a fresh
    /// lease, since nobody knows when it last beat.
    pub fn new(
        lease: Duration,
        reconnect_grace: Duration,
        stall: Duration,
        alive: impl Iterator<Item = (i32, i64)>,
        now: Duration,
    ) -> Self {
        let brokers = BTreeMap::new();
        let mut leases = Self {
            lease,
            reconnect_grace,
            stall,
            brokers,
            began: now,
            last_look: now,
            closes_mean_nothing_until: now,
        };
        leases.cover(alive, now);
        leases
    }

    /// Gives a fresh lease to each of `alive` (node id, epoch) that has none: nobody stays unfenced
    /// without one, also when the batch that was to fence it was lost.
    pub fn cover(&mut self, alive: impl Iterator<Item = (i32, i64)>, now: Duration) {
        for (node_id, epoch) in alive {
            self.brokers.entry(node_id).or_insert(Lease {
                epoch,
                ends: now + self.lease,
                stream: None,
                is_disconnected: false,
                catch_up_offset: i64::MAX,
                is_leaving: false,
            });
        }
    }

    /// Prolongs a lease. A beat of a new stream or of a new registration begins one: the broker may have
    /// missed anything, so it must first apply `newest_offset`, which is what there is now.
    pub fn beat(&mut self, beat: Beat, newest_offset: i64, now: Duration) -> Wish {
        let ends = now + self.lease;
        let lease = self.brokers.entry(beat.node_id).or_insert_with(|| Lease {
            epoch: beat.epoch,
            ends,
            stream: None,
            is_disconnected: false,
            catch_up_offset: newest_offset,
            is_leaving: false,
        });
        if lease.stream != Some(beat.stream) || lease.epoch != beat.epoch {
            lease.is_leaving = false;
            lease.epoch = beat.epoch;
            lease.stream = Some(beat.stream);
            lease.catch_up_offset = newest_offset;
        }
        lease.ends = ends;
        lease.is_disconnected = false;
        lease.is_leaving |= beat.is_leaving;
        if lease.is_leaving {
            Wish::Fence
        } else if beat.applied_offset >= lease.catch_up_offset {
            Wish::Unfence
        } else {
            Wish::Nothing
        }
    }

    /// The stream closed. A stream that was replaced by a newer one does not count. A process that is
    /// still observing the metadata lives, and gets time to open another stream; one that is not is dead.
    pub fn closed(&mut self, node_id: i32, stream: u64, is_observing: bool, now: Duration) {
        self.forgive_own_stall(now);
        let is_dead = !is_observing && now >= self.closes_mean_nothing_until;
        let Some(lease) = self.brokers.get_mut(&node_id) else {
            return;
        };
        if lease.stream == Some(stream) {
            lease.stream = None;
            lease.is_disconnected = true;
            let grace = if is_dead {
                Duration::ZERO
            } else {
                self.reconnect_grace
            };
            lease.ends = lease.ends.min(now + grace);
        }
    }

    /// The process does not observe the metadata any more. That alone is nothing; without a lease stream
    /// it is dead.
    pub fn stopped_observing(&mut self, node_id: i32, now: Duration) {
        self.forgive_own_stall(now);
        if now < self.closes_mean_nothing_until {
            return;
        }
        if let Some(lease) = self.brokers.get_mut(&node_id)
            && lease.is_disconnected
        {
            lease.ends = lease.ends.min(now);
        }
    }

    /// Whether the broker's connection is known to have closed: another process of the same node need not
    /// wait for the lease.
    pub fn is_disconnected(&self, node_id: i32) -> bool {
        self.brokers
            .get(&node_id)
            .is_none_or(|lease| lease.is_disconnected)
    }

    /// Whether the broker has opened no stream to this controller, though it had time to: a process that lives
    /// looks for the active controller every 100 ms.
    pub fn has_not_come(&self, node_id: i32, now: Duration) -> bool {
        let grace_ends = self.began + self.reconnect_grace;
        now >= grace_ends.max(self.closes_mean_nothing_until)
            && self
                .brokers
                .get(&node_id)
                .is_some_and(|lease| lease.stream.is_none())
    }

    /// Takes out the leases that have ended: (node id, epoch) of brokers to fence.
    pub fn expired(&mut self, now: Duration) -> Vec<(i32, i64)> {
        self.forgive_own_stall(now);
        let ended: Vec<_> = self
            .brokers
            .iter()
            .filter(|(_, lease)| lease.ends <= now)
            .map(|(node_id, lease)| (*node_id, lease.epoch))
            .collect();
        for (node_id, _) in &ended {
            self.brokers.remove(node_id);
        }
        ended
    }

    /// Whether there is anything to take out.
    pub fn has_expired(&mut self, now: Duration) -> bool {
        self.forgive_own_stall(now);
        self.brokers.values().any(|lease| lease.ends <= now)
    }

    /// The quorum did not answer for a while, so beats waited for it: each broker that is connected gets a
    /// fresh lease.
    pub fn renew_connected(&mut self, now: Duration) {
        for lease in self.brokers.values_mut() {
            if !lease.is_disconnected {
                lease.ends = lease.ends.max(now + self.lease);
            }
        }
    }

    /// When this process itself stood still (a suspended machine, a starved runtime), beats were not heard for
    /// that long through no fault of the brokers: every lease is prolonged by as much. Brokers may have closed
    /// their connections by then, and be about to open others.
    fn forgive_own_stall(&mut self, now: Duration) {
        let since_last_look = now.saturating_sub(self.last_look);
        self.last_look = now;
        if since_last_look > self.stall {
            for lease in self.brokers.values_mut() {
                lease.ends += since_last_look;
            }
            self.closes_mean_nothing_until = now + self.reconnect_grace;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_millis(100);
    const LOOSE: Duration = Duration::from_millis(1000);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn leases(alive: &[(i32, i64)], now: Duration) -> Leases {
        Leases::new(LEASE, GRACE, LOOSE, alive.iter().copied(), now)
    }

    fn beat(stream: u64, applied_offset: i64) -> Beat {
        Beat {
            node_id: 0,
            epoch: 5,
            stream,
            applied_offset,
            is_stopping: false,
            is_short_of_space: false,
            is_insisting: false,
            is_leaving: false,
        }
    }

    /// Looks every 100 ms, as the active controller does, and says when the broker was fenced.
    fn expires_after(leases: &mut Leases, from: Duration) -> u64 {
        (0..100)
            .map(|step| step * 100)
            .find(|passed| !leases.expired(from + ms(*passed)).is_empty())
            .expect("a lease ends")
    }

    #[test]
    fn a_takeover_gives_everyone_a_fresh_lease() {
        let start = ms(7_000);
        let mut leases = leases(&[(0, 5), (1, 6)], start);
        assert_eq!(expires_after(&mut leases, start), 2500);
        assert_eq!(leases.brokers.len(), 0);
    }

    #[test]
    fn who_does_not_come_to_a_new_controller_is_missed_after_the_grace() {
        let start = ms(7_000);
        let mut leases = leases(&[(0, 5), (1, 6)], start);
        assert!(!leases.has_not_come(0, start + ms(99)));
        assert!(leases.has_not_come(0, start + ms(100)));
        leases.beat(beat(1, 9), 9, start + ms(101));
        assert!(!leases.has_not_come(0, start + ms(101)));
        assert!(leases.has_not_come(1, start + ms(101)));
        assert!(!leases.has_not_come(2, start + ms(101)), "never alive");

        // The controller stood still, and may not have heard who came.
        leases.has_expired(start + ms(2_000));
        assert!(!leases.has_not_come(1, start + ms(2_099)));
        assert!(leases.has_not_come(1, start + ms(2_100)));
    }

    #[test]
    fn beats_prolong_and_silence_ends_a_lease() {
        let start = ms(7_000);
        let mut leases = leases(&[], start);
        for passed in (0..5000).step_by(500) {
            leases.beat(beat(1, 9), 9, start + ms(passed));
            assert_eq!(leases.expired(start + ms(passed)), []);
        }
        assert_eq!(expires_after(&mut leases, start + ms(4500)), 2500);
    }

    #[test]
    fn a_living_process_gets_the_grace_to_open_another_stream() {
        let start = ms(7_000);
        let mut leases = leases(&[], start);
        leases.beat(beat(1, 9), 9, start);
        leases.closed(0, 1, true, start);
        assert!(leases.is_disconnected(0));
        leases.beat(beat(2, 9), 9, start + ms(50));
        assert!(!leases.is_disconnected(0));
        assert_eq!(leases.expired(start + ms(200)), []);
        // The old stream's end is noticed late.
        leases.closed(0, 1, true, start + ms(200));
        assert_eq!(leases.expired(start + ms(400)), []);
        leases.closed(0, 2, true, start + ms(400));
        assert_eq!(leases.expired(start + ms(499)), []);
        assert_eq!(leases.expired(start + ms(500)), [(0, 5)]);
    }

    #[test]
    fn a_process_without_any_stream_is_dead_at_once() {
        let start = ms(7_000);
        for lease_closes_first in [true, false] {
            let mut leases = leases(&[], start);
            leases.beat(beat(1, 9), 9, start);
            if lease_closes_first {
                leases.closed(0, 1, true, start);
                assert_eq!(leases.expired(start), []);
                leases.stopped_observing(0, start);
            } else {
                leases.stopped_observing(0, start);
                assert_eq!(leases.expired(start + ms(400)), []);
                leases.closed(0, 1, false, start);
            }
            assert_eq!(leases.expired(start + ms(400)), [(0, 5)]);
        }
    }

    #[test]
    fn a_broker_is_unfenced_when_it_has_applied_what_there_was() {
        let start = ms(7_000);
        let mut leases = leases(&[], start);
        assert_eq!(leases.beat(beat(1, 8), 9, start), Wish::Nothing);
        assert_eq!(leases.beat(beat(1, 9), 20, start), Wish::Unfence);
        // It was away: what happened meanwhile has to be applied first.
        assert_eq!(leases.beat(beat(2, 9), 20, start), Wish::Nothing);
        assert_eq!(leases.beat(beat(2, 20), 30, start), Wish::Unfence);
        // A new registration on the same stream begins anew.
        assert_eq!(
            leases.beat(
                Beat {
                    epoch: 31,
                    ..beat(2, 20)
                },
                31,
                start
            ),
            Wish::Nothing
        );
    }

    #[test]
    fn a_broker_that_leaves_stays_fenced_until_it_registers_or_connects_again() {
        let start = ms(7_000);
        let mut leases = leases(&[], start);
        assert_eq!(
            leases.beat(
                Beat {
                    is_leaving: true,
                    ..beat(1, 9)
                },
                9,
                start
            ),
            Wish::Fence
        );
        assert_eq!(leases.beat(beat(1, 9), 9, start), Wish::Fence);
        assert_eq!(leases.beat(beat(2, 9), 9, start), Wish::Unfence);
    }

    #[test]
    fn when_the_controller_itself_stood_still_nobody_is_fenced_for_it() {
        let start = ms(7_000);
        let mut leases = leases(&[(0, 5)], start);
        assert_eq!(leases.expired(start + ms(500)), []);
        assert_eq!(leases.expired(start + ms(60_500)), []);
        assert_eq!(expires_after(&mut leases, start + ms(60_500)), 2000);
    }

    #[test]
    fn after_a_stall_of_the_controller_closed_connections_are_no_deaths() {
        let start = ms(7_000);
        for lease_closes_first in [true, false] {
            let mut leases = leases(&[], start);
            leases.beat(beat(1, 9), 9, start);
            let resumed = start + ms(2400);
            if lease_closes_first {
                leases.closed(0, 1, true, resumed);
                leases.stopped_observing(0, resumed);
            } else {
                leases.stopped_observing(0, resumed);
                leases.closed(0, 1, false, resumed);
            }
            assert_eq!(leases.expired(resumed + ms(99)), []);
            // It is not back in the grace for a reconnect.
            assert_eq!(leases.expired(resumed + ms(100)), [(0, 5)]);
        }
    }

    #[test]
    fn while_the_quorum_is_slow_only_the_disconnected_lose_their_lease() {
        let start = ms(7_000);
        let mut leases = leases(&[(0, 5), (1, 6)], start);
        leases.beat(beat(1, 9), 9, start);
        leases.closed(0, 1, false, start + ms(10));
        for step in 1..25 {
            leases.has_expired(start + ms(100 * step));
        }
        let now = start + ms(2500);
        assert!(leases.has_expired(now));
        leases.renew_connected(now);
        assert_eq!(leases.expired(now), [(0, 5)]);
        for step in 1..25 {
            assert_eq!(leases.expired(now + ms(100 * step)), []);
        }
        assert_eq!(leases.expired(now + LEASE), [(1, 6)]);
    }
}
