use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;

use crate::asker::Asker;
use crate::effect::AppendToken;
use crate::transaction::Transaction;

/// Why a batch is not in the log. It must be certain that it never will be: when that is open
/// (the broker lost the partition, the outcome is unknown), let the coordinator resign instead: the one
/// of the next leader epoch finds out. A batch that only takes long has no outcome yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// This broker does not lead the partition, or its storage failed.
    #[error("this broker cannot write to the partition")]
    NotCoordinator,
    /// The partition cannot take the batch now (too few replicas).
    #[error("the partition is not available")]
    NotAvailable,
    /// The batch is larger than the topic allows.
    #[error("the batch is too large")]
    TooLarge,
}

impl AppendError {
    pub(crate) fn response_error(self) -> ResponseError {
        match self {
            Self::NotCoordinator => ResponseError::NotCoordinator,
            Self::NotAvailable => ResponseError::CoordinatorNotAvailable,
            Self::TooLarge => ResponseError::UnknownServerError,
        }
    }
}

/// What becomes true once the batch is confirmed. Until then nothing of it is.
#[derive(Debug)]
pub(crate) enum Change {
    /// The transactional id is in this state.
    Set {
        transactional_id: Arc<str>,
        next: Box<Transaction>,
    },
    /// The transactional ids are forgotten.
    Expire(Vec<Arc<str>>),
    /// What the log held already when the coordinator was loaded, above the high watermark.
    Inherited(BTreeMap<Arc<str>, Option<Transaction>>),
}

/// A batch that was handed out and not settled yet.
#[derive(Debug)]
pub(crate) struct PendingAppend {
    pub(crate) change: Change,
    pub(crate) asker: Asker,
    deadline_ms: Option<i64>,
}

/// The batches under way. Of one transactional id there is at most one, so they may settle in any order.
#[derive(Debug, Default)]
pub(crate) struct Appends {
    next_token: u64,
    under_way: BTreeMap<AppendToken, PendingAppend>,
    /// Of those that somebody waits for.
    deadlines: BTreeSet<(i64, AppendToken)>,
}

impl Appends {
    pub(crate) fn push(&mut self, change: Change, asker: Asker, deadline_ms: i64) -> AppendToken {
        let token = AppendToken(self.next_token);
        self.next_token += 1;
        let deadline_ms = (!asker.is_nobody()).then_some(deadline_ms);
        if let Some(deadline_ms) = deadline_ms {
            self.deadlines.insert((deadline_ms, token));
        }
        let pending = PendingAppend {
            change,
            asker,
            deadline_ms,
        };
        self.under_way.insert(token, pending);
        token
    }

    /// It is settled; `None` when it is not under way.
    pub(crate) fn take(&mut self, token: AppendToken) -> Option<PendingAppend> {
        let pending = self.under_way.remove(&token)?;
        if let Some(deadline_ms) = pending.deadline_ms {
            self.deadlines.remove(&(deadline_ms, token));
        }
        Some(pending)
    }

    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Lets go of all who have waited long enough. The batches stay: their outcome is open.
    pub(crate) fn time_out(&mut self, now_ms: i64) -> Vec<Asker> {
        let mut askers = Vec::new();
        while let Some((_, token)) = self.deadlines.first().filter(|(ms, _)| *ms <= now_ms) {
            let token = *token;
            self.deadlines.pop_first();
            if let Some(pending) = self.under_way.get_mut(&token) {
                pending.deadline_ms = None;
                askers.push(std::mem::replace(&mut pending.asker, Asker::Nobody));
            }
        }
        askers
    }

    pub(crate) fn into_askers(self) -> impl Iterator<Item = Asker> {
        self.under_way.into_values().map(|pending| pending.asker)
    }
}
