use foz_metadata::rules::{Decided, Decision, ErrorCode, Refusal};

/// A refusal is an outcome in Kafka's terms, for calls that Kafka's clients ask for, too; only an operator that does not
/// count any more is refused as with every other call.
pub(super) fn as_outcome<A>(decided: Decided<A>) -> Decided<Result<A, Refusal>> {
    match decided {
        Ok(Decision { records, answer }) => Ok(Decision {
            records,
            answer: Ok(answer),
        }),
        Err(refusal) if refusal.code == ErrorCode::StaleOperatorEpoch => Err(refusal),
        Err(refusal) => Ok(Decision {
            records: Vec::new(),
            answer: Err(refusal),
        }),
    }
}
