//! In which data directory a new log is made. Pure: what there is comes in.
//!
//! A log that is small today may grow, so each is thought as large as the logs of this broker are on average; what is left
//! of a disk then is shared by the logs on it. Kafka takes the directory with the fewest logs, which fills the smallest
//! disk first; the most free bytes alone would send every new topic to the disk that was added last.

use std::cmp::Ordering;

/// One data directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    /// Above what is to stay free of its disk.
    pub(super) bytes_free: i64,
    /// It takes records.
    pub(super) is_roomy: bool,
    /// How large each log in it is.
    pub(super) log_bytes: Vec<u64>,
}

/// Makes one choice after the other, each counting on those before it.
#[derive(Debug)]
pub(super) struct Placing {
    average_bytes: i64,
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    is_roomy: bool,
    /// When all its logs have grown to the average.
    bytes_left: i64,
    logs: i64,
}

impl Placing {
    pub(super) fn new(rooms: &[Room]) -> Self {
        let all = rooms.iter().flat_map(|room| &room.log_bytes);
        let (mut sum, mut count) = (0_u128, 0_u128);
        for bytes in all {
            sum += u128::from(*bytes);
            count += 1;
        }
        let average_bytes = sum.checked_div(count).unwrap_or(0);
        let average_bytes = i64::try_from(average_bytes).unwrap_or(i64::MAX);
        let places = rooms.iter().map(|room| {
            let growth = room.log_bytes.iter().map(|bytes| {
                let bytes = i64::try_from(*bytes).unwrap_or(i64::MAX);
                average_bytes.saturating_sub(bytes).max(0)
            });
            let growth = growth.fold(0, i64::saturating_add);
            Place {
                is_roomy: room.is_roomy,
                bytes_left: room.bytes_free.saturating_sub(growth),
                logs: i64::try_from(room.log_bytes.len()).unwrap_or(i64::MAX),
            }
        });
        Self {
            average_bytes,
            places: places.collect(),
        }
    }

    /// For one more log; `None` where there is no directory.
    pub(super) fn place(&mut self) -> Option<usize> {
        let mut places = self.places.iter().enumerate();
        let mut best = places.next()?;
        for (at, place) in places {
            // Among equals the first.
            if place.compare(best.1) == Ordering::Greater {
                best = (at, place);
            }
        }
        let at = best.0;
        self.count_on(at);
        Some(at)
    }

    /// Whether logs can be made there now.
    pub(super) fn is_roomy(&self, at: usize) -> bool {
        self.places.get(at).is_some_and(|place| place.is_roomy)
    }

    /// A log is made there.
    pub(super) fn count_on(&mut self, at: usize) {
        if let Some(place) = self.places.get_mut(at) {
            place.bytes_left = place.bytes_left.saturating_sub(self.average_bytes);
            place.logs = place.logs.saturating_add(1);
        }
    }
}

