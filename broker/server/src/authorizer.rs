//! May this principal do this? Every handler asks, so that ACLs plug in at one place.

use std::fmt;

/// Kafka's form: `User:name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Principal(String);

impl Principal {
    /// Whoever connects to a listener without authentication.
    pub(crate) fn anonymous() -> Self {
        Self("User:ANONYMOUS".to_owned())
    }

    /// Another node of the cluster.
    pub(crate) fn node() -> Self {
        Self("User:foz-node".to_owned())
    }

    /// Type and name.
    pub(crate) fn parts(&self) -> (&str, &str) {
        self.0.split_once(':').unwrap_or(("", &self.0))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What is done (the numbers are Kafka's `AclOperation`, as bits of authorized operations).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// What it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    Cluster,
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
}

/// Decides for one broker.
pub(crate) trait Authorizer: fmt::Debug + Send + Sync {
    fn allows(&self, principal: &Principal, operation: Operation, resource: &Resource<'_>) -> bool;
}

/// Kafka's behaviour while no authorizer is configured.
#[derive(Debug)]
pub(crate) struct AllowAll;

impl Authorizer for AllowAll {
    fn allows(&self, _: &Principal, _: Operation, _: &Resource<'_>) -> bool {
        true
    }
}

/// Bits of what Kafka lets be done to it, for `include…AuthorizedOperations`.
pub(crate) fn operations_of(resource: &Resource<'_>) -> &'static [Operation] {
    use Operation::{
        Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs,
        IdempotentWrite, Read, Write,
    };
    match resource {
        Resource::Cluster => &[
            Create,
            Alter,
            Describe,
            ClusterAction,
            DescribeConfigs,
            AlterConfigs,
            IdempotentWrite,
        ],
        Resource::Topic(_) => &[
            Read,
            Write,
            Create,
            Delete,
            Alter,
            Describe,
            DescribeConfigs,
            AlterConfigs,
        ],
        Resource::Group(_) => &[Read, Delete, Describe],
        Resource::TransactionalId(_) => &[Write, Describe],
    }
}
