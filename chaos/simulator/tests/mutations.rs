//! Every bug that can be put in is found, by the same schedules and the same checks as all others. So the checks can
//! fail.

use foz_simulator::{Mutation, run};

/// So many schedules at most; most bugs need one or two.
const SEEDS_MAX: u64 = 150;

#[expect(clippy::print_stdout, reason = "what was found, seen with --nocapture")]
fn is_found(mutation: Mutation) {
    let found = (0..SEEDS_MAX)
        .map(|seed| run(seed, Some(mutation)))
        .find_map(|outcome| Some((outcome.seed, outcome.violation?)));
    let Some((seed, violation)) = found else {
        panic!("{} was not found in {SEEDS_MAX} schedules", mutation.name());
    };
    println!("{}: seed {seed}: {violation}", mutation.name());
}

macro_rules! each_is_found {
    ($($test:ident: $mutation:ident,)*) => {
        $(
            #[test]
            fn $test() {
                is_found(Mutation::$mutation);
            }
        )*

        #[test]
        fn none_is_left_out() {
            assert_eq!(Mutation::ALL, [$(Mutation::$mutation,)*]);
        }
    };
}

each_is_found! {
    acknowledged_before_replicated: AcknowledgedBeforeReplicated,
    high_watermark_off_by_one: HighWatermarkOffByOne,
    isr_shrunk_without_controller: IsrShrunkWithoutController,
    epoch_of_records_not_kept: EpochOfRecordsNotKept,
    truncated_to_high_watermark: TruncatedToHighWatermark,
    divergence_not_checked: DivergenceNotChecked,
    vote_not_flushed: VoteNotFlushed,
    entries_not_flushed: EntriesNotFlushed,
    lost_disk_counts: LostDiskCounts,
    leads_before_registration: LeadsBeforeRegistration,
    broker_epoch_not_checked: BrokerEpochNotChecked,
    min_insync_not_kept: MinInsyncNotKept,
    acknowledged_before_flushed: AcknowledgedBeforeFlushed,
    unclean_election: UncleanElection,
    producer_state_lost: ProducerStateLost,
    follower_high_watermark_unbounded: FollowerHighWatermarkUnbounded,
}
