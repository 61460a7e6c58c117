//! Events: what the operator did and what it refuses, beside the object that it is about.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder};
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use crate::conditions::{DEGRADED, READY, find};
use crate::hash::fingerprint;
use crate::sentence::cut;

/// Of Events that wait to be published; what comes then is lost, and logged.
const WAITING_MAX: usize = 10_000;
/// So many are published as fast as it goes.
const AT_ONCE: usize = 25;
/// Between two where more wait: 50 in a second at most.
const PAUSE: Duration = Duration::from_millis(20);
/// The same while passes leave more of them: what the passes themselves write comes first.
const PAUSE_IN_HASTE: Duration = Duration::from_millis(200);
/// Without a new one for so long, the haste is over.
const HASTE_ENDS: Duration = Duration::from_secs(1);
/// For one. The next one goes on.
const PUBLISH_MAX: Duration = Duration::from_secs(10);
/// For those that still wait when the term ends: passes have 2 s, and must not seem to have taken longer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Kubernetes takes 1 KiB.
const NOTE_LENGTH_MAX: usize = 1000;

/// Something worth an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// It needs a person.
    pub warning: bool,
    /// CamelCase.
    pub reason: String,
    /// A sentence.
    pub note: String,
}

impl Notice {
    /// Something was done.
    #[must_use]
    pub fn done(reason: &str, note: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason: reason.to_owned(),
            note: note.into(),
        }
    }

    /// Something was refused, or went wrong.
    #[must_use]
    pub fn warning(reason: &str, note: impl Into<String>) -> Self {
        Self {
            warning: true,
            reason: reason.to_owned(),
            note: note.into(),
        }
    }
}

/// The Events that a change of conditions is worth: something began to need a person, or clients can
/// use it from now on. A condition that says what it said is worth none, nor is one in which only numbers
/// moved: counts of partitions move many times while a broker is away, and are in the status.
#[must_use]
pub fn of_conditions(before: &[Condition], now: &[Condition]) -> Vec<Notice> {
    let mut notices = Vec::new();
    let changed = |condition: &&Condition| {
        find(before, &condition.type_).is_none_or(|before| {
            (&before.status, &before.reason) != (&condition.status, &condition.reason)
                || !words(&before.message).eq(words(&condition.message))
        })
    };
    let is_true = |condition: &&Condition| condition.status == "True";
    if let Some(degraded) = find(now, DEGRADED).filter(is_true).filter(changed) {
        notices.push(Notice::warning(&degraded.reason, degraded.message.clone()));
    }
    let was_ready = find(before, READY).is_some_and(|condition| condition.status == "True");
    if let Some(ready) = find(now, READY).filter(is_true).filter(|_| !was_ready) {
        notices.push(Notice::done(READY, ready.message.clone()));
    }
    notices
}

/// A text without its numbers.
pub(crate) fn words(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|character| !character.is_ascii_digit())
}

/// An Event, and what it is about.
type Waiting = (ObjectReference, Notice);

/// Where passes leave their Events. No pass waits for them, and no pass fails for want of one.
#[derive(Debug, Clone)]
pub struct Events {
    warnings: Sender<Waiting>,
    others: Sender<Waiting>,
    /// When a pass left some the last time.
    left: Arc<Mutex<Instant>>,
}

impl Events {
    /// With what publishes them, which ends when there is nobody any more who could leave one, or soon after `term`.
    pub fn new(recorder: Recorder, term: CancellationToken) -> (Self, impl Future<Output = ()>) {
        let (warnings, mut waiting_warnings) = channel(WAITING_MAX);
        let (others, mut waiting_others) = channel(WAITING_MAX);
        let left = Arc::new(Mutex::new(Instant::now()));
        let last_left = Arc::clone(&left);
        let publishing = async move {
            let ended = async {
                term.cancelled().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            let since_last = || last_left.lock().elapsed();
            let (warnings, others) = (&mut waiting_warnings, &mut waiting_others);
            let all = publish_all(&recorder, warnings, others, &term, since_last);
            tokio::select! {
                () = all => {}
                () = ended => {}
            }
            for waiting in [&mut waiting_warnings, &mut waiting_others] {
                while let Ok((_, notice)) = waiting.try_recv() {
                    lost(&notice, &"the operator's term has ended");
                }
            }
        };
        let events = Self {
            warnings,
            others,
            left,
        };
        (events, publishing)
    }

    /// Publishes them soon: what needs a person first, and else in this order.
    pub fn publish(&self, regarding: &ObjectReference, notices: &[Notice]) {
        if notices.is_empty() {
            return;
        }
        *self.left.lock() = Instant::now();
        for notice in notices {
            let to = if notice.warning {
                &self.warnings
            } else {
                &self.others
            };
            if let Err(error) = to.try_send((regarding.clone(), notice.clone())) {
                lost(notice, &error);
            }
        }
    }
}

/// One after the other, and not as fast as it goes: where thousands of topics are made, the API server has better
/// things to do.
async fn publish_all(
    recorder: &Recorder,
    warnings: &mut Receiver<Waiting>,
    others: &mut Receiver<Waiting>,
    term: &CancellationToken,
    since_last: impl Fn() -> Duration,
) {
    loop {
        let (regarding, notice) = tokio::select! {
            biased;
            Some(warning) = warnings.recv() => warning,
            Some(other) = others.recv() => other,
            else => return,
        };
        let event = event(&notice);
        let published = recorder.publish(&event, &regarding);
        match tokio::time::timeout(PUBLISH_MAX, published).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => lost(&notice, &error),
            Err(late) => lost(&notice, &late),
        }
        if warnings.is_empty()
            && let Some(pause) = pause(others.len(), since_last())
        {
            let _ = tokio::time::timeout(pause, term.cancelled()).await;
        }
    }
}

