//! Passes over an assignment until one of them changes nothing.

use crate::assignment::Assignment;

/// What one pass changes may free the way for another; the second mostly finds nothing, and each further one is needed a
/// third as often as the one before: more than 8, once in 150,000 clusters of the tests. Where passes end before nothing
/// is left to do, the next plan goes on, so the bound only ends what would go round in circles.
const MOST_PASSES: usize = 64;

pub(crate) fn settle<'a>(
    start: Assignment<'a>,
    pass: impl Fn(&mut Assignment<'a>),
) -> Assignment<'a> {
    let mut assignment = start;
    for _ in 0..MOST_PASSES {
        let before = assignment.brokers().to_vec();
        pass(&mut assignment);
        if assignment.brokers() == before {
            break;
        }
        // From the very state that a later plan would start from, so that it finds nothing to do.
        assignment = Assignment::new(
            assignment.cluster,
            assignment.roles,
            assignment.into_brokers(),
        );
    }
    assignment
}
