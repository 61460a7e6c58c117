//! The history's format: one [`Event`] is one line of JSON, `{"ack":{"t_us":…,…}}`.
//!
//! What a writer holds to:
//! * `t_us` is microseconds on one clock that never goes back and that all clients share. Lines of one
//!   file are in its order; several files are merged by it.
//! * A call's line is written when its answer is known, with `t_us` the moment of the answer; where an
//!   `asked_us` exists it is the moment before the call was made (missing: the same moment). `send` is the
//!   exception: it is written, and its `t_us` taken, before the records are handed to the producer. So is
//!   the step `committing` or `aborting` of a transaction.
//! * A value is the identity of one record: unique within its topic, never sent twice by the application
//!   (the producer's own retries are its affair). The payload is made from topic, partition and value alone,
//!   so that a reader can check it. One client's values for one partition ascend; one counter for each topic
//!   does that, and keeps the judge's tables small: they are arrays by value.
//! * A producer that is made anew (after a fatal error, a new producer id) is a new client number.
//! * Arrays that stand side by side have the same length; `leader_epochs` and an ack's `offsets` may be
//!   empty where they are not known. Lines of up to some thousands of records are fine.
//! * At the end, after healing: one or more `final_read`s for each partition, which together cover it from
//!   begin to end, and the replicas' logs, taken when nobody writes.

use serde::{Deserialize, Serialize};

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Free text: the seed, the subject's version.
    Note(Note),
    /// What a client was promised. A client without one is idempotent, acks=all, read_uncommitted.
    Client(Client),
    /// What may happen to a topic. A topic without one never loses records to retention.
    Topic(Topic),
    Send(Send),
    Ack(Ack),
    Fail(Fail),
    Poll(Poll),
    /// A record whose payload is not the one its value stands for.
    PayloadMismatch(PayloadMismatch),
    /// Partitions given to a consumer: its positions begin anew.
    Assigned(Assignment),
    /// Partitions taken from a consumer.
    Revoked(Assignment),
    Seek(Seek),
    /// ListOffsets, latest.
    EndOffset(OffsetRead),
    /// ListOffsets, earliest.
    BeginOffset(OffsetRead),
    OffsetCommit(OffsetCommit),
    CommittedOffset(CommittedOffset),
    Transaction(Transaction),
    /// A consume-transform-produce pipeline was given time to catch up: from here on each value of the
    /// source has its output.
    Drained(Drained),
    FinalRead(FinalRead),
    ReplicaLog(ReplicaLog),
    ReplicaDigest(ReplicaDigest),
    /// For the report: what was done to the subject.
    Fault(Fault),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    pub t_us: u64,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub t_us: u64,
    pub client: u32,
    /// For people, such as `producer-3`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `enable.idempotence`: no duplicates, no reordering.
    #[serde(default = "yes")]
    pub idempotent: bool,
    /// -1 (all), 0 or 1; only all promises that what was acknowledged survives.
    #[serde(default = "acks_all")]
    pub acks: i16,
    /// `isolation.level` of a consumer.
    #[serde(default)]
    pub read_committed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    pub t_us: u64,
    pub topic: String,
    pub partitions: i32,
    /// Retention or DeleteRecords may remove the oldest records.
    #[serde(default)]
    pub deletes: bool,
}

/// Records handed to the producer, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    pub t_us: u64,
    pub client: u32,
    pub topic: String,
    pub partition: i32,
    pub values: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<u64>,
    /// Consume-transform-produce: what each value was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Sources>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    pub topic: String,
    /// Beside the values of the send.
    pub values: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    pub t_us: u64,
    pub client: u32,
    pub topic: String,
    pub partition: i32,
    pub values: Vec<u64>,
    /// Empty with acks=0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<i64>,
}

/// The producer gave up on these values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    pub t_us: u64,
    pub client: u32,
    pub topic: String,
    pub partition: i32,
    pub values: Vec<u64>,
    pub error: String,
    /// True only where the client knows that nothing was written. A time-out or a lost connection is not
    /// definite: the value may be in the log, once.
    pub definite: bool,
}

