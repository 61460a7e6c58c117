//! Fetch, read and written by hand. A response is a list of segments to be written by one vectored
//! write: records are slices of what the log gave, never copied.
//!
//! Schema: Kafka's `FetchRequest.json` and `FetchResponse.json`, versions 4 to 18. Sessions from 7
//! (KIP-227), flexible and diverging epochs from 12 (KIP-595), topic ids from 13 (KIP-516), the
//! replica in a tagged field from 15 (KIP-903), leader hints from 16 (KIP-951).

mod request;
mod response;

pub use request::{
    FETCH_PARTITIONS_MAX, FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, IsolationLevel,
};
pub use response::{
    AbortedTransaction, EpochEndOffset, FetchPartitionResponse, FetchResponse, FetchTopicResponse,
};

const FLEXIBLE_FROM: i16 = 12;
const TOPIC_IDS_FROM: i16 = 13;
