//! ACLs, delegation tokens, quotas and SCRAM credentials.

use super::super::{Field, Kind, Shape};
use super::{BYTES, INT8, INT32, INT64, STRING, f};

const FLOAT64: Kind = Kind::Fixed(8);

/// Which ACLs are meant.
const ACL_FILTER: &[Field] = &[
    f("resource_type_filter", INT8),
    f("resource_name_filter", STRING),
    f("pattern_type_filter", INT8),
    f("principal_filter", STRING),
    f("host_filter", STRING),
    f("operation", INT8),
    f("permission_type", INT8),
];

pub(super) const DESCRIBE_ACLS: Shape = Shape {
    flexible_from: 2,
    fields: ACL_FILTER,
};

pub(super) const CREATE_ACLS: Shape = Shape {
    flexible_from: 2,
    fields: &[f(
        "creations",
        Kind::Array(&[
            f("resource_type", INT8),
            f("resource_name", STRING),
            f("resource_pattern_type", INT8),
            f("principal", STRING),
            f("host", STRING),
            f("operation", INT8),
            f("permission_type", INT8),
        ]),
    )],
};

pub(super) const DELETE_ACLS: Shape = Shape {
    flexible_from: 2,
    fields: &[f("filters", Kind::Array(ACL_FILTER))],
};

const PRINCIPALS: Kind = Kind::Array(&[f("principal_type", STRING), f("principal_name", STRING)]);

pub(super) const CREATE_DELEGATION_TOKEN: Shape = Shape {
    flexible_from: 2,
    fields: &[
        f("owner_principal_type", STRING).from(3),
        f("owner_principal_name", STRING).from(3),
        f("renewers", PRINCIPALS),
        f("max_lifetime_ms", INT64),
    ],
};

pub(super) const RENEW_DELEGATION_TOKEN: Shape = Shape {
    flexible_from: 2,
    fields: &[f("hmac", BYTES), f("renew_period_ms", INT64)],
};

pub(super) const EXPIRE_DELEGATION_TOKEN: Shape = Shape {
    flexible_from: 2,
    fields: &[f("hmac", BYTES), f("expiry_time_period_ms", INT64)],
};

pub(super) const DESCRIBE_DELEGATION_TOKEN: Shape = Shape {
    flexible_from: 2,
    fields: &[f("owners", PRINCIPALS)],
};

pub(super) const DESCRIBE_CLIENT_QUOTAS: Shape = Shape {
    flexible_from: 1,
    fields: &[
        f(
            "components",
            Kind::Array(&[
                f("entity_type", STRING),
                f("match_type", INT8),
                f("match", STRING),
            ]),
        ),
        f("strict", INT8),
    ],
};

pub(super) const ALTER_CLIENT_QUOTAS: Shape = Shape {
    flexible_from: 1,
    fields: &[
        f(
            "entries",
            Kind::Array(&[
                f(
                    "entity",
                    Kind::Array(&[f("entity_type", STRING), f("entity_name", STRING)]),
                ),
                f(
                    "ops",
                    Kind::Array(&[f("key", STRING), f("value", FLOAT64), f("remove", INT8)]),
                ),
            ]),
        ),
        f("validate_only", INT8),
    ],
};

pub(super) const DESCRIBE_USER_SCRAM_CREDENTIALS: Shape = Shape {
    flexible_from: 0,
    fields: &[f("users", Kind::Array(&[f("name", STRING)]))],
};

pub(super) const ALTER_USER_SCRAM_CREDENTIALS: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f(
            "deletions",
            Kind::Array(&[f("name", STRING), f("mechanism", INT8)]),
        ),
        f(
            "upsertions",
            Kind::Array(&[
                f("name", STRING),
                f("mechanism", INT8),
                f("iterations", INT32),
                f("salt", BYTES),
                f("salted_password", BYTES),
            ]),
        ),
    ],
};
