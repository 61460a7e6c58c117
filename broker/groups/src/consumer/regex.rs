//! Subscriptions by regular expression. The caller compiles them, matches them and says what they match; here
//! is kept when that is due, and what came of it. One that has not been resolved matches nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::config::ConsumerGroupConfig;
use super::group::ConsumerGroup;
use super::record::ConsumerRecord;
use super::refused::Refused;
use super::too_large::TooLarge;
use super::topics::Topics;
use super::turn::{GroupChange, Turn};
use crate::now::Now;

/// At least so long between two resolutions of a group (Kafka's `REGEX_BATCH_REFRESH_MIN_INTERVAL_MS`).
const REFRESH_MIN_INTERVAL_MS: i64 = 10_000;

/// Different ones in one group. Kafka has no bound; members of a group mostly have one expression in common.
const REGEXES_MAX: usize = 1_000;

/// What a regular expression matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedRegex {
    /// By name.
    pub topics: BTreeSet<Arc<str>>,
    /// That of the [`Topics`] it was matched against.
    pub version: u64,
    /// When (wall clock).
    pub timestamp_ms: i64,
}

/// What fitted in no batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct TooLargeRegex {
    /// Of the topics it was matched against.
    version: u64,
    bytes: usize,
}

/// What came of resolving the regular expressions of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Each to be appended as one batch, in this order. Those that are in the log are right without the rest.
    pub batches: Vec<GroupChange>,
    /// What was left as it is.
    pub too_large: Vec<TooLarge>,
}

impl ConsumerGroup {
    /// Takes over what the regular expressions match that a heartbeat asked to have resolved, in that version of
    /// the topics; nothing when that failed, and it is asked for again after a while.
    pub fn resolve(
        &mut self,
        matches: &[(Arc<str>, BTreeSet<Arc<str>>)],
        version: u64,
        topics: &Topics,
        config: &ConsumerGroupConfig,
        now: Now,
    ) -> Resolution {
        self.is_resolving = false;
        let mut resolution = Resolution::default();
        let mut rest = matches;
        while !rest.is_empty() {
            let (taken, change) = self.resolve_some(rest, version, topics, config, now);
            rest = &rest[taken..];
            match change {
                Ok(change) if change.records.is_empty() => {}
                Ok(change) => resolution.batches.push(change),
                Err(too_large) => resolution.too_large.push(too_large),
            }
        }
        let has_failed = matches.is_empty()
            || (resolution.batches.is_empty() && !resolution.too_large.is_empty());
        self.resolution_failed_ms = has_failed.then_some(now.monotonic_ms);
        resolution
    }

    /// As many as a batch holds, or the first, when it fits in none; says how many these were.
    fn resolve_some(
        &mut self,
        matches: &[(Arc<str>, BTreeSet<Arc<str>>)],
        version: u64,
        topics: &Topics,
        config: &ConsumerGroupConfig,
        now: Now,
    ) -> (usize, Result<GroupChange, TooLarge>) {
        let bytes_max = config.batch_bytes_max;
        let epoch_bytes_max = ConsumerRecord::Epoch(Some(self.epoch)).bytes_max(&self.id);
        let mut turn = Turn::new(self, topics);
        let start = turn.savepoint();
        let mut taken = 0;
        let mut has_changed = false;
        for (regex, matched) in matches {
            if !turn.group.regexes.contains_key(regex) {
                taken += 1;
                continue;
            }
            let is_first = turn.records.is_empty();
            let before = turn.savepoint();
            // The first time counts, whatever matches: a member that came from another expression has a target
            // of what that matches.
            let old = turn.group.resolved.get(regex);
            let has_this_changed = old.is_none_or(|old| old.topics != *matched);
            turn.write(ConsumerRecord::Regex {
                regex: regex.clone(),
                resolved: Some(ResolvedRegex {
                    topics: matched.clone(),
                    version,
                    timestamp_ms: now.wall_ms,
                }),
            });
            let is_full = !turn.is_surely_within(bytes_max.saturating_sub(epoch_bytes_max));
            if is_full && !is_first {
                turn.roll_back(before);
                break;
            }
            taken += 1;
            has_changed |= has_this_changed;
            turn.group.too_large_regexes.remove(regex);
            if is_full {
                break;
            }
        }
        if !turn.records.is_empty() {
            turn.update_epoch(has_changed);
        }
        // Only one that is by itself can be too large.
        if !turn.fits(config) {
            let bytes = turn.batch_bytes();
            turn.roll_back(start);
            let regex = matches[taken - 1].0.clone();
            let failed = &mut turn.group.too_large_regexes;
            failed.insert(regex.clone(), TooLargeRegex { version, bytes });
            let too_large = TooLarge::Regex {
                regex,
                bytes,
                bytes_max,
            };
            return (taken, Err(too_large));
        }
        (taken, Ok(turn.into_change()))
    }

    /// A bound on what one resolution costs: an expression may be matched against all topics each ten seconds.
    pub(super) fn check_regex_count(&self, count_before: usize) -> Result<(), Refused> {
        if self.regexes.len() <= REGEXES_MAX.max(count_before) {
            return Ok(());
        }
        Err(Refused::new(
            ResponseError::InvalidRegularExpression,
            format!(
                "SubscribedTopicRegex is another than the {REGEXES_MAX} that members of the group subscribe to, \
                 and no group has more"
            ),
        ))
    }

    /// The regular expressions that are to be resolved now.
    pub(super) fn start_to_resolve(
        &mut self,
        topics: &Topics,
        config: &ConsumerGroupConfig,
        now: Now,
    ) -> Vec<Arc<str>> {
        if self.is_resolving || !self.is_resolution_due(topics, config, now) {
            return Vec::new();
        }
        self.is_resolving = true;
        self.regexes.keys().cloned().collect()
    }

    fn is_resolution_due(&self, topics: &Topics, config: &ConsumerGroupConfig, now: Now) -> bool {
        let failed_ms = self.resolution_failed_ms;
        let has_just_failed = failed_ms
            .is_some_and(|failed_ms| now.monotonic_ms - failed_ms < REFRESH_MIN_INTERVAL_MS);
        if self.regexes.is_empty() || has_just_failed {
            return false;
        }
        let newest = self.resolved.values().map(|resolved| resolved.timestamp_ms);
        // A wall clock that was set back is not to hold a group up.
        let since_ms = match (newest.max(), failed_ms) {
            (Some(newest_ms), _) => now.wall_ms.saturating_sub(newest_ms),
            (None, Some(failed_ms)) => now.monotonic_ms - failed_ms,
            (None, None) => i64::MAX,
        };
        if (0..REFRESH_MIN_INTERVAL_MS).contains(&since_ms) {
            return false;
        }
        let mut regexes = self.regexes.keys();
        let is_stale = |regex: &Arc<str>| {
            let resolved = self.resolved.get(regex).map(|resolved| resolved.version);
            // It would not fit now either.
            let failed = self.too_large_regexes.get(regex);
            let failed = failed.filter(|failed| failed.bytes > config.batch_bytes_max);
            let tried = resolved.max(failed.map(|failed| failed.version));
            tried.is_none_or(|version| version < topics.new_names_version())
        };
        let interval_ms = i64::from(config.regex_refresh_interval_ms);
        since_ms < 0 || since_ms >= interval_ms || regexes.any(is_stale)
    }
}