impl Place {
    /// Greater is better.
    fn compare(&self, other: &Self) -> Ordering {
        let by_room = match (self.bytes_left > 0, other.bytes_left > 0) {
            // What each log has, the new one too: a / b against c / d.
            (true, true) => {
                let share = |one: &Self, other: &Self| {
                    i128::from(one.bytes_left) * (i128::from(other.logs) + 1)
                };
                share(self, other).cmp(&share(other, self))
            }
            _ => self.bytes_left.cmp(&other.bytes_left),
        };
        let by_logs = other.logs.cmp(&self.logs);
        self.is_roomy
            .cmp(&other.is_roomy)
            .then(by_room)
            .then(by_logs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: i64 = 1 << 30;

    fn room(gib_free: i64, log_gib: &[u64]) -> Room {
        Room {
            bytes_free: gib_free * GIB,
            is_roomy: true,
            log_bytes: log_gib.iter().map(|gib| gib << 30).collect(),
        }
    }

    fn placed(rooms: &[Room], count: usize) -> Vec<usize> {
        let mut placing = Placing::new(rooms);
        let places = std::iter::repeat_with(|| placing.place());
        places.take(count).map(Option::unwrap).collect()
    }

    fn counts(rooms: &[Room], count: usize) -> Vec<usize> {
        let places = placed(rooms, count);
        let of = |at| places.iter().filter(|place| **place == at).count();
        (0..rooms.len()).map(of).collect()
    }

    #[test]
    fn a_new_log_goes_where_there_is_most_room_for_each() {
        for (rooms, count, expected) in [
            (vec![room(1, &[])], 3, vec![3]),
            // Whoever comes first, where all is the same.
            (
                vec![room(9, &[]), room(9, &[]), room(9, &[])],
                7,
                vec![3, 2, 2],
            ),
            // Nothing is known of the logs yet: by size.
            (vec![room(100, &[]), room(900, &[])], 20, vec![2, 18]),
            (vec![room(100, &[]), room(101, &[])], 20, vec![10, 10]),
            // A disk that was added gets what the others had, and not for ever.
            (vec![room(100, &[10; 10]), room(200, &[])], 10, vec![0, 10]),
            (vec![room(100, &[10; 10]), room(200, &[])], 16, vec![3, 13]),
            // What is small today will grow.
            (vec![room(100, &[0; 9]), room(60, &[10; 9])], 1, vec![0, 1]),
            // All of them are too small for what there is: the least so.
            (vec![room(5, &[9, 9]), room(6, &[9, 9])], 3, vec![1, 2]),
            // Whatever it says of itself.
            (
                vec![
                    Room {
                        is_roomy: false,
                        ..room(900, &[])
                    },
                    room(1, &[1; 50]),
                ],
                4,
                vec![0, 4],
            ),
        ] {
            assert_eq!(counts(&rooms, count), expected, "{rooms:?}");
        }
        assert_eq!(Placing::new(&[]).place(), None);
    }

    #[test]
    fn where_no_directory_has_room_one_is_tried() {
        let rooms = [Room::default(), Room::default()];
        assert_eq!(placed(&rooms, 3), [0, 1, 0]);
    }

    fn any_room() -> impl Strategy<Value = Room> {
        let logs = proptest::collection::vec(0_u64..20, 0..12);
        (-5_i64..200, any::<bool>(), logs).prop_map(|(gib_free, is_roomy, log_gib)| Room {
            is_roomy,
            ..room(gib_free, &log_gib)
        })
    }

    proptest! {
        /// More room, fewer logs, and it takes records: then it is the other's turn.
        #[test]
        fn no_directory_is_chosen_that_another_beats(
            rooms in proptest::collection::vec(any_room(), 1..6),
            count in 1_usize..40,
        ) {
            let mut placing = Placing::new(&rooms);
            for _ in 0..count {
                let before = placing.places.clone();
                let chosen = before[placing.place().unwrap()];
                for other in before {
                    let is_better = other.is_roomy >= chosen.is_roomy
                        && other.bytes_left >= chosen.bytes_left
                        && other.logs <= chosen.logs
                        && (other.is_roomy, other.bytes_left, -other.logs)
                            != (chosen.is_roomy, chosen.bytes_left, -chosen.logs);
                    prop_assert!(!is_better, "{chosen:?} before {other:?}");
                }
            }
        }

        #[test]
        fn equal_disks_differ_by_one_log(
            room in any_room(),
            disks in 1_usize..6,
            count in 0_usize..60,
        ) {
            let counts = counts(&vec![room; disks], count);
            let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            prop_assert!(most - least <= 1, "{counts:?}");
        }

        #[test]
        fn no_figure_is_too_large(free in any::<i64>(), bytes in any::<u64>(), roomy in any::<bool>()) {
            let rooms = [room(1, &[]), Room {
                bytes_free: free,
                is_roomy: roomy,
                log_bytes: vec![bytes; 3],
            }];
            prop_assert_eq!(placed(&rooms, 5).len(), 5);
        }
    }
}
