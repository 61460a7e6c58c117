//! Whether the disk has room for records. Pure: what the disk says comes in.
//!
//! Records are refused while there is still room for what gives room back and for what must not fail: metadata,
//! checkpoints, deletions, retention, compaction. Somebody else may take that room, too, so a disk that refuses a
//! write counts as full whatever it says of itself: quotas and inodes run out unseen.

use std::time::Duration;

use crate::disk_room::DiskRoom;

/// Of the disk, where `foz.disk.reserve.bytes` is -1; but no more than [`RESERVE_MAX`].
const RESERVE_PERCENT: i64 = 1;
const RESERVE_MAX: i64 = 1 << 30;
/// How long a write that found no room counts where the disk says that there is some: at first, and when the next try
/// finds none either.
const REFUSAL_FIRST: Duration = Duration::from_secs(2);
/// Nobody knows when a quota has room again, and each try has leaders go to and fro.
const REFUSAL_LAST: Duration = Duration::from_secs(128);

/// What there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Space {
    /// Everything.
    #[default]
    Roomy,
    /// Less than the reserve is left: no records but those of the brokers' own topics.
    Low,
    /// Less than half of it is left, or a write found no room: no records.
    Full,
}

/// What is so now, from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct DiskSpace {
    by_room: Space,
    refusal: Duration,
    refused_until: Duration,
}

/// What to keep free of a disk of so many bytes; `configured` is `foz.disk.reserve.bytes`.
pub(crate) fn reserve_bytes(configured: i64, bytes_total: i64) -> i64 {
    match configured {
        ..0 => (bytes_total / 100 * RESERVE_PERCENT).min(RESERVE_MAX),
        configured => configured,
    }
}

impl DiskSpace {
    /// `was_refused`: a write found no room since the last look. `now` is monotonic.
    ///
    /// It takes more room to come back than to go: a quarter of the reserve, so that who writes at the edge does not
    /// have leaders go to and fro.
    pub(crate) fn look(
        &mut self,
        room: DiskRoom,
        reserve_bytes: i64,
        was_refused: bool,
        now: Duration,
    ) -> Space {
        let margin = reserve_bytes / 4;
        let is_below = |mark: i64, was: bool| {
            room.bytes_free < mark.saturating_add(if was { margin } else { 0 })
        };
        let has_none = room.bytes_free == 0 || !room.has_inodes;
        self.by_room = if has_none || is_below(reserve_bytes / 2, self.by_room >= Space::Full) {
            Space::Full
        } else if is_below(reserve_bytes, self.by_room >= Space::Low) {
            Space::Low
        } else {
            Space::Roomy
        };
        // Who goes on trying meanwhile says nothing new.
        if was_refused && self.by_room < Space::Full && now >= self.refused_until {
            let is_first = self.refusal.is_zero() || now >= self.refused_until + REFUSAL_LAST;
            self.refusal = match is_first {
                true => REFUSAL_FIRST,
                false => (self.refusal * 2).min(REFUSAL_LAST),
            };
            self.refused_until = now + self.refusal;
        }
        match now < self.refused_until {
            true => Space::Full,
            false => self.by_room,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: i64 = 1 << 30;

    fn room(bytes_free: i64) -> DiskRoom {
        DiskRoom {
            bytes_total: 100_000,
            bytes_free,
            has_inodes: true,
        }
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_hundredth_is_kept_free_but_no_more_than_a_gibibyte() {
        for (configured, total, expected) in [
            (-1, 10 * GIB, 10 * GIB / 100),
            (-1, 200 * GIB, GIB),
            (-1, i64::MAX, GIB),
            (-1, 0, 0),
            (0, 10 * GIB, 0),
            (7, 10 * GIB, 7),
            (i64::MAX, 10 * GIB, i64::MAX),
        ] {
            assert_eq!(reserve_bytes(configured, total), expected, "{configured}");
        }
    }

    #[test]
    fn it_takes_more_to_come_back_than_to_go() {
        let mut space = DiskSpace::default();
        for (free, expected) in [
            (1_000, Space::Roomy),
            (999, Space::Low),
            (1_249, Space::Low),
            (500, Space::Low),
            (499, Space::Full),
            (749, Space::Full),
            (750, Space::Low),
            (499, Space::Full),
            (1_249, Space::Low),
            (1_250, Space::Roomy),
            (0, Space::Full),
            (1_250, Space::Roomy),
        ] {
            let found = space.look(room(free), 1_000, false, s(9));
            assert_eq!(found, expected, "{free}");
        }
    }

    #[test]
    fn who_wants_no_reserve_has_what_the_disk_takes() {
        let mut space = DiskSpace::default();
        assert_eq!(space.look(room(1), 0, false, s(1)), Space::Roomy);
        assert_eq!(space.look(room(0), 0, true, s(1)), Space::Full);
        assert_eq!(space.look(room(1), 0, false, s(1)), Space::Roomy);
    }

    /// A quota, for example.
    #[test]
    fn a_refusal_counts_for_a_while_whatever_the_disk_says() {
        let mut space = DiskSpace::default();
        let mut look = |was_refused, now| space.look(room(5_000), 1_000, was_refused, s(now));
        assert_eq!(look(true, 10), Space::Full);
        assert_eq!(look(false, 11), Space::Full);
        assert_eq!(look(false, 12), Space::Roomy);
        // It was tried again.
        assert_eq!(look(true, 13), Space::Full);
        assert_eq!(look(false, 16), Space::Full);
        assert_eq!(look(false, 17), Space::Roomy);
        let mut now = 18;
        for seconds in [8, 16, 32, 64, 128, 128] {
            assert_eq!(look(true, now), Space::Full);
            assert_eq!(look(false, now + seconds - 1), Space::Full);
            now += seconds;
            assert_eq!(look(false, now), Space::Roomy);
        }
        // Once it has been quiet for as long it begins anew.
        assert_eq!(look(true, now + 128), Space::Full);
        assert_eq!(look(false, now + 130), Space::Roomy);
    }

    /// As who flushes does, twice a second.
    #[test]
    fn who_goes_on_trying_does_not_make_it_last() {
        let mut space = DiskSpace::default();
        let ms = Duration::from_millis;
        for at in (0..2_000).step_by(100) {
            let found = space.look(room(5_000), 1_000, true, ms(at));
            assert_eq!(found, Space::Full, "{at}");
        }
        let found = space.look(room(5_000), 1_000, false, ms(2_000));
        assert_eq!(found, Space::Roomy);
    }

    #[test]
    fn a_disk_that_makes_no_file_is_full() {
        let mut space = DiskSpace::default();
        let no_inodes = DiskRoom {
            has_inodes: false,
            ..room(5_000)
        };
        assert_eq!(space.look(no_inodes, 1_000, false, s(1)), Space::Full);
        assert_eq!(space.look(room(5_000), 1_000, true, s(2)), Space::Full);
        let mut space = DiskSpace::default();
        assert_eq!(space.look(no_inodes, 0, true, s(1)), Space::Full);
        assert_eq!(space.look(room(5_000), 0, false, s(2)), Space::Roomy);
    }

    #[test]
    fn a_refusal_that_the_disk_explains_is_over_with_the_room() {
        let mut space = DiskSpace::default();
        assert_eq!(space.look(room(10), 1_000, true, s(1)), Space::Full);
        assert_eq!(space.look(room(5_000), 1_000, false, s(1)), Space::Roomy);
    }
}
