//! How fast a follower gets what it missed while clients use the same leader.
//!
//! A follower outside the ISR that nobody waits for could take all that disk, processor and network have. The
//! leader gives it little at once, and after each answer leaves it waiting for as long as that answer took to be
//! read, sent and written, some times over. So it takes a share of whatever there is, however fast that is,
//! and what clients need in between is free. Two things come first:
//! - It must come nearer. Where it got less than twice what clients produced, it neither waits nor gets little,
//!   until a share would do.
//! - Where no client wants anything, nobody is spared.

use std::time::Duration;

/// In one answer. Whatever else uses the leader, the follower and their connection waits for this much at most.
const ANSWER_BYTES: usize = 1 << 20;
/// For each moment that an answer took, so many that nothing is sent.
const IDLE_PER_BUSY: u32 = 2;
/// However long an answer took.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How much more than clients produce the follower gets, at least.
const GETS_PER_PRODUCED: u64 = 2;
/// Over which it is counted what clients do.
const WINDOW: Duration = Duration::from_secs(1);

/// What clients have moved through this broker so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientBytes {
    /// Appended.
    pub produced: u64,
    /// Read.
    pub fetched: u64,
}

/// What the follower may have now of partitions in which it catches up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUpAnswer {
    /// As much as goes into an answer.
    AnyBytes,
    /// So many bytes at most.
    Bytes(usize),
    /// Nothing before this moment.
    NotBefore(Duration),
}

/// The pace of one connection of a follower. Moments are durations since any fixed one.
#[derive(Debug, Clone)]
pub struct CatchUpPace {
    /// While it catches up.
    window: Option<Window>,
    speed: Speed,
    /// As they were when the follower asked last.
    clients: ClientBytes,
    /// When the answer was begun that the follower has to write before it asks again.
    under_way_since: Option<Duration>,
    not_before: Duration,
}

/// What the window before this one has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speed {
    AtLeisure,
    /// No clients, or the follower does not come nearer.
    Full,
}

#[derive(Debug, Clone)]
struct Window {
    began: Duration,
    /// As they were then.
    clients: ClientBytes,
    /// To the follower, of partitions in which it catches up.
    sent_bytes: u64,
}

impl CatchUpPace {
    /// Of a follower that was not heard before.
    #[must_use]
    pub fn new(now: Duration, clients: ClientBytes) -> Self {
        Self {
            window: None,
            speed: Speed::AtLeisure,
            clients,
            under_way_since: None,
            not_before: now,
        }
    }

    /// The follower asks for more: what it was sent, it has written.
    pub fn asked(&mut self, now: Duration, clients: ClientBytes) {
        self.clients = clients;
        if let Some(window) = &self.window
            && now.saturating_sub(window.began) >= WINDOW
        {
            self.speed = window.speed_after(self.speed, clients);
            self.window = (window.sent_bytes > 0).then(|| Window::begin(now, clients));
        }
        if let Some(began) = self.under_way_since.take() {
            let busy = now.saturating_sub(began);
            self.not_before = now + (busy * IDLE_PER_BUSY).min(PAUSE_MAX);
        }
    }

    /// What it gets.
    #[must_use]
    pub fn answer(&self, now: Duration) -> CatchUpAnswer {
        if self.speed == Speed::Full {
            CatchUpAnswer::AnyBytes
        } else if now < self.not_before {
            CatchUpAnswer::NotBefore(self.not_before)
        } else {
            CatchUpAnswer::Bytes(ANSWER_BYTES)
        }
    }

    /// So much is on its way, reading of which began then.
    pub fn sent(&mut self, began: Duration, bytes: usize) {
        self.under_way_since = Some(began);
        let clients = self.clients;
        let window = self
            .window
            .get_or_insert_with(|| Window::begin(began, clients));
        window.sent_bytes = window.sent_bytes.saturating_add(bytes as u64);
    }
}

impl Window {
    fn begin(began: Duration, clients: ClientBytes) -> Self {
        Self {
            began,
            clients,
            sent_bytes: 0,
        }
    }

