//! The real thing: two hundred schedules are clean, eventful, and the same each time.

use foz_simulator::{Summary, run, run_keeping};

#[test]
fn two_runs_of_one_seed_are_the_same() {
    for seed in [0, 7, 1_000_003] {
        let (first, first_lines) = run_keeping(seed, None, usize::MAX);
        let (second, second_lines) = run_keeping(seed, None, usize::MAX);
        assert!(first_lines.len() > 1_000, "{} lines", first_lines.len());
        assert_eq!(first_lines, second_lines, "seed {seed}");
        assert_eq!(first, second);
        assert_eq!(first, run(seed, None), "to look on changes nothing");
        assert_ne!(first.digest, run(seed + 1, None).digest);
    }
}

#[expect(clippy::print_stdout, reason = "figures, seen with --nocapture")]
fn are_clean(seeds: std::ops::Range<u64>) {
    let mut summary = Summary::default();
    for seed in seeds {
        let outcome = run(seed, None);
        if let Some(violation) = &outcome.violation {
            let (_, lines) = run_keeping(seed, None, 80);
            panic!("{}\nseed {seed}: {violation}", lines.join("\n"));
        }
        summary.add(&outcome);
    }
    println!("{summary}");
    assert!(summary.steps_median() >= 2_000, "{summary}");
    assert!(summary.leader_changes_median() >= 3, "{summary}");
}

// Four, so that they run beside each other.

#[test]
fn schedules_0_to_49_are_clean() {
    are_clean(0..50);
}

#[test]
fn schedules_50_to_99_are_clean() {
    are_clean(50..100);
}

#[test]
fn schedules_100_to_149_are_clean() {
    are_clean(100..150);
}

#[test]
fn schedules_150_to_199_are_clean() {
    are_clean(150..200);
}
