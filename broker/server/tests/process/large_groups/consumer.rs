use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::member::{Member, TOPIC, name};

/// A member of KIP-848, for ever.
pub(super) async fn run(member: Member) {
    let mut consumer = Consumer {
        member,
        id: name(&Uuid::new_v4().to_string()),
        epoch: 0,
        topic_id: Uuid::nil(),
        owned: Vec::new(),
        says_all: true,
    };
    loop {
        consumer.beat().await;
    }
}

struct Consumer {
    member: Member,
    id: StrBytes,
    epoch: i32,
    topic_id: Uuid,
    owned: Vec<i32>,
    /// Because it is new there, or what it said last may not have come there.
    says_all: bool,
}

impl Consumer {
    /// What it loses it gives up at once, and says so at once; else it waits until the next heartbeat is due.
    async fn beat(&mut self) {
        const VERSION: i16 = 1;
        let request = self.request();
        self.says_all = false;
        let Some(answer) = self.member.ask(VERSION, &request).await else {
            self.says_all = true;
            return;
        };
        match ErrorCode::from(answer.error_code) {
            ErrorCode::None => {}
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => {
                self.owned.clear();
                self.epoch = 0;
                self.says_all = true;
                return;
            }
            ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress => {
                self.says_all = true;
                return self.member.pause().await;
            }
            error => panic!("{error:?}: {:?}", answer.error_message),
        }
        assert_eq!(answer.heartbeat_interval_ms, 500);
        let (board, index) = (&self.member.board, self.member.index);
        if self.epoch == 0 {
            board.joins(index);
        }
        let is_another_epoch = self.epoch != answer.member_epoch;
        if is_another_epoch {
            board.is_told(index);
        }
        self.epoch = answer.member_epoch;
        let mut is_another_assignment = false;
        // One also comes, unchanged, to who has said all.
        if let Some(assignment) = answer.assignment {
            let mut assigned = Vec::new();
            for topic in assignment.topic_partitions {
                self.topic_id = topic.topic_id;
                assigned.extend(topic.partitions);
            }
            is_another_assignment = assigned != self.owned;
            self.owned = assigned;
        }
        if is_another_epoch || is_another_assignment {
            board.has(index, self.epoch, self.owned.clone());
        }
        if is_another_assignment {
            self.says_all = true;
            return;
        }
        let (epoch, owned) = (self.epoch, &self.owned);
        self.member.commit(&self.id, epoch, owned).await;
        let interval = u64::try_from(answer.heartbeat_interval_ms).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(interval)).await;
    }

    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.member.group_id())
            .with_member_id(self.id.clone())
            .with_member_epoch(self.epoch);
        if !self.says_all {
            return request;
        }
        let owned = TopicPartitions::default()
            .with_topic_id(self.topic_id)
            .with_partitions(self.owned.clone());
        let owned = Some(owned).filter(|owned| !owned.partitions.is_empty());
        request
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(vec![TopicName(name(TOPIC))]))
            .with_topic_partitions(Some(owned.into_iter().collect()))
    }
}
