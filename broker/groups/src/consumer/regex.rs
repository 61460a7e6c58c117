//! Subscriptions by regular expression. The caller compiles them, matches them and says what they match; here
//! is kept when that is due, and what came of it. One that has not been resolved matches nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::config::ConsumerGroupConfig;
use super::group::ConsumerGroup;
use super::record::ConsumerRecord;
use super::refused::Refused;
use super::topics::Topics;
use super::turn::{GroupChange, Turn};
use crate::now::Now;

/// At least so long between two resolutions of a group (Kafka's `REGEX_BATCH_REFRESH_MIN_INTERVAL_MS`).
const REFRESH_MIN_INTERVAL_MS: i64 = 10_000;

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
    ) -> Result<GroupChange, Refused> {
        self.is_resolving = false;
        self.resolution_failed_ms = Some(now.monotonic_ms);
        let mut turn = Turn::new(self, topics);
        let mut has_changed = false;
        for (regex, matched) in matches {
            if !turn.group.regexes.contains_key(regex) {
                continue;
            }
            // The first time counts, whatever matches: a member that came from another expression has a target
            // of what that matches.
            let old = turn.group.resolved.get(regex);
            has_changed |= old.is_none_or(|old| old.topics != *matched);
            turn.write(ConsumerRecord::Regex {
                regex: regex.clone(),
                resolved: Some(ResolvedRegex {
                    topics: matched.clone(),
                    version,
                    timestamp_ms: now.wall_ms,
                }),
            });
        }
        if !turn.records.is_empty() {
            turn.update_epoch(has_changed);
        }
        turn.check_size(config)?;
        let change = turn.into_change();
        if !matches.is_empty() {
            self.resolution_failed_ms = None;
        }
        Ok(change)
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
        let Some(newest_ms) = newest.max() else {
            return true;
        };
        // A wall clock that was set back is not to hold a group up.
        let since_ms = now.wall_ms.saturating_sub(newest_ms);
        if (0..REFRESH_MIN_INTERVAL_MS).contains(&since_ms) {
            return false;
        }
        let mut regexes = self.regexes.keys();
        let is_stale = |regex: &Arc<str>| {
            let resolved = self.resolved.get(regex);
            resolved.is_none_or(|resolved| resolved.version != topics.version())
        };
        let interval_ms = i64::from(config.regex_refresh_interval_ms);
        since_ms < 0 || since_ms >= interval_ms || regexes.any(is_stale)
    }
}