    fn speed_after(&self, speed: Speed, clients: ClientBytes) -> Speed {
        let produced = clients.produced.saturating_sub(self.clients.produced);
        let enough = produced.saturating_mul(GETS_PER_PRODUCED);
        // What it would have got.
        let at_leisure = match speed {
            Speed::AtLeisure => self.sent_bytes,
            Speed::Full => self.sent_bytes / u64::from(1 + IDLE_PER_BUSY),
        };
        let is_quiet = clients == self.clients;
        if self.sent_bytes > 0 && (at_leisure < enough || is_quiet) {
            Speed::Full
        } else {
            Speed::AtLeisure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: u64 = 1 << 20;
    const MILLISECOND: Duration = Duration::from_millis(1);

    /// A follower that asks again and again for `span`; how many bytes it gets. An answer takes `fixed` and
    /// `per_mebibyte`; clients produce and fetch so many bytes in each millisecond.
    struct Course {
        fixed: Duration,
        per_mebibyte: Duration,
        produced_per_ms: u64,
        fetched_per_ms: u64,
    }

    impl Course {
        fn gets_in(&self, span: Duration) -> u64 {
            const ANY_BYTES: u64 = 10 * MEBIBYTE;
            let clients = |now: Duration| ClientBytes {
                produced: self.produced_per_ms * now.as_millis() as u64,
                fetched: self.fetched_per_ms * now.as_millis() as u64,
            };
            let mut now = Duration::ZERO;
            let mut pace = CatchUpPace::new(now, clients(now));
            let mut got = 0;
            while now < span {
                pace.asked(now, clients(now));
                let bytes = loop {
                    match pace.answer(now) {
                        CatchUpAnswer::AnyBytes => break ANY_BYTES,
                        CatchUpAnswer::Bytes(bytes) => break bytes as u64,
                        CatchUpAnswer::NotBefore(moment) => {
                            assert!(moment > now, "a wait that never ends");
                            now = moment;
                        }
                    }
                };
                pace.sent(now, usize::try_from(bytes).unwrap());
                got += bytes;
                now += self.fixed + self.per_mebibyte * u32::try_from(bytes / MEBIBYTE).unwrap();
            }
            got
        }
    }

    #[test]
    fn with_clients_it_takes_a_third_of_what_there_is() {
        for per_mebibyte in [MILLISECOND, 5 * MILLISECOND, 50 * MILLISECOND] {
            let course = Course {
                fixed: Duration::ZERO,
                per_mebibyte,
                produced_per_ms: 1,
                fetched_per_ms: 1,
            };
            let got = course.gets_in(Duration::from_secs(30)) / MEBIBYTE;
            let all = u64::try_from(30_000 / per_mebibyte.as_millis()).unwrap();
            assert!((all / 4..=all / 2).contains(&got), "{got} MiB of {all}");
        }
    }

    #[test]
    fn without_clients_it_takes_all() {
        let course = Course {
            fixed: Duration::ZERO,
            per_mebibyte: 5 * MILLISECOND,
            produced_per_ms: 0,
            fetched_per_ms: 0,
        };
        let got = course.gets_in(Duration::from_secs(30)) / MEBIBYTE;
        assert!(got > 5_500, "{got} MiB of 6000");
        // Who only reads is spared too.
        let read = Course {
            fetched_per_ms: 1,
            ..course
        };
        let got = read.gets_in(Duration::from_secs(30)) / MEBIBYTE;
        assert!(got < 3_000, "{got} MiB of 6000");
    }

    #[test]
    fn it_gets_more_than_clients_produce_wherever_that_can_be() {
        // 100 MiB/s, of a link that does 200 with any answers, and 33 with a third of the time.
        let course = Course {
            fixed: Duration::ZERO,
            per_mebibyte: 5 * MILLISECOND,
            produced_per_ms: 100 * MEBIBYTE / 1000,
            fetched_per_ms: 0,
        };
        let got = course.gets_in(Duration::from_secs(30)) / MEBIBYTE;
        assert!(got > 5_000, "{got} MiB, of which 3000 are new");
        // A far away leader: small answers would be worth nothing.
        let far = Course {
            fixed: 50 * MILLISECOND,
            per_mebibyte: MILLISECOND,
            produced_per_ms: 40 * MEBIBYTE / 1000,
            fetched_per_ms: 0,
        };
        let got = far.gets_in(Duration::from_secs(30)) / MEBIBYTE;
        assert!(got > 2_000, "{got} MiB, of which 1200 are new");
    }

    #[test]
    fn an_answer_that_took_long_costs_a_bounded_pause() {
        let fetched = |fetched| ClientBytes {
            produced: 0,
            fetched,
        };
        let mut pace = CatchUpPace::new(Duration::ZERO, fetched(0));
        pace.sent(Duration::ZERO, 1);
        let now = Duration::from_millis(900);
        pace.asked(now, fetched(1));
        let until = now + PAUSE_MAX;
        assert_eq!(pace.answer(now), CatchUpAnswer::NotBefore(until));
        assert_eq!(pace.answer(until), CatchUpAnswer::Bytes(ANSWER_BYTES));
        // Asked again without having got anything, nothing is added.
        pace.asked(until, fetched(2));
        assert_eq!(pace.answer(until), CatchUpAnswer::Bytes(ANSWER_BYTES));
    }

    #[test]
    fn who_had_nothing_to_catch_up_with_does_not_begin_in_a_hurry() {
        let produced = |second: u64| ClientBytes {
            produced: second * 50 * MEBIBYTE,
            fetched: 0,
        };
        let mut pace = CatchUpPace::new(Duration::ZERO, produced(0));
        for second in 1..10 {
            pace.asked(Duration::from_secs(second), produced(second));
        }
        let now = Duration::from_secs(10);
        assert_eq!(pace.answer(now), CatchUpAnswer::Bytes(ANSWER_BYTES));
        // It gets next to nothing: then it is in a hurry, and no longer when it has caught up.
        pace.sent(now, 1);
        pace.asked(Duration::from_secs(11), produced(11));
        let now = Duration::from_secs(11);
        assert_eq!(pace.answer(now), CatchUpAnswer::AnyBytes);
        pace.asked(Duration::from_secs(12), produced(12));
        let now = Duration::from_secs(13);
        assert_eq!(pace.answer(now), CatchUpAnswer::Bytes(ANSWER_BYTES));
    }

    #[test]
    fn a_clock_that_stands_still_and_counters_that_go_back_do_no_harm() {
        let much = ClientBytes {
            produced: u64::MAX,
            fetched: u64::MAX,
        };
        let none = ClientBytes::default();
        let mut pace = CatchUpPace::new(Duration::from_secs(9), much);
        for bytes in [usize::MAX, 1] {
            pace.sent(Duration::from_secs(9), bytes);
            pace.asked(Duration::ZERO, none);
            pace.asked(Duration::from_secs(20), none);
            pace.sent(Duration::from_secs(20), bytes);
            pace.asked(Duration::from_secs(30), much);
            pace.sent(Duration::from_secs(30), bytes);
            pace.asked(Duration::from_secs(40), much);
        }
        let now = Duration::from_secs(41);
        assert_eq!(
            pace.answer(now),
            CatchUpAnswer::AnyBytes,
            "clients are quiet"
        );
    }
}
