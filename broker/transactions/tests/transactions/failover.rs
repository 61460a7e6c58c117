//! One story with a failover at each of its appends, with the record lost and with it kept.

use foz_transactions::{MarkerOutcome, Request, TransactionState, WaiterId};
use kafka_protocol::ResponseError as E;

use crate::harness::*;

const RETRIABLE: [i16; 4] = [
    E::CoordinatorLoadInProgress.code(),
    E::CoordinatorNotAvailable.code(),
    E::NotCoordinator.code(),
    E::ConcurrentTransactions.code(),
];
/// More than the story has.
const APPENDS_MAX: usize = 40;

struct Story {
    harness: Harness,
    has_own_epochs: bool,
    producer: (i64, i16),
    appends: usize,
    fails_at: usize,
    kept: usize,
}

impl Story {
    /// Everything goes on until there is nothing left to do.
    fn go_on(&mut self) {
        for _ in 0..100 {
            if !self.harness.pending.is_empty() {
                let fails = self.appends == self.fails_at;
                self.appends += 1;
                if fails {
                    self.harness.restart_with_tail(self.kept);
                } else {
                    self.harness.confirm();
                }
            } else if !self.harness.markers.is_empty() {
                self.harness.report(MarkerOutcome::Written);
            } else {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// As a client does it that asks until it has an answer.
    fn ask<T>(
        &mut self,
        ask: impl Fn(&mut Self) -> WaiterId,
        hear: impl Fn(&mut Harness, WaiterId) -> (i16, T),
    ) -> T {
        for _ in 0..20 {
            let waiter = ask(self);
            self.go_on();
            let (error, answer) = hear(&mut self.harness, waiter);
            if error == 0 {
                return answer;
            }
            assert!(RETRIABLE.contains(&error), "error {error}");
        }
        panic!("no answer");
    }

    fn init(&mut self) {
        let ask = |story: &mut Self| {
            let request = Request::InitProducerId(init_request(None));
            story.harness.send(5, request)
        };
        self.producer = self.ask(ask, |harness, waiter| {
            let (error, producer_id, epoch) = harness.initialized(waiter);
            (error, (producer_id, epoch))
        });
    }

    fn add(&mut self, index: i32) {
        let ask = |story: &mut Self| {
            let producer = story.producer;
            if story.has_own_epochs {
                let one = add_transaction(ID, producer, false, &[index]);
                story.harness.send(5, broker_add(vec![one]))
            } else {
                story.harness.send(3, client_add(producer, &[index]))
            }
        };
        self.ask(ask, |harness, waiter| (harness.added(waiter), ()));
    }

    /// Every marker that is sent for it says the same, and each partition gets one.
    fn end(&mut self, commit: bool, partitions: usize) {
        self.go_on();
        self.harness.sent.clear();
        let ask = |story: &mut Self| {
            let api_version = if story.has_own_epochs { 5 } else { 3 };
            let request = end_request(story.producer, commit);
            story.harness.send(api_version, request)
        };
        let producer = self.ask(ask, |harness, waiter| {
            let (error, producer_id, epoch) = harness.ended(waiter);
            (error, (producer_id, epoch))
        });
        let ended = self.producer;
        if self.has_own_epochs {
            self.producer = producer;
        }
        let case = (self.fails_at, self.kept);
        for markers in &self.harness.sent {
            assert_eq!(markers.commit, commit, "{case:?}");
            assert_eq!(markers.producer_id, ended.0, "{case:?}");
            assert_eq!(markers.partitions.len(), partitions, "{case:?}");
            let bumped = i16::from(self.has_own_epochs);
            assert_eq!(markers.producer_epoch, ended.1 + bumped, "{case:?}");
        }
        assert!(!self.harness.sent.is_empty(), "{case:?}");
        let complete = if commit {
            TransactionState::CompleteCommit
        } else {
            TransactionState::CompleteAbort
        };
        assert_eq!(self.harness.state(), complete.name(), "{case:?}");
    }
}

/// The number of appends it took.
fn tell(has_own_epochs: bool, first_epoch: i16, fails_at: usize, kept: usize) -> usize {
    let loaded = transaction(TransactionState::Empty, (10, first_epoch));
    let mut harness = Harness::loaded(loaded);
    harness.confirms = false;
    let mut story = Story {
        harness,
        has_own_epochs,
        producer: (-1, -1),
        appends: 0,
        fails_at,
        kept,
    };
    story.init();
    story.add(0);
    story.add(1);
    story.end(true, 2);
    story.add(1);
    story.end(false, 1);
    story.add(0);
    story.end(true, 1);
    story.appends
}

#[test]
fn a_failover_at_any_append_changes_nothing_of_what_is_told() {
    for has_own_epochs in [false, true] {
        // Also where the producer id changes on the way.
        for first_epoch in [3, i16::MAX - 5, i16::MAX - 4, i16::MAX - 3, i16::MAX - 2] {
            let appends = tell(has_own_epochs, first_epoch, usize::MAX, 0);
            assert!((10..APPENDS_MAX).contains(&appends), "{appends}");
            for fails_at in 0..APPENDS_MAX {
                for kept in [0, 1] {
                    tell(has_own_epochs, first_epoch, fails_at, kept);
                }
            }
        }
    }
}
