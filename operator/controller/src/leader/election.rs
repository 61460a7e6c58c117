//! Who may hold the Lease, decided from what was seen of it. Pure.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

/// How long a Lease counts that nobody renews.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(10);
/// The holder stops acting when it could not renew for so long: before anybody else may begin.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(7);
/// Between renewals.
pub(super) const RENEW_PAUSE: Duration = Duration::from_secs(2);

/// What is known of the Lease.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    /// Nothing yet: nobody acts on what it does not know.
    Nothing,
    /// There is no Lease.
    Missing,
    /// It was like this since then.
    Lease { lease: Box<Lease>, since: Instant },
}

impl Election {
    pub(super) fn new(identity: String) -> Self {
        Self {
            identity,
            seen: Seen::Nothing,
        }
    }

    /// The Lease as it is; `None` when there is none.
    pub(super) fn observe(&mut self, lease: Option<Lease>, now: Instant) {
        let Some(lease) = lease else {
            self.seen = Seen::Missing;
            return;
        };
        let since = match &self.seen {
            // Told again, as after a watch was mended: that is no sign of life.
            Seen::Lease {
                lease: before,
                since,
            } if before.spec == lease.spec => *since,
            _ => now,
        };
        self.seen = Seen::Lease {
            lease: Box::new(lease),
            since,
        };
    }

    /// When somebody may take it over from its holder, as far as is known.
    pub(super) fn expires(&self, now: Instant) -> Instant {
        match &self.seen {
            Seen::Nothing | Seen::Missing => now + LEASE_DURATION,
            Seen::Lease { lease, since } => *since + duration(lease),
        }
    }

    pub(super) fn is_holder(&self) -> bool {
        matches!(&self.seen, Seen::Lease { lease, .. } if holder(lease) == Some(&self.identity))
    }

    /// The Lease to write to make it ours, if it may be taken.
    pub(super) fn acquire(&self, name: &str, wall: Timestamp, now: Instant) -> Option<Lease> {
        let before = match &self.seen {
            Seen::Nothing => return None,
            Seen::Missing => None,
            Seen::Lease { lease, since } => {
                let held = holder(lease).is_some_and(|holder| *holder != self.identity);
                if held && now < *since + duration(lease) {
                    return None;
                }
                Some(lease)
            }
        };
        let transitions = before.and_then(|lease| lease.spec.as_ref()?.lease_transitions);
        Some(Lease {
            metadata: before.map_or_else(
                || ObjectMeta {
                    name: Some(name.to_owned()),
                    ..ObjectMeta::default()
                },
                |lease| lease.metadata.clone(),
            ),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                acquire_time: Some(MicroTime(wall)),
                renew_time: Some(MicroTime(wall)),
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
                lease_transitions: Some(transitions.unwrap_or(0).saturating_add(1)),
                ..LeaseSpec::default()
            }),
        })
    }

    /// The Lease to write to keep it, if it is ours.
    pub(super) fn renewal(&self, wall: Timestamp) -> Option<Lease> {
        let mut lease = self.own()?;
        lease.spec.as_mut()?.renew_time = Some(MicroTime(wall));
        Some(lease)
    }

    /// The Lease to write to give it up, if it is ours.
    pub(super) fn release(&self) -> Option<Lease> {
        let mut lease = self.own()?;
        let spec = lease.spec.as_mut()?;
        spec.holder_identity = None;
        spec.acquire_time = None;
        spec.renew_time = None;
        Some(lease)
    }

    fn own(&self) -> Option<Lease> {
        match &self.seen {
            Seen::Lease { lease, .. } if self.is_holder() => Some((**lease).clone()),
            _ => None,
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease
        .spec
        .as_ref()?
        .holder_identity
        .as_ref()
        .filter(|holder| !holder.is_empty())
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds);
    seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(LEASE_DURATION, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::{Election, LEASE_DURATION, RENEW_DEADLINE};
    use k8s_openapi::api::coordination::v1::Lease;
    use k8s_openapi::jiff::Timestamp;
    use std::time::{Duration, Instant};

    fn wall(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn election(identity: &str) -> Election {
        Election::new(identity.into())
    }

    /// The Lease as the API server would keep it.
    fn taken(by: &str, at: Instant) -> Lease {
        let mut election = election(by);
        election.observe(None, at);
        let mut lease = election.acquire("foz", wall(1), at).expect("free");
        lease.metadata.resource_version = Some("1".into());
        lease
    }

    #[test]
    fn nobody_takes_what_it_has_not_seen() {
        assert!(
            election("a")
                .acquire("foz", wall(1), Instant::now())
                .is_none()
        );
    }

    #[test]
    fn a_lease_that_is_not_there_is_made_and_one_that_was_released_is_taken_at_once() {
        let now = Instant::now();
        let lease = taken("a", now);
        assert!(lease.metadata.name.as_deref() == Some("foz"));
        let mut a = election("a");
        a.observe(Some(lease), now);
        assert!(a.is_holder());
        let released = a.release().expect("ours");
        let mut b = election("b");
        b.observe(Some(released), now);
        let lease = b.acquire("foz", wall(2), now).expect("released");
        let spec = lease.spec.expect("a spec");
        assert_eq!(spec.holder_identity.as_deref(), Some("b"));
        assert_eq!(spec.lease_transitions, Some(2));
        assert_eq!(lease.metadata.resource_version.as_deref(), Some("1"));
    }

    #[test]
    fn a_lease_is_taken_over_only_when_it_was_not_seen_to_change_for_its_duration() {
        let start = Instant::now();
        let mut b = election("b");
        b.observe(Some(taken("a", start)), start);
        let almost = start + LEASE_DURATION - Duration::from_millis(1);
        assert!(b.acquire("foz", wall(2), almost).is_none());
        // Its renewal starts the time anew, being told the same again does not.
        let mut a = election("a");
        a.observe(Some(taken("a", start)), start);
        let renewed = a.renewal(wall(9)).expect("ours");
        b.observe(Some(renewed.clone()), almost);
        let later = start + LEASE_DURATION + Duration::from_secs(1);
        b.observe(Some(renewed), later);
        assert!(b.acquire("foz", wall(11), later).is_none());
        let expired = almost + LEASE_DURATION;
        assert_eq!(b.expires(later), expired);
        assert!(b.acquire("foz", wall(20), expired).is_some());
    }

    #[test]
    fn a_replica_that_comes_back_under_its_name_takes_its_own_lease() {
        let now = Instant::now();
        let mut a = election("a");
        a.observe(Some(taken("a", now)), now);
        assert!(a.acquire("foz", wall(2), now).is_some());
    }

    #[test]
    fn what_is_another_s_is_neither_renewed_nor_released() {
        let now = Instant::now();
        let mut b = election("b");
        b.observe(Some(taken("a", now)), now);
        assert!(b.renewal(wall(2)).is_none() && b.release().is_none() && !b.is_holder());
    }

    /// The holder stops before anybody else may begin.
    const _: () = assert!(RENEW_DEADLINE.as_secs() < LEASE_DURATION.as_secs());
}
