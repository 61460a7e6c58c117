//! A message, on its way in or out.

use bytes::Bytes;

/// What a producer sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `None` is a null key: any partition.
    pub key: Option<Bytes>,
    /// `None` is a null value: a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// In order; a name may come more than once.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since the epoch; `None` for now.
    pub timestamp_ms: Option<i64>,
    /// `None` leaves it to the partitioner.
    pub partition: Option<i32>,
}

impl Message {
    /// A message with a value and nothing else.
    #[must_use]
    pub fn of(value: impl Into<Bytes>) -> Self {
        Self {
            value: Some(value.into()),
            ..Self::default()
        }
    }

    /// A message with a key and a value.
    #[must_use]
    pub fn keyed(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            key: Some(key.into()),
            ..Self::of(value)
        }
    }
}

/// What a consumer receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// `None` is a null key.
    pub key: Option<Bytes>,
    /// `None` is a null value.
    pub value: Option<Bytes>,
    /// In order. Names that are not UTF-8 are shown with replacement characters.
    pub headers: Vec<(String, Option<Bytes>)>,
}
