use std::collections::BTreeMap;

use foz_transactions::{Coordinator, TransactionState};
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::coordinator_log::LoadTimes;
use crate::internal_topics::TRANSACTION_STATE;

/// What is told of the coordinators that run here.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Coordinators by what they do.
    pub(crate) loading: IntGauge,
    pub(crate) active: IntGauge,
    pub(crate) failed: IntGauge,
    pub(crate) load_times: LoadTimes,
    transactional_ids: IntGaugeVec,
    stuck: IntGauge,
}

impl Figures {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let transactional_ids = IntGaugeVec::new(
            Opts::new(
                "foz_transactional_ids",
                "Transactional ids that this broker coordinates, by the state of their transaction.",
            ),
            &["state"],
        )?;
        registry.register(Box::new(transactional_ids.clone()))?;
        let stuck = IntGauge::new(
            "foz_stuck_transactions",
            "Decided transactions whose marker a partition refuses.",
        )?;
        registry.register(Box::new(stuck.clone()))?;
        let coordinators = IntGaugeVec::new(
            Opts::new(
                "foz_transaction_coordinators",
                "Partitions of __transaction_state that this broker leads, by the state of their coordinator.",
            ),
            &["state"],
        )?;
        registry.register(Box::new(coordinators.clone()))?;
        let of = |state| coordinators.with_label_values(&[state]);
        Ok(Self {
            loading: of("loading"),
            active: of("active"),
            failed: of("failed"),
            load_times: LoadTimes::register(registry, "transaction", TRANSACTION_STATE)?,
            transactional_ids,
            stuck,
        })
    }
}

/// The part of one coordinator in them, for as long as it lives.
#[derive(Debug)]
pub(super) struct Share {
    figures: Figures,
    transactional_ids: BTreeMap<&'static str, i64>,
    stuck: i64,
}

impl Share {
    pub(super) fn of(figures: Figures) -> Self {
        Self {
            figures,
            transactional_ids: BTreeMap::new(),
            stuck: 0,
        }
    }

    /// Looks at every transactional id.
    pub(super) fn update(&mut self, coordinator: &Coordinator) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let counts = coordinator.counts();
        let by_state = TransactionState::ALL.map(|state| {
            let ids = counts.by_state.get(&state).copied().unwrap_or(0);
            (state.name(), count(ids))
        });
        self.tell(by_state.into(), count(counts.stuck));
    }

    fn tell(&mut self, by_state: BTreeMap<&'static str, i64>, stuck: i64) {
        for (state, count) in &by_state {
            let before = self.transactional_ids.get(state).copied().unwrap_or(0);
            let gauge = self.figures.transactional_ids.with_label_values(&[state]);
            gauge.add(count - before);
        }
        self.figures.stuck.add(stuck - self.stuck);
        (self.transactional_ids, self.stuck) = (by_state, stuck);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let none = TransactionState::ALL.map(|state| (state.name(), 0));
        self.tell(none.into(), 0);
    }
}
