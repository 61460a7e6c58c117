//! Random histories of a correct log are never flagged; with one lie in them they always are.

use foz_judge::{Checker, Event, Settings};
use proptest::prelude::*;

use crate::lies::{KINDS, lie};
use crate::log_simulation::Simulation;

fn steps() -> impl Strategy<Value = Vec<(u8, u16, u16)>> {
    prop::collection::vec(any::<(u8, u16, u16)>(), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_truth_is_never_flagged(deletes: bool, steps in steps()) {
        let history = Simulation::run(deletes, &steps).history;
        let report = history.judged();
        prop_assert!(report.passed(), "{report}{:#?}", report.anomalies);
    }

    #[test]
    fn the_truth_is_not_flagged_before_its_end_either(deletes: bool, steps in steps()) {
        let mut checker = Checker::new(Settings::default());
        for (number, event) in Simulation::run(deletes, &steps).history.events.iter().enumerate() {
            checker.observe(event);
            if number % 32 > 0 {
                continue;
            }
            let report = checker.so_far();
            prop_assert!(report.passed(), "after {event:?}: {report}{:#?}", report.anomalies);
        }
    }

    #[test]
    fn every_event_survives_its_json(deletes: bool, steps in steps()) {
        for event in Simulation::run(deletes, &steps).history.events {
            prop_assert_eq!(&Event::from_json(event.to_json().as_bytes()).unwrap(), &event);
        }
    }

    /// All kinds of lies about one history, each alone.
    #[test]
    fn a_lie_is_always_flagged(steps in prop::collection::vec(any::<(u8, u16, u16)>(), 100..300), pick: u16) {
        let truth = Simulation::run(false, &steps).history;
        for kind in KINDS {
            let mut lied = truth.clone();
            if lie(kind, &mut lied, usize::from(pick)) {
                let report = lied.judged();
                prop_assert!(
                    report.anomaly_counts.contains_key(&kind),
                    "{kind} was not found: {report}{:#?}", report.anomalies
                );
            }
        }
    }
}

/// The lies must find something to lie about, or the test above proves nothing.
#[test]
fn every_kind_of_lie_is_told() {
    let mut random = 12_345_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as u16
    };
    for kind in KINDS {
        let told = (0..20).filter(|_| {
            let steps: Vec<_> = (0..250).map(|_| (next() as u8, next(), next())).collect();
            lie(
                kind,
                &mut Simulation::run(false, &steps).history,
                usize::from(next()),
            )
        });
        let told = told.count();
        assert!(
            told >= 10,
            "{kind} could be told of {told} histories in 20 only"
        );
    }
}
