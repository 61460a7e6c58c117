//! What DeleteRecords asks for (KIP-107).

use foz_protocol::error::ErrorCode;

/// Everything that is committed.
pub const DELETE_ALL: i64 = -1;

/// The offset before which everything is to go. `policy_deletes`: `cleanup.policy` has `delete`.
///
/// # Errors
/// POLICY_VIOLATION, and before that of an offset, as in Kafka; OFFSET_OUT_OF_RANGE for what is negative or above the
/// high watermark.
pub fn delete_before(
    asked: i64,
    policy_deletes: bool,
    high_watermark: i64,
) -> Result<i64, ErrorCode> {
    if !policy_deletes {
        return Err(ErrorCode::PolicyViolation);
    }
    match asked {
        DELETE_ALL => Ok(high_watermark),
        offset if (0..=high_watermark).contains(&offset) => Ok(offset),
        _ => Err(ErrorCode::OffsetOutOfRange),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_deleted_is_what_is_committed() {
        for (asked, high_watermark, answer) in [
            (-1, 10, Ok(10)),
            (-1, 0, Ok(0)),
            (0, 0, Ok(0)),
            (0, 10, Ok(0)),
            (10, 10, Ok(10)),
            (11, 10, Err(ErrorCode::OffsetOutOfRange)),
            (i64::MAX, 10, Err(ErrorCode::OffsetOutOfRange)),
            (-2, 10, Err(ErrorCode::OffsetOutOfRange)),
            (i64::MIN, 10, Err(ErrorCode::OffsetOutOfRange)),
        ] {
            assert_eq!(
                delete_before(asked, true, high_watermark),
                answer,
                "{asked}"
            );
            let refused = delete_before(asked, false, high_watermark);
            assert_eq!(refused, Err(ErrorCode::PolicyViolation), "{asked}");
        }
    }
}
