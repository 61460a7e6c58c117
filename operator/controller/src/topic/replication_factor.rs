//! What is to be done about the number of replicas of a topic that is there. Pure.

use crate::quorum::view::Factor;

/// The next thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: all partitions have as many as are wanted.
    AsWanted,
    /// The quorum has to be asked.
    Ask,
    /// It was asked; so many partitions have the new number already.
    UnderWay {
        /// Of all partitions.
        done: i32,
    },
    /// So many partitions are being brought to another number by somebody else, who is not to be fought with.
    Elsewhere {
        /// Of all partitions.
        partitions: i32,
    },
}

/// Decides. `under_way` is what this object has asked for before, and was not complete when it was last looked at: what
/// is on its way there may be turned round.
#[must_use]
pub fn step(wanted: i32, under_way: Option<i32>, factors: &[Factor]) -> Step {
    let count = |of: &dyn Fn(&Factor) -> bool| -> i32 {
        let found = factors.iter().filter(|factor| of(factor));
        found.map(|factor| factor.partitions).sum()
    };
    // A move of as many replicas to other brokers goes on with another number; see the metadata's rule.
    let elsewhere = count(&|factor| {
        factor.moving
            && factor.target != wanted
            && factor.target != factor.now
            && Some(factor.target) != under_way
    });
    if elsewhere > 0 {
        Step::Elsewhere {
            partitions: elsewhere,
        }
    } else if factors.iter().any(|factor| factor.target != wanted) {
        Step::Ask
    } else if factors.iter().any(|factor| factor.now != wanted) {
        Step::UnderWay {
            done: count(&|factor| factor.now == wanted),
        }
    } else {
        Step::AsWanted
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, step};
    use crate::quorum::view::Factor;

    fn factor(now: i32, target: i32, partitions: i32) -> Factor {
        Factor {
            now,
            target,
            moving: now != target,
            partitions,
        }
    }

    #[test]
    fn a_change_is_asked_for_once_and_waited_for() {
        assert_eq!(step(3, None, &[factor(3, 3, 9)]), Step::AsWanted);
        assert_eq!(step(3, None, &[]), Step::AsWanted);
        assert_eq!(step(3, None, &[factor(1, 1, 9)]), Step::Ask);
        assert_eq!(
            step(3, Some(3), &[factor(1, 3, 5), factor(3, 3, 4)]),
            Step::UnderWay { done: 4 }
        );
        // New partitions came meanwhile.
        assert_eq!(
            step(3, Some(3), &[factor(1, 1, 1), factor(1, 3, 5)]),
            Step::Ask
        );
    }

    #[test]
    fn its_own_change_is_turned_round_and_that_of_others_is_waited_for() {
        assert_eq!(
            step(1, Some(3), &[factor(1, 3, 5), factor(3, 3, 4)]),
            Step::Ask
        );
        assert_eq!(
            step(1, None, &[factor(1, 3, 5), factor(1, 1, 4)]),
            Step::Elsewhere { partitions: 5 }
        );
        assert_eq!(
            step(2, Some(3), &[factor(1, 4, 5), factor(1, 3, 2)]),
            Step::Elsewhere { partitions: 5 }
        );
        // It is what is wanted, whoever began it.
        assert_eq!(
            step(3, None, &[factor(1, 3, 5)]),
            Step::UnderWay { done: 0 }
        );
    }

    #[test]
    fn moves_to_other_brokers_are_no_change_of_the_number() {
        let moved = Factor {
            moving: true,
            ..factor(3, 3, 2)
        };
        assert_eq!(step(3, None, &[moved, factor(3, 3, 7)]), Step::AsWanted);
        assert_eq!(step(2, None, &[moved, factor(3, 3, 7)]), Step::Ask);
    }
}
