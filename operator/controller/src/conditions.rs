//! The conditions of a status, in the shape that kstatus, Argo CD and `kubectl wait` expect. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::sentence::cut;

/// Clients can use it.
pub const READY: &str = "Ready";
/// Something is under way.
pub const PROGRESSING: &str = "Progressing";
/// Something needs a person.
pub const DEGRADED: &str = "Degraded";

/// Kubernetes allows 32 KiB; what nobody would read is cut.
const MESSAGE_LENGTH_MAX: usize = 1024;

/// Something that a person should know: a reason in CamelCase and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// CamelCase, one of a few.
    pub reason: &'static str,
    /// What is, and what would make it right.
    pub message: String,
}

impl Finding {
    /// A finding.
    #[must_use]
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// What a pass found out, from which the conditions are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Empty when clients can use it.
    pub not_ready: Vec<Finding>,
    /// The message of `Ready` when it is true.
    pub ready_message: String,
    /// What is under way.
    pub progressing: Vec<Finding>,
    /// What needs a person.
    pub degraded: Vec<Finding>,
}

impl Findings {
    /// The three conditions. Those that say what `previous` said keep its time.
    #[must_use]
    pub fn conditions(
        &self,
        previous: &[Condition],
        generation: Option<i64>,
        now: Timestamp,
    ) -> Vec<Condition> {
        let ready = match self.not_ready.first() {
            None => ("True", "Ready", self.ready_message.clone()),
            Some(first) => ("False", first.reason, sentences(&self.not_ready)),
        };
        let under_way = match self.progressing.first() {
            None => ("False", "Settled", "nothing is under way".to_owned()),
            Some(first) => ("True", first.reason, sentences(&self.progressing)),
        };
        let degraded = match self.degraded.first() {
            None => ("False", "AsExpected", "nothing needs a person".to_owned()),
            Some(first) => ("True", first.reason, sentences(&self.degraded)),
        };
        [
            (READY, ready),
            (PROGRESSING, under_way),
            (DEGRADED, degraded),
        ]
        .map(|(type_, (status, reason, message))| Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: cut(message, MESSAGE_LENGTH_MAX),
            observed_generation: generation,
            last_transition_time: since(previous, type_, status, now),
        })
        .into()
    }
}

/// The condition of a type.
#[must_use]
pub fn find<'conditions>(
    conditions: &'conditions [Condition],
    type_: &str,
) -> Option<&'conditions Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

fn since(previous: &[Condition], type_: &str, status: &str, now: Timestamp) -> Time {
    find(previous, type_)
        .filter(|condition| condition.status == status)
        .map_or_else(
            || Time(whole_seconds(now)),
            |condition| condition.last_transition_time.clone(),
        )
}

/// Kubernetes keeps times in seconds: a finer one would come back different.
#[must_use]
pub fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn sentences(findings: &[Finding]) -> String {
    let messages: Vec<&str> = findings
        .iter()
        .map(|finding| finding.message.as_str())
        .collect();
    messages.join("; ")
}

#[cfg(test)]
mod tests {
    use super::{DEGRADED, Finding, Findings, READY, find};
    use k8s_openapi::jiff::Timestamp;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 123_456).expect("a time")
    }

    fn findings() -> Findings {
        Findings {
            not_ready: Vec::new(),
            ready_message: "fine".into(),
            progressing: Vec::new(),
            degraded: Vec::new(),
        }
    }

    #[test]
    fn the_time_moves_only_when_the_status_does() {
        let first = findings().conditions(&[], Some(1), at(10));
        assert_eq!(
            find(&first, READY)
                .expect("Ready")
                .last_transition_time
                .0
                .as_second(),
            10
        );
        let mut degraded = findings();
        degraded.degraded = vec![
            Finding::new("ConfigInvalid", "a"),
            Finding::new("Other", "b"),
        ];
        let second = degraded.conditions(&first, Some(2), at(20));
        assert_eq!(
            find(&second, READY)
                .expect("Ready")
                .last_transition_time
                .0
                .as_second(),
            10
        );
        let condition = find(&second, DEGRADED).expect("Degraded");
        assert_eq!(condition.last_transition_time.0.as_second(), 20);
        assert_eq!(
            (condition.reason.as_str(), condition.message.as_str()),
            ("ConfigInvalid", "a; b")
        );
        assert_eq!(condition.observed_generation, Some(2));
    }

    #[test]
    fn the_same_findings_make_the_same_conditions() {
        let first = findings().conditions(&[], Some(1), at(10));
        assert_eq!(findings().conditions(&first, Some(1), at(99)), first);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut long = findings();
        long.not_ready = vec![Finding::new("Long", "ä".repeat(2000))];
        let conditions = long.conditions(&[], None, at(1));
        let message = &find(&conditions, READY).expect("Ready").message;
        assert!(
            message.len() <= 1024 && message.ends_with("ä..."),
            "{}",
            message.len()
        );
    }
}
