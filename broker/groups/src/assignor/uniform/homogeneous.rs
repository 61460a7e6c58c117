use super::{FREE, Owners};
use crate::assignor::AssignorGroup;

/// All subscribe to the same topics: every member gets its share of the total, and what exceeds it moves.
pub(super) fn fill(group: &AssignorGroup<'_>, owners: &mut Owners) {
    let mut quotas = quotas(group.members.len(), owners);
    for owner in owners.topics.values_mut().flatten() {
        if *owner != FREE {
            match quotas[*owner] {
                0 => *owner = FREE,
                _ => quotas[*owner] -= 1,
            }
        }
    }
    let mut unfilled = 0;
    for owner in owners.topics.values_mut().flatten() {
        if *owner == FREE {
            while quotas[unfilled] == 0 {
                unfilled += 1;
            }
            quotas[unfilled] -= 1;
            *owner = unfilled;
        }
    }
}

/// How many partitions each member is to have. Where they cannot be equal, those that have one more already
/// go before those that would get it.
fn quotas(member_count: usize, owners: &Owners) -> Vec<usize> {
    let mut owned = vec![0usize; member_count];
    let mut total = 0;
    for owner in owners.topics.values().flatten() {
        total += 1;
        if *owner != FREE {
            owned[*owner] += 1;
        }
    }
    let share = total / member_count;
    let mut larger = total % member_count;
    let mut quotas = vec![share; member_count];
    for takes_what_it_has in [true, false] {
        for (quota, owned) in quotas.iter_mut().zip(&owned) {
            if larger > 0 && (*owned > share) == takes_what_it_has {
                *quota += 1;
                larger -= 1;
            }
        }
    }
    quotas
}
