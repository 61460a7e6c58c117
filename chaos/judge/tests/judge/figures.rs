//! How long writers waited.

use crate::builder::History;

#[test]
fn longest_wait_counts_only_while_something_waits() {
    let mut history = History::default();
    history.send(1, &[0]).ack(1, &[0], 0); // 1 ms
    history.now_us += 60_000_000; // nobody sends
    history.send(1, &[1, 2]);
    let sent_us = history.now_us;
    history.now_us += 4_000_000;
    history
        .ack(1, &[1], 1)
        .ack(1, &[2], 2)
        .final_read((0, 3), &[(0, 0), (1, 1), (2, 2)]);
    let waits = history.innocent().availability.longest_waits;
    assert_eq!(waits.len(), 1);
    assert_eq!((waits[0].wait_us, waits[0].from_us), (4_001_000, sent_us));
}

#[test]
fn a_fault_is_over_when_something_sent_after_it_is_acknowledged() {
    let mut history = History::default();
    history.send(1, &[0]).fault(1, "kill-leader");
    let begun_us = history.now_us;
    history.ack(1, &[0], 0); // was in flight: says nothing
    history.send(1, &[1]);
    history.now_us += 2_000_000;
    history.ack(1, &[1], 1);
    let recovered_us = history.now_us - begun_us;
    history.final_read((0, 2), &[(0, 0), (1, 1)]);
    let faults = history.innocent().availability.faults;
    assert_eq!(faults.len(), 1);
    assert_eq!(
        (
            faults[0].faults,
            faults[0].on_loaded_leader,
            faults[0].recovered
        ),
        (1, 1, 1)
    );
    assert_eq!(
        (faults[0].p50_us, faults[0].p99_us),
        (recovered_us, recovered_us)
    );
}

#[test]
fn what_never_recovers_does_not_pass() {
    let mut history = History::default();
    history
        .send(1, &[0])
        .ack(1, &[0], 0)
        .fault(1, "kill-leader")
        .send(1, &[1])
        .fail(1, &[1], false);
    history.final_read((0, 1), &[(0, 0)]);
    let report = history.judged();
    assert_eq!(report.availability.faults[0].not_recovered, 1);
    assert!(report.anomalies.is_empty() && !report.passed());
    // Nobody asked anything of it afterwards.
    let mut idle = History::default();
    idle.send(1, &[0])
        .ack(1, &[0], 0)
        .fault(1, "kill-leader")
        .final_read((0, 1), &[(0, 0)]);
    assert_eq!(idle.innocent().availability.faults[0].not_recovered, 0);
}
