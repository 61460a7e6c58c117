//! Transactions.

use super::super::{Kind, Shape};
use super::{INT8, INT16, INT32, INT32S, INT64, STRING, STRINGS, f};

const TOPICS: Kind = Kind::Array(&[f("name", STRING), f("partitions", INT32S)]);

/// Clients name one transaction, brokers several.
pub(super) const ADD_PARTITIONS_TO_TXN: Shape = Shape {
    flexible_from: 3,
    fields: &[
        f(
            "transactions",
            Kind::Array(&[
                f("transactional_id", STRING),
                f("producer_id", INT64),
                f("producer_epoch", INT16),
                f("verify_only", INT8),
                f("topics", TOPICS),
            ]),
        )
        .from(4),
        f("v3_and_below_transactional_id", STRING).to(3),
        f("v3_and_below_producer_id", INT64).to(3),
        f("v3_and_below_producer_epoch", INT16).to(3),
        f("v3_and_below_topics", TOPICS).to(3),
    ],
};

pub(super) const ADD_OFFSETS_TO_TXN: Shape = Shape {
    flexible_from: 3,
    fields: &[
        f("transactional_id", STRING),
        f("producer_id", INT64),
        f("producer_epoch", INT16),
        f("group_id", STRING),
    ],
};

pub(super) const END_TXN: Shape = Shape {
    flexible_from: 3,
    fields: &[
        f("transactional_id", STRING),
        f("producer_id", INT64),
        f("producer_epoch", INT16),
        f("committed", INT8),
    ],
};

pub(super) const TXN_OFFSET_COMMIT: Shape = Shape {
    flexible_from: 3,
    fields: &[
        f("transactional_id", STRING),
        f("group_id", STRING),
        f("producer_id", INT64),
        f("producer_epoch", INT16),
        f("generation_id", INT32).from(3),
        f("member_id", STRING).from(3),
        f("group_instance_id", STRING).from(3),
        f(
            "topics",
            Kind::Array(&[
                f("name", STRING),
                f(
                    "partitions",
                    Kind::Array(&[
                        f("partition_index", INT32),
                        f("committed_offset", INT64),
                        f("committed_leader_epoch", INT32).from(2),
                        f("committed_metadata", STRING),
                    ]),
                ),
            ]),
        ),
    ],
};

pub(super) const DESCRIBE_TRANSACTIONS: Shape = Shape {
    flexible_from: 0,
    fields: &[f("transactional_ids", STRINGS)],
};

pub(super) const LIST_TRANSACTIONS: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f("state_filters", STRINGS),
        f("producer_id_filters", Kind::ArrayOf(&INT64)),
        f("duration_filter", INT64).from(1),
        f("transactional_id_pattern", STRING).from(2),
    ],
};
