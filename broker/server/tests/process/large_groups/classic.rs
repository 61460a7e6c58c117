use bytes::{Buf, BufMut, Bytes, BytesMut};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::MEMBERS;
use super::member::{HEARTBEAT, Member, TOPIC, name};

const ASSIGNOR: &str = "range";

/// A member of the classic protocol, for ever.
pub(super) async fn run(member: Member) {
    member.board.joins(member.index);
    let mut classic = Classic {
        member,
        id: StrBytes::default(),
        generation: -1,
        owned: Vec::new(),
    };
    loop {
        if let Some(members) = classic.join().await
            && classic.sync(&members).await
        {
            classic.stay().await;
        }
    }
}

struct Classic {
    member: Member,
    id: StrBytes,
    generation: i32,
    owned: Vec<i32>,
}

impl Classic {
    /// The members, when this one leads; `None`: it is to be tried again.
    async fn join(&mut self) -> Option<Vec<JoinGroupResponseMember>> {
        const VERSION: i16 = 9;
        let mut metadata = BytesMut::new();
        metadata.put_i16(0);
        let subscription = ConsumerProtocolSubscription::default().with_topics(vec![name(TOPIC)]);
        subscription.encode(&mut metadata, 0).unwrap();
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(name(ASSIGNOR))
            .with_metadata(metadata.freeze());
        let request = JoinGroupRequest::default()
            .with_group_id(self.member.group_id())
            .with_session_timeout_ms(45_000)
            .with_rebalance_timeout_ms(60_000)
            .with_member_id(self.id.clone())
            .with_protocol_type(name("consumer"))
            .with_protocols(vec![protocol]);
        let answer = self.member.ask(VERSION, &request).await?;
        match ErrorCode::from(answer.error_code) {
            ErrorCode::None => {
                self.id = answer.member_id;
                self.generation = answer.generation_id;
                return Some(answer.members);
            }
            ErrorCode::MemberIdRequired => self.id = answer.member_id,
            error => self.fail(error).await,
        }
        None
    }

    /// Whether it has its partitions.
    async fn sync(&mut self, members: &[JoinGroupResponseMember]) -> bool {
        const VERSION: i16 = 5;
        let assignments = members.iter().enumerate().map(|(nth, member)| {
            let mut owned = BytesMut::new();
            (nth..MEMBERS)
                .step_by(members.len())
                .for_each(|partition| owned.put_i32(partition as i32));
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(owned.freeze())
        });
        let request = SyncGroupRequest::default()
            .with_group_id(self.member.group_id())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_protocol_type(Some(name("consumer")))
            .with_protocol_name(Some(name(ASSIGNOR)))
            .with_assignments(assignments.collect());
        let Some(answer) = self.member.ask(VERSION, &request).await else {
            return false;
        };
        let error = ErrorCode::from(answer.error_code);
        if error != ErrorCode::None {
            self.fail(error).await;
            return false;
        }
        self.owned = partitions(answer.assignment);
        let (index, generation) = (self.member.index, self.generation);
        self.member.board.has(index, generation, self.owned.clone());
        true
    }

    /// Until it is to join again.
    async fn stay(&mut self) {
        const VERSION: i16 = 4;
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            let request = HeartbeatRequest::default()
                .with_group_id(self.member.group_id())
                .with_generation_id(self.generation)
                .with_member_id(self.id.clone());
            let Some(answer) = self.member.ask(VERSION, &request).await else {
                continue;
            };
            match ErrorCode::from(answer.error_code) {
                ErrorCode::None => {
                    let (generation, owned) = (self.generation, &self.owned);
                    self.member.commit(&self.id, generation, owned).await;
                }
                ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {
                    return self.member.board.is_told(self.member.index);
                }
                ErrorCode::UnknownMemberId => {
                    self.id = StrBytes::default();
                    return;
                }
                error => self.fail(error).await,
            }
        }
    }

    async fn fail(&mut self, error: ErrorCode) {
        match error {
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {}
            ErrorCode::UnknownMemberId => self.id = StrBytes::default(),
            ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress => self.member.pause().await,
            error => panic!("{error:?}"),
        }
    }
}

fn partitions(mut assignment: Bytes) -> Vec<i32> {
    let mut owned = Vec::new();
    while assignment.has_remaining() {
        owned.push(assignment.get_i32());
    }
    owned
}