/// Records of one partition, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    pub offsets: Vec<i64>,
    pub values: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leader_epochs: Vec<i32>,
}

/// What one poll returned for one partition. A poll that returned nothing need not be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    pub t_us: u64,
    pub client: u32,
    pub topic: String,
    pub partition: i32,
    pub records: Records,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_before: Option<i64>,
    /// Missing: one after the last record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_after: Option<i64>,
    /// The transaction that these reads are part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadMismatch {
    pub t_us: u64,
    pub client: u32,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Where it could be read at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// What differed.
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    pub t_us: u64,
    pub client: u32,
    pub topic: String,
    pub partitions: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seek {
    pub t_us: u64,
    pub client: u32,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffsetRead {
    pub t_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_us: Option<u64>,
    pub client: u32,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Asked with isolation level read_committed: the last stable offset.
    #[serde(default)]
    pub read_committed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffsetCommit {
    pub t_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_us: Option<u64>,
    pub client: u32,
    pub group: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    /// Certainly not done.
    Failed,
    Unknown,
}

/// OffsetFetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommittedOffset {
    pub t_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_us: Option<u64>,
    pub client: u32,
    pub group: String,
    pub topic: String,
    pub partition: i32,
    /// Missing: the group has none.
    pub offset: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    pub t_us: u64,
    pub client: u32,
    /// Unique in the history.
    pub transaction: u64,
    pub step: TransactionStep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionStep {
    /// Written before the commit is asked for.
    Committing,
    Committed,
    /// Written before the abort is asked for.
    Aborting,
    Aborted,
    /// Nobody knows: committed as a whole, or not at all.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drained {
    pub t_us: u64,
    pub source: String,
    pub output: String,
}

/// A partition read at the end, `begin_offset` to `end_offset` (exclusive), every record in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalRead {
    pub t_us: u64,
    pub topic: String,
    pub partition: i32,
    pub begin_offset: i64,
    pub end_offset: i64,
    pub records: Records,
    #[serde(default)]
    pub read_committed: bool,
}

/// What one replica has on disk from `start_offset` to `end_offset` (exclusive). Chunks of one replica may
/// follow each other; an empty log is one with start = end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaLog {
    pub t_us: u64,
    pub node: i32,
    pub topic: String,
    pub partition: i32,
    pub start_offset: i64,
    pub end_offset: i64,
    pub entries: Vec<ReplicaEntry>,
}

/// `[offset, leader epoch, value, crc]`; the value is null where the record is none of the clients'
/// (a transaction's marker). The crc is of whatever is the same in all replicas: record or batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    from = "(i64, i32, Option<u64>, u32)",
    into = "(i64, i32, Option<u64>, u32)"
)]
pub struct ReplicaEntry {
    pub offset: i64,
    pub leader_epoch: i32,
    pub value: Option<u64>,
    pub crc: u32,
}

/// The short form: a digest over a range. Ranges are compared only with the same range of another
/// replica, so all replicas of a partition are cut at the same offsets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaDigest {
    pub t_us: u64,
    pub node: i32,
    pub topic: String,
    pub partition: i32,
    pub start_offset: i64,
    pub end_offset: i64,
    pub digest: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub t_us: u64,
    /// Same in begin and end, unique for each fault.
    pub id: u64,
    /// Such as `kill-leader`; figures are given for each kind.
    pub kind: String,
    pub phase: FaultPhase,
    /// Nodes or links, for people.
    pub targets: Vec<String>,
    /// What it touches: the partitions whose leader is hit. Empty: every partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<TopicPartition>,
    /// It hit a leader with requests in flight.
    #[serde(default)]
    pub loaded_leader: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultPhase {
    Begin,
    End,
}

/// `["orders", 3]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicPartition(pub String, pub i32);

impl Event {
    /// Reads one line.
    pub fn from_json(line: &[u8]) -> Result<Event, serde_json::Error> {
        serde_json::from_slice(line)
    }

