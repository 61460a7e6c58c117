//! The list.

use std::fmt;
use std::str::FromStr;

macro_rules! canaries {
    ($($canary:ident $name:literal $about:literal;)*) => {
        /// A bug that can be switched on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Canary {
            $(#[doc = $about] $canary,)*
        }

        impl Canary {
            /// Every canary.
            pub const ALL: &[Canary] = &[$(Canary::$canary,)*];

            /// As the environment and the command line have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Canary::$canary => $name,)*
                }
            }

            /// What is wrong, for people.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self {
                    $(Canary::$canary => $about,)*
                }
            }
        }
    };
}

canaries! {
    AcknowledgeBeforeReplicate "acknowledge-before-replicate"
        "acks=all is answered as soon as the leader has the records";
    HighWatermarkAhead "high-watermark-ahead"
        "a follower counts as having what its fetch is about to be answered with";
    IsrShrinkWithoutController "isr-shrink-without-controller"
        "the leader stops waiting for a follower that is silent for a second, and tells nobody";
    DivergenceUnnoticed "divergence-unnoticed"
        "the leader does not compare a follower's last epoch with its own";
    TruncateByHighWatermark "truncate-by-high-watermark"
        "when its leader changes, a replica cuts its log at its own high watermark";
    ProducerStateLostOnRestart "producer-state-lost-on-restart"
        "producers are forgotten when a log is opened";
    ProducerStateNotReplicated "producer-state-not-replicated"
        "producers are not remembered by followers";
    DuplicateSequenceAccepted "duplicate-sequence-accepted"
        "a batch that comes again is appended again";
    FencedLeaderStillAcknowledges "fenced-leader-still-acknowledges"
        "a producer that waits while the leadership ends is told that its records are safe";
    FollowerSkipsBatch "follower-skips-batch"
        "a follower that gets many batches at once leaves out the first";
    ConsumerReadsAboveHighWatermark "consumer-reads-above-high-watermark"
        "consumers read to the end of the log";
    EndOffsetToldTooEarly "end-offset-told-too-early"
        "a new leader says where the partition ends before it knows what is committed";
    TornTailKept "torn-tail-kept"
        "what is torn at the end of a log is left there";
    FailedFlushIgnored "failed-flush-ignored"
        "a flush that failed counts as done";
    DamageServed "damage-served"
        "damage below the recovery point is served";
    UncleanElectionAlways "unclean-election-always"
        "any replica may be elected";
    RegistrationIgnoresLostDisk "registration-ignores-lost-disk"
        "a broker whose disk lost data keeps its place among those that have all";
    OfflineReplicaIsElected "offline-replica-is-elected"
        "a replica whose data directory has failed may lead";
    LsoIgnoresUnreplicatedMarkers "lso-ignores-unreplicated-markers"
        "a transaction is stable as soon as the leader has its marker";
    MarkerNotInSnapshot "marker-not-in-snapshot"
        "the snapshot of producers does not say that a transaction was ended";
    AbortedTransactionsUntold "aborted-transactions-untold"
        "readers of committed records are not told which transactions were aborted";
    FencedMemberCommits "fenced-member-commits"
        "a member that its group does not have any more commits offsets in a transaction";
}

impl Canary {
    /// Whether the faults of the chaos runs bring it out: a broker has one data directory there, hardly ever does a
    /// leader go away between a marker and its copies, and no client stands still. Others are for the properties of
    /// `foz-metadata`, for the model of transactions of `foz-log`, and for Kafka Streams under faults.
    #[must_use]
    pub const fn shows_in_runs(self) -> bool {
        !matches!(
            self,
            Self::OfflineReplicaIsElected
                | Self::LsoIgnoresUnreplicatedMarkers
                | Self::FencedMemberCommits
        )
    }
}

/// No canary has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no canary {name:?}; there are {}", names())]
pub struct UnknownCanary {
    /// What was asked for.
    pub name: String,
}

impl fmt::Display for Canary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Canary {
    type Err = UnknownCanary;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL
            .iter()
            .copied()
            .find(|canary| canary.name() == name);
        found.ok_or_else(|| UnknownCanary {
            name: name.to_owned(),
        })
    }
}

fn names() -> String {
    let names: Vec<&str> = Canary::ALL.iter().map(|canary| canary.name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_one_canarys_and_comes_back() {
        let names: BTreeSet<_> = Canary::ALL.iter().map(|canary| canary.name()).collect();
        assert_eq!(names.len(), Canary::ALL.len());
        for canary in Canary::ALL.iter().copied() {
            assert_eq!(canary.name().parse(), Ok(canary));
            assert!(
                canary
                    .name()
                    .chars()
                    .all(|letter| letter == '-' || letter.is_ascii_lowercase()),
                "{canary}"
            );
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_all_that_there_are() {
        let error = "early-ack".parse::<Canary>().unwrap_err().to_string();
        assert!(error.contains("early-ack"), "{error}");
        for canary in Canary::ALL.iter().copied() {
            assert!(error.contains(canary.name()), "{error}");
        }
    }
}
