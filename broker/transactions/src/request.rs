use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest,
    InitProducerIdRequest,
};

use crate::effect::WaiterId;
use crate::filter::ListTransactions;

/// A request of the transaction APIs, decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Versions 0-5. One without a transactional id needs no coordinator and is for the caller to answer.
    InitProducerId(InitProducerIdRequest),
    /// Versions 0-5. Partitions that do not exist are for the caller to find: the whole transaction is then
    /// refused, the others with OPERATION_NOT_ATTEMPTED.
    AddPartitionsToTxn(AddPartitionsToTxnRequest),
    /// Versions 0-4.
    AddOffsetsToTxn {
        /// As it came.
        request: AddOffsetsToTxnRequest,
        /// The partition of `__consumer_offsets` that holds the group.
        offsets_partition: i32,
    },
    /// Versions 0-5.
    EndTxn(EndTxnRequest),
    /// Version 0.
    DescribeTransactions(DescribeTransactionsRequest),
    /// Versions 0-2, made from a `ListTransactionsRequest`.
    ListTransactions(ListTransactions),
}

/// What the coordinator needs to know of a request besides its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestContext {
    /// Who is to get the reply.
    pub waiter: WaiterId,
    /// The version the request was decoded at.
    pub api_version: i16,
    /// The number of the client's connection: 1 or more, higher when it was accepted later. None for other brokers.
    pub connection: Option<u64>,
}