    /// One line, without its end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event has string keys only")
    }

    pub fn t_us(&self) -> u64 {
        match self {
            Event::Note(e) => e.t_us,
            Event::Client(e) => e.t_us,
            Event::Topic(e) => e.t_us,
            Event::Send(e) => e.t_us,
            Event::Ack(e) => e.t_us,
            Event::Fail(e) => e.t_us,
            Event::Poll(e) => e.t_us,
            Event::PayloadMismatch(e) => e.t_us,
            Event::Assigned(e) | Event::Revoked(e) => e.t_us,
            Event::Seek(e) => e.t_us,
            Event::EndOffset(e) | Event::BeginOffset(e) => e.t_us,
            Event::OffsetCommit(e) => e.t_us,
            Event::CommittedOffset(e) => e.t_us,
            Event::Transaction(e) => e.t_us,
            Event::Drained(e) => e.t_us,
            Event::FinalRead(e) => e.t_us,
            Event::ReplicaLog(e) => e.t_us,
            Event::ReplicaDigest(e) => e.t_us,
            Event::Fault(e) => e.t_us,
        }
    }
}

impl From<(i64, i32, Option<u64>, u32)> for ReplicaEntry {
    fn from((offset, leader_epoch, value, crc): (i64, i32, Option<u64>, u32)) -> Self {
        ReplicaEntry {
            offset,
            leader_epoch,
            value,
            crc,
        }
    }
}

impl From<ReplicaEntry> for (i64, i32, Option<u64>, u32) {
    fn from(entry: ReplicaEntry) -> Self {
        (entry.offset, entry.leader_epoch, entry.value, entry.crc)
    }
}

fn yes() -> bool {
    true
}

fn acks_all() -> i16 {
    -1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form that other programs write by hand must not drift.
    #[test]
    fn json_form() {
        let lines = [
            r#"{"client":{"t_us":0,"client":3,"idempotent":true,"acks":-1,"read_committed":false}}"#,
            r#"{"send":{"t_us":1,"client":3,"topic":"orders","partition":0,"values":[7,8]}}"#,
            r#"{"ack":{"t_us":9,"client":3,"topic":"orders","partition":0,"values":[7,8],"offsets":[0,1]}}"#,
            r#"{"fail":{"t_us":9,"client":3,"topic":"orders","partition":0,"values":[9],"error":"timed out","definite":false}}"#,
            r#"{"poll":{"t_us":9,"client":4,"topic":"orders","partition":0,"records":{"offsets":[0,1],"values":[7,8],"leader_epochs":[1,1]},"position_before":0,"position_after":2}}"#,
            r#"{"final_read":{"t_us":20,"topic":"orders","partition":0,"begin_offset":0,"end_offset":2,"records":{"offsets":[0,1],"values":[7,8]},"read_committed":false}}"#,
            r#"{"replica_log":{"t_us":30,"node":1,"topic":"orders","partition":0,"start_offset":0,"end_offset":2,"entries":[[0,1,7,99],[1,1,null,98]]}}"#,
            r#"{"fault":{"t_us":5,"id":1,"kind":"kill-leader","phase":"begin","targets":["broker-1"],"partitions":[["orders",0]],"loaded_leader":true}}"#,
            r#"{"transaction":{"t_us":5,"client":3,"transaction":11,"step":"committing"}}"#,
        ];
        for line in lines {
            let event = Event::from_json(line.as_bytes()).unwrap();
            assert_eq!(event.to_json(), line);
        }
        // What may be left out.
        let short = br#"{"client":{"t_us":0,"client":3}}"#;
        let Event::Client(client) = Event::from_json(short).unwrap() else {
            panic!()
        };
        assert!(client.idempotent && client.acks == -1 && !client.read_committed);
    }

    /// A misspelt field would be judged as missing.
    #[test]
    fn unknown_fields_are_refused() {
        let line =
            br#"{"send":{"t_us":1,"client":3,"topic":"o","partition":0,"values":[7],"txn":1}}"#;
        assert!(
            Event::from_json(line)
                .unwrap_err()
                .to_string()
                .contains("txn")
        );
    }
}
