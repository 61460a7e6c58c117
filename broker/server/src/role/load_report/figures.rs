//! What of the load is worth telling. Pure: what was counted and the time come in.

use std::collections::HashMap;
use std::time::Duration;

use crate::partition::Key;

/// A figure that differs by less than one part in so many is as good as told.
const WORTH_PART: u64 = 10;
/// So little is never worth a word, of bytes and of bytes per second.
const WORTH_LEAST: u64 = 1024;
/// How much of a rate is that of the newest interval: a burst is not a load.
const NEWEST_PART: f64 = 0.25;

/// Of one partition, since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) size_bytes: u64,
    pub(super) appended_bytes: u64,
    pub(super) fetched_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) bytes: u64,
    pub(super) bytes_in_per_second: u64,
    pub(super) bytes_out_per_second: u64,
}

/// Of the partitions that the broker leads.
#[derive(Debug, Default)]
pub(super) struct LoadFigures {
    counted_at: Option<Duration>,
    partitions: HashMap<Key, Known>,
    /// Of the controller that took what was told.
    term: Option<i64>,
}

#[derive(Debug, Default)]
struct Known {
    counted: Counted,
    in_per_second: Option<f64>,
    out_per_second: Option<f64>,
    told: Option<Figures>,
}

impl LoadFigures {
    /// Takes in what is so at `now` of all partitions that are led.
    pub(super) fn count(&mut self, now: Duration, led: &[(Key, Counted)]) {
        let since = self.counted_at.replace(now);
        let seconds = since.map(|since| now.saturating_sub(since).as_secs_f64());
        let mut before = std::mem::take(&mut self.partitions);
        for (key, counted) in led {
            let known = match before.remove(key) {
                Some(known) => known.counted_again(*counted, seconds.unwrap_or_default()),
                // What another led until now was told by that one.
                None => Known {
                    counted: *counted,
                    ..Known::default()
                },
            };
            self.partitions.insert(*key, known);
        }
    }

    /// What differs enough from what was told.
    pub(super) fn news(&self) -> Vec<(Key, Figures)> {
        let worth = self.partitions.iter().filter_map(|(key, known)| {
            let figures = known.figures();
            let is_news = known.told.is_none_or(|told| differs(&told, &figures));
            is_news.then_some((*key, figures))
        });
        worth.collect()
    }

    pub(super) fn told(&mut self, figures: &[(Key, Figures)]) {
        for (key, figures) in figures {
            if let Some(known) = self.partitions.get_mut(key) {
                known.told = Some(*figures);
            }
        }
    }

    /// The controller that took the report. True: it is another than before, so everything is news to it that was told
    /// before this report.
    pub(super) fn heard_from(&mut self, term: i64) -> bool {
        let before = self.term.replace(term);
        let is_another = before.is_some_and(|before| before != term);
        if is_another {
            for known in self.partitions.values_mut() {
                known.told = None;
            }
        }
        is_another
    }
}

impl Known {
    fn counted_again(self, counted: Counted, seconds: f64) -> Self {
        let rate = |before: u64, now: u64, known: Option<f64>| {
            if seconds <= 0.0 {
                return known;
            }
            let newest = now.saturating_sub(before) as f64 / seconds;
            let smooth = |known: f64| known + (newest - known) * NEWEST_PART;
            Some(known.map_or(newest, smooth))
        };
        let before = self.counted;
        Self {
            counted,
            in_per_second: rate(
                before.appended_bytes,
                counted.appended_bytes,
                self.in_per_second,
            ),
            out_per_second: rate(
                before.fetched_bytes,
                counted.fetched_bytes,
                self.out_per_second,
            ),
            told: self.told,
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            bytes: self.counted.size_bytes,
            bytes_in_per_second: self.in_per_second.unwrap_or_default() as u64,
            bytes_out_per_second: self.out_per_second.unwrap_or_default() as u64,
        }
    }
}

fn differs(told: &Figures, now: &Figures) -> bool {
    let pairs = [
        (told.bytes, now.bytes),
        (told.bytes_in_per_second, now.bytes_in_per_second),
        (told.bytes_out_per_second, now.bytes_out_per_second),
    ];
    pairs.into_iter().any(|(told, now)| {
        let difference = told.abs_diff(now);
        difference >= WORTH_LEAST && difference > told.max(now) / WORTH_PART
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const KIB: u64 = 1024;

    fn key(index: i32) -> Key {
        (Uuid::from_u128(7), index)
    }

    fn counted(size_bytes: u64, appended_bytes: u64, fetched_bytes: u64) -> Counted {
        Counted {
            size_bytes,
            appended_bytes,
            fetched_bytes,
        }
    }

    fn tell(figures: &mut LoadFigures) -> Vec<(i32, Figures)> {
        let news = figures.news();
        figures.told(&news);
        let mut news: Vec<_> = news.into_iter().map(|(key, it)| (key.1, it)).collect();
        news.sort_by_key(|(index, _)| *index);
        news
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_changed_by_a_tenth_is_told() {
        let mut figures = LoadFigures::default();
        let sizes = |first, second| {
            [
                (key(0), counted(first, 0, 0)),
                (key(1), counted(second, 0, 0)),
            ]
        };
        figures.count(at(0), &sizes(100 * KIB, 10));
        assert_eq!(tell(&mut figures).len(), 2, "never told before");
        figures.count(at(10), &sizes(109 * KIB, 1000));
        assert_eq!(tell(&mut figures), []);
        // Compared with what was told, not with what was counted last.
        figures.count(at(20), &sizes(112 * KIB, 1000));
        let told = tell(&mut figures);
        assert_eq!((told.len(), told[0].0, told[0].1.bytes), (1, 0, 112 * KIB));
        figures.count(at(30), &sizes(50 * KIB, 1000));
        assert_eq!(tell(&mut figures)[0].1.bytes, 50 * KIB);
    }

    #[test]
    fn rates_are_of_the_time_between_and_even_out() {
        let mut figures = LoadFigures::default();
        let rates = |figures: &mut LoadFigures| {
            let told = tell(figures);
            told.first()
                .map(|(_, it)| (it.bytes_in_per_second, it.bytes_out_per_second))
        };
        figures.count(at(100), &[(key(0), counted(0, 1 << 30, 1 << 30))]);
        assert_eq!(rates(&mut figures), Some((0, 0)), "not known yet");
        let next = |more: u64| (1 << 30) + more * KIB;
        figures.count(at(110), &[(key(0), counted(0, next(1000), next(80)))]);
        assert_eq!(rates(&mut figures), Some((100 * KIB, 8 * KIB)));
        // Nothing for an interval.
        figures.count(at(120), &[(key(0), counted(0, next(1000), next(160)))]);
        assert_eq!(rates(&mut figures), Some((75 * KIB, 8 * KIB)));
    }

    #[test]
    fn another_controller_is_told_everything() {
        let mut figures = LoadFigures::default();
        let led = [(key(0), counted(KIB, 0, 0)), (key(1), counted(KIB, 0, 0))];
        figures.count(at(0), &led);
        assert_eq!(tell(&mut figures).len(), 2);
        assert!(!figures.heard_from(5), "the first one took it all");
        figures.count(at(10), &led);
        assert_eq!(tell(&mut figures), []);
        assert!(!figures.heard_from(5));
        assert!(figures.heard_from(6));
        assert_eq!(tell(&mut figures).len(), 2);
        // Led by another, and then here again: what that one told counts no more.
        figures.count(at(20), &led[..1]);
        assert_eq!(tell(&mut figures), []);
        figures.count(at(30), &led);
        assert_eq!(tell(&mut figures).len(), 1);
    }
}
