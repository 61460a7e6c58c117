//! Kafka's range assignor (`org.apache.kafka.clients.consumer.RangeAssignor`): for each topic, members
//! in order of their ids take one range each; the first ones take one partition more when the numbers
//! do not divide. Pure.

use std::collections::BTreeMap;

/// Partitions by topic.
pub(crate) type Assignment = BTreeMap<String, Vec<i32>>;

/// The partitions of each member. `subscriptions` are the topics of each member; a topic without a
/// number of partitions is not there.
pub(crate) fn range_assignment(
    subscriptions: &BTreeMap<String, Vec<String>>,
    partition_counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, Assignment> {
    let mut assignments: BTreeMap<String, Assignment> = subscriptions
        .keys()
        .map(|member| (member.clone(), Assignment::new()))
        .collect();
    for (topic, &count) in partition_counts {
        let members: Vec<&String> = subscriptions
            .iter()
            .filter(|(_, topics)| topics.contains(topic))
            .map(|(member, _)| member)
            .collect();
        if members.is_empty() {
            continue;
        }
        let (share, more) = (count / members.len() as i32, count % members.len() as i32);
        let mut next = 0;
        for (at, member) in members.into_iter().enumerate() {
            let end = next + share + i32::from((at as i32) < more);
            if let Some(assignment) = assignments.get_mut(member).filter(|_| next < end) {
                assignment.insert(topic.clone(), (next..end).collect());
            }
            next = end;
        }
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(members: &[(&str, &[&str])], counts: &[(&str, i32)]) -> BTreeMap<String, Assignment> {
        let subscriptions = members
            .iter()
            .map(|(member, topics)| {
                (
                    (*member).to_owned(),
                    topics.iter().map(|it| (*it).to_owned()).collect(),
                )
            })
            .collect();
        let counts = counts
            .iter()
            .map(|(topic, count)| ((*topic).to_owned(), *count))
            .collect();
        range_assignment(&subscriptions, &counts)
    }

    #[test]
    fn the_first_members_take_one_more() {
        let assigned = assign(&[("a", &["t"]), ("b", &["t"]), ("c", &["t"])], &[("t", 8)]);
        assert_eq!(assigned["a"]["t"], [0, 1, 2]);
        assert_eq!(assigned["b"]["t"], [3, 4, 5]);
        assert_eq!(assigned["c"]["t"], [6, 7]);
    }

    #[test]
    fn members_without_a_partition_have_an_empty_assignment() {
        let assigned = assign(
            &[("a", &["t"]), ("b", &["t"]), ("c", &["gone"])],
            &[("t", 1)],
        );
        assert_eq!(assigned["a"]["t"], [0]);
        assert!(assigned["b"].is_empty() && assigned["c"].is_empty());
    }

    #[test]
    fn each_topic_goes_to_those_who_want_it() {
        let assigned = assign(
            &[("a", &["t", "u"]), ("b", &["u"])],
            &[("t", 2), ("u", 2), ("v", 2)],
        );
        assert_eq!(assigned["a"]["t"], [0, 1]);
        assert_eq!(assigned["a"]["u"], [0]);
        assert_eq!(assigned["b"]["u"], [1]);
        assert!(!assigned["a"].contains_key("v"));
    }
}
