use foz_records::transaction_log_value::PartitionsSchema;
use foz_records::{TransactionLogKey, TransactionLogValue};

use super::{Case, key, prefixed};

pub(super) fn cases() -> Vec<Case> {
    let transactional_id = "tx-1".into();
    let with_every_tag = TransactionLogValue {
        previous_producer_id: 4710,
        next_producer_id: 4712,
        producer_epoch: 32_767,
        next_producer_epoch: 1,
        transaction_status: 4,
        transaction_partitions: Some(vec![]),
        client_transaction_version: 2,
        ..ongoing()
    };
    let nothing = TransactionLogValue::default;
    vec![
        key("TransactionLogKey", TransactionLogKey { transactional_id }),
        prefixed("transaction at TV_0", 0, ongoing()),
        prefixed("empty transaction at TV_0", 0, empty()),
        prefixed("transaction at TV_1", 1, ongoing_of_version(1)),
        prefixed("empty transaction at TV_1", 1, empty_of_version(1)),
        prefixed("transaction at TV_2", 1, ongoing_of_version(2)),
        prefixed("empty transaction at TV_2", 1, empty_of_version(2)),
        prefixed("transaction with every tag", 1, with_every_tag),
        prefixed("transaction of nothing", 0, nothing()),
        prefixed("transaction of nothing", 1, nothing()),
    ]
}

fn ongoing() -> TransactionLogValue {
    TransactionLogValue {
        producer_id: 4711,
        producer_epoch: 12,
        transaction_timeout_ms: 60_000,
        transaction_status: 2,
        transaction_partitions: Some(vec![PartitionsSchema {
            topic: "orders".into(),
            partition_ids: vec![3],
        }]),
        transaction_last_update_timestamp_ms: 1_700_000_000_123,
        transaction_start_timestamp_ms: 1_700_000_000_100,
        ..Default::default()
    }
}

fn ongoing_of_version(client_transaction_version: i16) -> TransactionLogValue {
    TransactionLogValue {
        previous_producer_id: 4710,
        next_producer_id: 4712,
        client_transaction_version,
        ..ongoing()
    }
}

fn empty() -> TransactionLogValue {
    TransactionLogValue {
        producer_epoch: 0,
        transaction_status: 0,
        transaction_partitions: None,
        transaction_start_timestamp_ms: -1,
        ..ongoing()
    }
}

fn empty_of_version(client_transaction_version: i16) -> TransactionLogValue {
    TransactionLogValue {
        client_transaction_version,
        ..empty()
    }
}
