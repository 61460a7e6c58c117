use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ListTransactionsRequest;
use kafka_protocol::protocol::StrBytes;
use regex::{Regex, RegexBuilder};

use crate::transaction::{Transaction, TransactionState};

/// Longest pattern, in bytes. Kafka has no bound.
const PATTERN_LENGTH_MAX: usize = 4_096;
/// Of a compiled pattern, in bytes.
const PATTERN_SIZE_MAX: usize = 1024 * 1024;
/// States of Kafka that are in no record.
const TRANSIENT_STATES: [&str; 2] = ["Dead", "PrepareEpochFence"];

/// What ListTransactions asks for, made out once for all coordinators that are asked: a pattern may take long to
/// compile.
#[derive(Debug, Clone)]
pub struct ListTransactions {
    request: ListTransactionsRequest,
    /// Or INVALID_REGULAR_EXPRESSION.
    pub(crate) filter: Result<Arc<Filter>, ResponseError>,
}

/// Which transactions ListTransactions asks for.
#[derive(Debug)]
pub(crate) struct Filter {
    /// Empty for all.
    producer_ids: BTreeSet<i64>,
    /// None for all.
    states: Option<BTreeSet<TransactionState>>,
    /// Negative for all.
    longer_than_ms: i64,
    /// Matches whole ids. Kafka takes Java's patterns, which may take exponential time; these take linear time.
    pattern: Option<Regex>,
    /// The names that are no states.
    pub(crate) unknown_states: Vec<StrBytes>,
}

impl From<ListTransactionsRequest> for ListTransactions {
    fn from(request: ListTransactionsRequest) -> Self {
        let filter = Filter::of(&request).map(Arc::new);
        Self { request, filter }
    }
}

/// The filter is the same when the request is.
impl PartialEq for ListTransactions {
    fn eq(&self, other: &Self) -> bool {
        self.request == other.request
    }
}

impl Filter {
    /// Fails with INVALID_REGULAR_EXPRESSION.
    fn of(request: &ListTransactionsRequest) -> Result<Self, ResponseError> {
        let names = &request.state_filters;
        let state_of = |name: &StrBytes| {
            TransactionState::ALL
                .into_iter()
                .find(|state| state.name() == name.as_str())
        };
        let is_unknown = |name: &&StrBytes| {
            state_of(name).is_none() && !TRANSIENT_STATES.contains(&name.as_str())
        };
        let pattern = request.transactional_id_pattern.as_ref();
        let pattern = pattern.filter(|pattern| !pattern.is_empty());
        Ok(Self {
            producer_ids: request.producer_id_filters.iter().map(|id| id.0).collect(),
            states: (!names.is_empty()).then(|| names.iter().filter_map(state_of).collect()),
            longer_than_ms: request.duration_filter,
            pattern: pattern.map(|pattern| compile(pattern)).transpose()?,
            unknown_states: names.iter().filter(is_unknown).cloned().collect(),
        })
    }

    pub(crate) fn takes(&self, id: &str, transaction: &Transaction, now_ms: i64) -> bool {
        // As Kafka has it: what was never begun counts from 1970.
        let duration_ms = now_ms.saturating_sub(transaction.start_timestamp_ms);
        (self.producer_ids.is_empty() || self.producer_ids.contains(&transaction.producer_id))
            && self
                .states
                .as_ref()
                .is_none_or(|states| states.contains(&transaction.state))
            && (self.longer_than_ms < 0 || duration_ms > self.longer_than_ms)
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(id))
    }
}

fn compile(pattern: &str) -> Result<Regex, ResponseError> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(PATTERN_SIZE_MAX)
            .build()
            .map_err(|_| ResponseError::InvalidRegularExpression)
    };
    if pattern.len() > PATTERN_LENGTH_MAX {
        return Err(ResponseError::InvalidRegularExpression);
    }
    // By itself first: `a)|(b` is valid only within brackets.
    build(pattern)?;
    // The line break ends a comment of one with the flag x, which would take the bracket; to any other it would
    // be a character to match.
    build(&format!(r"\A(?:{pattern})\z")).or_else(|_| build(&format!("\\A(?:{pattern}\n)\\z")))
}
