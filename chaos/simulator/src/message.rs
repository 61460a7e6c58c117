//! What nodes say to each other, and the network's part in it.

use std::sync::Arc;

use foz_metadata::Image;
use foz_metadata::record::Batch;
use foz_metadata::rules::{AlterPartitions, ErrorCode, PartitionState, RegisterBroker};
use foz_protocol::error::ErrorCode as KafkaCode;
use foz_replication::{EpochEndOffset, FetchedPartition};

use crate::broker::Record;

#[derive(Debug, Clone)]
pub(crate) enum Message {
    Raft(Box<raft::eraftpb::Message>),
    /// Of a controller's kernel, or of what lies between: connections to it are closed and refused.
    ProcessEnded,
    /// Its RPC is known by `call`.
    Register {
        call: u64,
        request: Box<RegisterBroker>,
    },
    Registered {
        call: u64,
        /// Broker epoch, and the offset of the image with it.
        result: Result<(i64, i64), Denied>,
    },
    Beat(Beat),
    BeatAnswer {
        stream: u64,
        result: Result<BeatAnswer, Denied>,
    },
    /// Whoever had the lease stream is gone, or gave it up.
    BeatsClosed {
        stream: u64,
    },
    Watch {
        stream: u64,
        /// -1: a snapshot.
        from_offset: i64,
    },
    Metadata {
        stream: u64,
        frame: Frame,
    },
    WatchClosed {
        stream: u64,
    },
    AlterPartitions {
        call: u64,
        request: Box<AlterPartitions>,
    },
    PartitionsAltered {
        call: u64,
        result: Result<Vec<Result<PartitionState, ErrorCode>>, Denied>,
    },
    /// Of an administrator: the preferred leaders, please.
    ElectPreferred,
    /// Of an administrator: any leader at all.
    ElectUnclean,
    Fetch(Fetch),
    Fetched {
        correlation: u64,
        partitions: Vec<FetchedRecords>,
    },
    Produce {
        call: u64,
        partition: i32,
        producer: u32,
        sequence: u32,
    },
    Produced {
        call: u64,
        result: Result<i64, KafkaCode>,
    },
    Consume {
        call: u64,
        partition: i32,
        offset: i64,
    },
    Consumed {
        call: u64,
        result: Result<i64, KafkaCode>,
    },
    /// A client asks who leads.
    Describe,
    Described {
        /// Partition, leader, leader epoch.
        leaders: Vec<(i32, i32, i32)>,
    },
    /// Nobody listens there.
    Refused {
        what: Unanswered,
    },
}

/// What gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    Call(u64),
    Fetch(u64),
    Client(u64),
    Stream(u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    pub(crate) stream: u64,
    pub(crate) epoch: i64,
    pub(crate) applied_offset: i64,
    pub(crate) is_stopping: bool,
    pub(crate) is_leaving: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct BeatAnswer {
    pub(crate) is_fenced: bool,
    pub(crate) may_stop: bool,
}

/// Why a call was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    NotActive,
    UnknownOutcome,
    Refused(ErrorCode),
}

#[derive(Debug, Clone)]
pub(crate) enum Frame {
    Snapshot(Box<Image>),
    Batch(Arc<Batch>),
}

#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    pub(crate) correlation: u64,
    pub(crate) broker_epoch: i64,
    pub(crate) partitions: Vec<FetchPosition>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchPosition {
    pub(crate) partition: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) offset: i64,
    pub(crate) last_fetched_epoch: i32,
    pub(crate) high_watermark: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct FetchedRecords {
    pub(crate) partition: i32,
    pub(crate) error: KafkaCode,
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
    pub(crate) diverging_epoch: Option<EpochEndOffset>,
    pub(crate) records: Vec<Record>,
}

impl FetchedRecords {
    pub(crate) fn answer_to(&self, asked: &FetchPosition) -> FetchedPartition {
        FetchedPartition {
            request_leader_epoch: asked.leader_epoch,
            request_offset: asked.offset,
            error: self.error,
            high_watermark: self.high_watermark,
            log_start_offset: self.log_start_offset,
            diverging_epoch: self.diverging_epoch,
            current_leader_epoch: -1,
        }
    }
}

impl Message {
    /// Sent on a stream: in order, once, or not at all.
    pub(crate) fn is_ordered(&self) -> bool {
        matches!(
            self,
            Self::ProcessEnded
                | Self::Beat(_)
                | Self::BeatAnswer { .. }
                | Self::BeatsClosed { .. }
                | Self::Watch { .. }
                | Self::Metadata { .. }
                | Self::WatchClosed { .. }
                | Self::Refused { .. }
        )
    }

    /// May arrive twice without a protocol error: the sender sends it again, or a connection is opened again.
    pub(crate) fn may_repeat(&self) -> bool {
        matches!(
            self,
            Self::Raft(_)
                | Self::AlterPartitions { .. }
                | Self::PartitionsAltered { .. }
                | Self::Fetched { .. }
                | Self::Produce { .. }
        )
    }

    /// To the active controller, or its answer.
    pub(crate) fn is_call(&self) -> bool {
        matches!(
            self,
            Self::Register { .. }
                | Self::Registered { .. }
                | Self::AlterPartitions { .. }
                | Self::PartitionsAltered { .. }
        )
    }

    /// What the sender waits for.
    pub(crate) fn unanswered(&self) -> Option<Unanswered> {
        match self {
            Self::Register { call, .. } | Self::AlterPartitions { call, .. } => {
                Some(Unanswered::Call(*call))
            }
            Self::Beat(beat) => Some(Unanswered::Stream(beat.stream)),
            Self::Watch { stream, .. } => Some(Unanswered::Stream(*stream)),
            Self::Fetch(fetch) => Some(Unanswered::Fetch(fetch.correlation)),
            Self::Produce { call, .. } | Self::Consume { call, .. } => {
                Some(Unanswered::Client(*call))
            }
            _ => None,
        }
    }

    pub(crate) fn is_raft_heartbeat(&self) -> bool {
        use raft::eraftpb::MessageType::{MsgHeartbeat, MsgHeartbeatResponse};
        matches!(self, Self::Raft(message)
            if matches!(message.get_msg_type(), MsgHeartbeat | MsgHeartbeatResponse))
    }
}
