use crate::assignor::Assignor;

/// `group.consumer.migration.policy`: which groups with members may change their protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// From the classic protocol to KIP-848, and back.
    #[default]
    Bidirectional,
    /// To KIP-848.
    Upgrade,
    /// Back from it.
    Downgrade,
    /// None, and no classic member joins a group of KIP-848.
    Disabled,
}

impl MigrationPolicy {
    /// As Kafka reads it, whatever the case.
    pub fn by_name(name: &str) -> Option<Self> {
        match &*name.to_ascii_lowercase() {
            "bidirectional" => Some(Self::Bidirectional),
            "upgrade" => Some(Self::Upgrade),
            "downgrade" => Some(Self::Downgrade),
            "disabled" => Some(Self::Disabled),
            _ => None,
        }
    }

    pub(crate) fn allows_upgrade(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    pub(crate) fn allows_downgrade(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}

/// Limits and times of a consumer group, with Kafka's names and defaults. A group's own config
/// (`consumer.session.timeout.ms` and the like) is put in by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`
    pub session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`: what members are told.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`: members of one group.
    pub max_size: usize,
    /// `group.consumer.assignment.interval.ms` (KIP-1263): the least time between two target assignments, so
    /// that a thousand members that join at once cost a few.
    pub assignment_interval_ms: i32,
    /// `group.consumer.regex.refresh.interval.ms`: regular expressions are matched again after so long, also when
    /// no topic has come or gone: who may read what changes, too.
    pub regex_refresh_interval_ms: i32,
    /// `max.message.bytes` of `__consumer_offsets`: a subscription that does not fit in one batch is refused, and
    /// a target assignment that does not is left out. 1 MiB takes the targets of some 10,000 members at once.
    pub batch_bytes_max: usize,
    /// `group.consumer.assignors`: the first is taken where members ask for none.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`
    pub migration_policy: MigrationPolicy,
}

impl Default for ConsumerGroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            max_size: i32::MAX as usize,
            assignment_interval_ms: 1_000,
            regex_refresh_interval_ms: 600_000,
            batch_bytes_max: 1_048_588,
            assignors: Assignor::ALL.to_vec(),
            migration_policy: MigrationPolicy::default(),
        }
    }
}
