//! Passes over an assignment until one of them changes nothing.

use crate::assignment::Assignment;

/// What one pass changes may free the way for another; the second mostly finds nothing.
const MOST_PASSES: usize = 8;

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