/// Before the next one, where so many wait, and passes left none for so long.
fn pause(waiting: usize, since_last: Duration) -> Option<Duration> {
    (waiting > AT_ONCE).then_some(if since_last < HASTE_ENDS {
        PAUSE_IN_HASTE
    } else {
        PAUSE
    })
}

fn lost(notice: &Notice, error: &dyn std::fmt::Display) {
    let Notice { reason, note, .. } = notice;
    tracing::warn!(%error, reason, note, "an Event was lost");
}

fn event(notice: &Notice) -> Event {
    let note = cut(notice.note.clone(), NOTE_LENGTH_MAX);
    Event {
        type_: if notice.warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: notice.reason.clone(),
        // The recorder takes Events of equal action for repetitions, whatever their notes say.
        action: format!(
            "{}-{:08x}",
            notice.reason,
            fingerprint(note.as_bytes()) & 0xffff_ffff
        ),
        note: Some(note),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{AT_ONCE, HASTE_ENDS, Notice, PAUSE, PAUSE_IN_HASTE, event, of_conditions, pause};
    use crate::conditions::{Finding, Findings};
    use k8s_openapi::jiff::Timestamp;

    #[test]
    fn events_of_many_objects_come_after_what_passes_write() {
        let just_now = Duration::from_millis(10);
        assert_eq!(pause(AT_ONCE, just_now), None);
        assert_eq!(pause(AT_ONCE + 1, just_now), Some(PAUSE_IN_HASTE));
        assert_eq!(pause(AT_ONCE + 1, HASTE_ENDS), Some(PAUSE));
        assert_eq!(pause(0, HASTE_ENDS), None);
    }

    #[test]
    fn conditions_are_worth_an_event_when_they_change() {
        let now = Timestamp::UNIX_EPOCH;
        let mut findings = Findings {
            not_ready: vec![Finding::new("Starting", "0 of 3")],
            ready_message: "3 of 3".into(),
            progressing: Vec::new(),
            degraded: Vec::new(),
        };
        let starting = findings.conditions(&[], None, now);
        assert_eq!(of_conditions(&[], &starting), []);
        findings.not_ready.clear();
        let ready = findings.conditions(&starting, None, now);
        assert_eq!(
            of_conditions(&starting, &ready),
            [Notice::done("Ready", "3 of 3")]
        );
        assert_eq!(of_conditions(&ready, &ready), []);
        findings.degraded = vec![Finding::new("ScaleDownRefused", "no")];
        let refused = findings.conditions(&ready, None, now);
        assert_eq!(
            of_conditions(&ready, &refused),
            [Notice::warning("ScaleDownRefused", "no")]
        );
        findings.degraded = vec![Finding::new("ScaleDownRefused", "no, really")];
        let again = findings.conditions(&refused, None, now);
        assert_eq!(of_conditions(&refused, &again).len(), 1);
    }

    #[test]
    fn counts_that_move_are_not_worth_an_event_each() {
        let now = Timestamp::UNIX_EPOCH;
        let degraded = |reason, message: &str| {
            let findings = Findings {
                not_ready: Vec::new(),
                ready_message: String::new(),
                progressing: Vec::new(),
                degraded: vec![Finding::new(reason, message)],
            };
            findings.conditions(&[], None, now)
        };
        let first = degraded("UnderReplicated", "9 of 12 partitions");
        let moved = degraded("UnderReplicated", "10 of 112 partitions");
        assert_eq!(of_conditions(&first, &moved), []);
        let other = degraded("UnderReplicated", "10 of 112 partitions; one is down");
        assert_eq!(of_conditions(&moved, &other).len(), 1);
        let worse = degraded("OfflinePartitions", "10 of 112 partitions");
        assert_eq!(of_conditions(&moved, &worse).len(), 1);
    }

    #[test]
    fn notes_fit_and_different_notes_are_different_events() {
        let long = event(&Notice::done("Created", "ü".repeat(900)));
        assert!(long.note.expect("a note").len() <= 1000);
        let action = |note: &str| event(&Notice::done("Created", note)).action;
        assert_ne!(action("a"), action("b"));
        assert!(action("a").len() <= 128);
    }
}
