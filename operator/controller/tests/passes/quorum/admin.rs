//! What the quorum answers.

use std::pin::Pin;

use foz_api::v1::admin_server::Admin;
use foz_api::v1::cluster_event::{ConfigsChanged, Event, Synced};
use foz_api::v1::feature_update::UpgradeType;
use foz_api::v1::*;
use futures::{Stream, StreamExt as _};
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use super::Quorum;

type Events = Pin<Box<dyn Stream<Item = Result<ClusterEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Admin for Quorum {
    type WatchClusterStream = Events;

    async fn describe_quorum(
        &self,
        _: Request<DescribeQuorumRequest>,
    ) -> Result<Response<DescribeQuorumResponse>, Status> {
        let answer = DescribeQuorumResponse {
            active_node_id: 1000,
            ..DescribeQuorumResponse::default()
        };
        Ok(Response::new(answer))
    }

    async fn acquire_operator_epoch(
        &self,
        _: Request<AcquireOperatorEpochRequest>,
    ) -> Result<Response<AcquireOperatorEpochResponse>, Status> {
        let operator_epoch = self.with(|state| {
            state.epoch += 1;
            state.epochs_acquired += 1;
            state.epoch
        });
        Ok(Response::new(AcquireOperatorEpochResponse {
            operator_epoch,
        }))
    }

    async fn watch_cluster(
        &self,
        _: Request<WatchClusterRequest>,
    ) -> Result<Response<Events>, Status> {
        let changes = BroadcastStream::new(self.events.subscribe());
        let mut first: Vec<Event> = self.with(|state| {
            let brokers = state.brokers.values().cloned().map(Event::BrokerChanged);
            let topics = state.topics.values().cloned().map(Event::TopicChanged);
            let grants = state.grants.values().cloned().map(Event::GrantChanged);
            let voters = Event::VotersChanged(state.voters.clone());
            let config = Event::ConfigsChanged(ConfigsChanged {
                r#type: ResourceType::Broker.into(),
                name: String::new(),
                config: state.broker_config.clone(),
            });
            let rebalance = state.rebalance.iter().cloned();
            brokers
                .chain(topics)
                .chain(grants)
                .chain(rebalance.map(Event::RebalanceChanged))
                .chain([config, voters])
                .collect()
        });
        first.push(Event::Synced(Synced {
            metadata_offset: 1,
            cluster_id: "cluster-1".into(),
        }));
        let first = first
            .into_iter()
            .map(|event| Ok(ClusterEvent { event: Some(event) }));
        let then =
            changes.map(|event| event.map_err(|behind| Status::data_loss(behind.to_string())));
        Ok(Response::new(Box::pin(
            futures::stream::iter(first).chain(then),
        )))
    }

    async fn create_topics(
        &self,
        request: Request<CreateTopicsRequest>,
    ) -> Result<Response<CreateTopicsResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let wanted = request.topics.into_iter().next().expect("a topic");
        let result = |outcome, topic| create_topics_response::Result { outcome, topic };
        let answer = |result| {
            Ok(Response::new(CreateTopicsResponse {
                results: vec![result],
            }))
        };
        let alive = self.with(|state| state.brokers.len());
        let factor = usize::try_from(wanted.replication_factor).unwrap_or(1);
        if factor > alive {
            let message = format!("replication factor {factor}, and {alive} brokers are alive");
            return answer(result(outcome(38, &message), None));
        }
        if self.with(|state| state.topics.contains_key(&wanted.name)) {
            return answer(result(outcome(36, "it exists"), None));
        }
        if request.validate_only {
            return answer(result(outcome(0, ""), None));
        }
        assert_eq!(wanted.id.len(), 16, "the operator chooses it");
        if self.with(|state| state.deleted.iter().any(|it| it.id == wanted.id)) {
            return answer(result(outcome(42, "a deleted topic has the id"), None));
        }
        let (name, id) = (&wanted.name, wanted.id);
        let mut topic = self.make_replicated(name, id, wanted.partitions.max(1), factor);
        for (key, value) in wanted.config {
            self.set_config(&wanted.name, &key, &value);
            topic.config.insert(key, value);
        }
        if self.with(|state| std::mem::take(&mut state.lose_next_answer)) {
            return Err(Status::unavailable("the connection broke"));
        }
        answer(result(outcome(0, ""), Some(topic)))
    }

    async fn delete_topics(
        &self,
        request: Request<DeleteTopicsRequest>,
    ) -> Result<Response<DeleteTopicsResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let wanted = request.topics.into_iter().next().expect("a topic");
        let found = self.with(|state| state.topics.get(&wanted.name).cloned());
        let matches = found.is_some_and(|topic| topic.id == wanted.id);
        if matches {
            self.remove(&wanted.name);
        }
        let outcome = if matches {
            outcome(0, "")
        } else {
            outcome(100, "no such id")
        };
        let result = delete_topics_response::Result {
            outcome,
            ..Default::default()
        };
        Ok(Response::new(DeleteTopicsResponse {
            results: vec![result],
            behind: self.with(|state| state.behind.clone()),
        }))
    }

    async fn create_partitions(
        &self,
        request: Request<CreatePartitionsRequest>,
    ) -> Result<Response<CreatePartitionsResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let wanted = request.topics.into_iter().next().expect("a topic");
        let topic = self.with(|state| {
            let topic = state.topics.get_mut(&wanted.name).expect("the topic");
            let first = topic.partitions.first().cloned().expect("a partition");
            topic.partitions = (0..wanted.count)
                .map(|index| Partition {
                    index,
                    ..first.clone()
                })
                .collect();
            topic.clone()
        });
        self.tell(Event::TopicChanged(topic));
        Ok(Response::new(CreatePartitionsResponse {
            results: vec![Outcome::default()],
        }))
    }

    async fn alter_configs(
        &self,
        request: Request<AlterConfigsRequest>,
    ) -> Result<Response<AlterConfigsResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let wanted = request.resources.into_iter().next().expect("a resource");
        let answer = |outcome| {
            let result = alter_configs_response::Result {
                outcome,
                effects: Vec::new(),
            };
            Ok(Response::new(AlterConfigsResponse {
                results: vec![result],
            }))
        };
        if let Some(change) = wanted
            .changes
            .iter()
            .find(|change| change.key.contains("unknown"))
        {
            return answer(outcome(40, &format!("{} is no setting", change.key)));
        }
        if request.validate_only {
            return answer(outcome(0, ""));
        }
        let config = self.with(|state| {
            let config = if wanted.name.is_empty() {
                &mut state.broker_config
            } else {
                &mut state
                    .topics
                    .get_mut(&wanted.name)
                    .expect("the topic")
                    .config
            };
            for change in &wanted.changes {
                match change.operation() {
                    ConfigOperation::Delete => drop(config.remove(&change.key)),
                    _ => drop(config.insert(change.key.clone(), change.value.clone())),
                }
            }
            config.clone()
        });
        self.tell(Event::ConfigsChanged(ConfigsChanged {
            r#type: wanted.r#type,
            name: wanted.name,
            config,
        }));
        answer(outcome(0, ""))
    }

    async fn assign_racks(
        &self,
        request: Request<AssignRacksRequest>,
    ) -> Result<Response<AssignRacksResponse>, Status> {
        self.check(request.into_inner().operator_epoch)?;
        Ok(Response::new(AssignRacksResponse {}))
    }

    async fn elect_leaders(
        &self,
        _: Request<ElectLeadersRequest>,
    ) -> Result<Response<ElectLeadersResponse>, Status> {
        Err(Status::unimplemented("the operator elects nobody"))
    }
    async fn acquire_restart(
        &self,
        request: Request<AcquireRestartRequest>,
    ) -> Result<Response<AcquireRestartResponse>, Status> {
        use acquire_restart_response::{Answer, Denied, Granted};
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        if request.incarnation.len() != 16 || request.reason.is_empty() {
            return Err(Status::invalid_argument("no question"));
        }
        let answer = |answer| {
            let answer = Some(answer);
            Ok(Response::new(AcquireRestartResponse { answer }))
        };
        self.with(|state| state.asked.push(request.clone()));
        let denies = self.with(|state| state.denies.clone());
        if let Some(message) = denies.filter(|_| request.node_id < 1000) {
            return answer(Answer::Denied(Denied {
                reason: DeniedReason::MinInsync.into(),
                message,
            }));
        }
        let known = self.with(|state| state.grants.get(&request.node_id).cloned());
        let grant = known
            .filter(|grant| grant.incarnation == request.incarnation)
            .unwrap_or_else(|| {
                let grant_epoch = self.with(|state| {
                    state.last_grant += 1;
                    state.last_grant
                });
                Grant {
                    node_id: request.node_id,
                    grant_epoch,
                    incarnation: request.incarnation,
                    reason: request.reason,
                    operator_epoch: request.operator_epoch,
                    unprotected: vec!["single-0".into()],
                }
            });
        self.with(|state| state.grants.insert(grant.node_id, grant.clone()));
        if !self.with(|state| state.keeps_grants_to_itself) {
            self.tell(Event::GrantChanged(grant.clone()));
        }
        answer(Answer::Granted(Granted {
            grant_epoch: grant.grant_epoch,
            unprotected: grant.unprotected,
        }))
    }

    async fn end_restart(
        &self,
        request: Request<EndRestartRequest>,
    ) -> Result<Response<EndRestartResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let ended = self.end_grant(request.node_id);
        Ok(Response::new(EndRestartResponse { ended }))
    }

    async fn alter_partition_reassignments(
        &self,
        _: Request<AlterPartitionReassignmentsRequest>,
    ) -> Result<Response<AlterPartitionReassignmentsResponse>, Status> {
        Err(Status::unimplemented("the operator moves nothing"))
    }

    async fn change_replication_factor(
        &self,
        request: Request<ChangeReplicationFactorRequest>,
    ) -> Result<Response<ChangeReplicationFactorResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let wanted = request.topics.into_iter().next().expect("a topic");
        let brokers = self.with(|state| state.brokers.len());
        let factor = wanted.replication_factor;
        let result = if usize::try_from(factor).expect("a number") > brokers {
            let message = format!("replication factor {factor}, and there are {brokers} brokers");
            outcome(38, &message)
        } else {
            self.move_to(&wanted.name, factor, false);
            outcome(0, "")
        };
        Ok(Response::new(ChangeReplicationFactorResponse {
            results: result.into_iter().collect(),
        }))
    }

    async fn cordon_brokers(
        &self,
        request: Request<CordonBrokersRequest>,
    ) -> Result<Response<CordonBrokersResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        self.cordon(&request.node_ids, request.cordoned);
        Ok(Response::new(CordonBrokersResponse {}))
    }

    async fn unregister_broker(
        &self,
        request: Request<UnregisterBrokerRequest>,
    ) -> Result<Response<UnregisterBrokerResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let outcome = match self.unregister(request.node_id) {
            Ok(()) => outcome(0, ""),
            Err(why) => outcome(42, &why),
        };
        Ok(Response::new(UnregisterBrokerResponse { outcome }))
    }

    async fn update_features(
        &self,
        request: Request<UpdateFeaturesRequest>,
    ) -> Result<Response<UpdateFeaturesResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let [update] = &request.updates[..] else {
            return Err(Status::invalid_argument("the operator asks for one level"));
        };
        assert_eq!(
            (&*update.name, update.upgrade_type()),
            ("foz.version", UpgradeType::Upgrade)
        );
        self.tell_level(update.level);
        let outcome = outcome(0, "");
        Ok(Response::new(UpdateFeaturesResponse { outcome }))
    }

    async fn remove_voter(
        &self,
        request: Request<RemoveVoterRequest>,
    ) -> Result<Response<RemoveVoterResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let outcome = match self.with(|state| state.keeps_voter.take()) {
            Some(message) => outcome(42, &message),
            None => {
                self.change_voter(request.node_id, false);
                outcome(0, "")
            }
        };
        Ok(Response::new(RemoveVoterResponse { outcome }))
    }

    async fn add_voter(
        &self,
        request: Request<AddVoterRequest>,
    ) -> Result<Response<AddVoterResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        self.change_voter(request.node_id, true);
        Ok(Response::new(AddVoterResponse {}))
    }

    async fn plan_rebalance(
        &self,
        request: Request<PlanRebalanceRequest>,
    ) -> Result<Response<PlanRebalanceResponse>, Status> {
        let request = request.into_inner();
        let answer = Some(self.planned(&request));
        Ok(Response::new(PlanRebalanceResponse { answer }))
    }

    async fn start_rebalance(
        &self,
        request: Request<StartRebalanceRequest>,
    ) -> Result<Response<StartRebalanceResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let answer = Some(self.started(&request));
        Ok(Response::new(StartRebalanceResponse { answer }))
    }

    async fn cancel_rebalance(
        &self,
        request: Request<CancelRebalanceRequest>,
    ) -> Result<Response<CancelRebalanceResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let cancelled = self.cancelled(request.rebalance_id);
        Ok(Response::new(CancelRebalanceResponse { cancelled }))
    }

    async fn list_deleted_topics(
        &self,
        request: Request<ListDeletedTopicsRequest>,
    ) -> Result<Response<ListDeletedTopicsResponse>, Status> {
        self.with(|state| state.listings_of_deleted += 1);
        let topics = self.deleted(&request.into_inner().names);
        Ok(Response::new(ListDeletedTopicsResponse { topics }))
    }

    async fn restore_topic(
        &self,
        request: Request<RestoreTopicRequest>,
    ) -> Result<Response<RestoreTopicResponse>, Status> {
        let request = request.into_inner();
        self.check(request.operator_epoch)?;
        let answer = match self.restore(&request.topic.unwrap_or_default().id) {
            Ok(topic) => RestoreTopicResponse {
                outcome: outcome(0, ""),
                topic: Some(topic),
            },
            Err((code, why)) => RestoreTopicResponse {
                outcome: outcome(code, &why),
                topic: None,
            },
        };
        if self.with(|state| std::mem::take(&mut state.lose_next_answer)) {
            return Err(Status::unavailable("the connection broke"));
        }
        Ok(Response::new(answer))
    }

    async fn purge_deleted_topics(
        &self,
        _: Request<PurgeDeletedTopicsRequest>,
    ) -> Result<Response<PurgeDeletedTopicsResponse>, Status> {
        Err(Status::unimplemented("the operator gives nothing up"))
    }
}

fn outcome(kafka_code: i32, message: &str) -> Option<Outcome> {
    Some(Outcome {
        kafka_code,
        message: message.to_owned(),
    })
}
