//! One term of leadership: the watches and the controllers, from the moment this replica holds the
//! Lease to the moment it does not.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action as Requeue;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{Config, applier};
use kube::{Client, Resource};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::cluster::denials::Denials;
use crate::cluster::scaling::asked::Asked;
use crate::cluster::scaling::looks::Looks;
use crate::context::{Context, Deleted, Failures, Latest, Pace, Refusals};
use crate::error::ReconcileError;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::names::OPERATOR;
use crate::pass::error_policy;
use crate::quorum::Quorums;
use crate::rebalance::planned::Planned;
use crate::trigger::{GuardedCluster, GuardedRebalance, GuardedTopic, Queues, Triggers};
use crate::world::{self, Clusters, Sources, follow, follow_nodes, follow_storage_classes};
use crate::{cluster, rebalance, topic};

/// Several watches tell of one change; one pass is enough for all.
const CLUSTER_DEBOUNCE: Duration = Duration::from_millis(20);
const CLUSTERS_AT_ONCE: u16 = 32;
const TOPICS_AT_ONCE: u16 = 128;

/// What a term needs.
#[derive(Clone)]
pub struct Settings {
    /// The API server.
    pub client: Client,
    /// The namespaces to look after; empty for all.
    pub namespaces: Vec<String>,
    /// The image of Clusters that name none.
    pub broker_image: String,
    /// Who we are: the pod's name.
    pub holder: String,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Between two writes of one status in which only numbers move.
    pub status_pause: Duration,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("namespaces", &self.namespaces)
            .finish_non_exhaustive()
    }
}

/// Acts until `term` is cancelled, and then lets the passes that are under way end.
pub async fn run(settings: Settings, term: CancellationToken) {
    let reporter = Reporter {
        controller: OPERATOR.to_owned(),
        instance: Some(settings.holder.clone()),
    };
    let recorder = Recorder::new(settings.client.clone(), reporter);
    let (events, publishing) = Events::new(recorder, term.clone());
    let namespaces: Vec<Option<String>> = match settings.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let (shared_changed, _) = tokio::sync::broadcast::channel::<()>(1);
    let (of_nodes, of_classes) = (shared_changed.clone(), shared_changed.clone());
    // Nobody listens before there is anything to do about it.
    let in_all = world::Shared {
        nodes: follow_nodes(&settings.client, &term, move || drop(of_nodes.send(()))),
        storage_classes: follow_storage_classes(&settings.client, &term, move || {
            drop(of_classes.send(()));
        }),
    };
    let (mut queues, mut scopes, mut stores) = (Vec::new(), Vec::new(), Vec::new());
    for namespace in namespaces {
        let (cluster_sender, cluster_queue) = unbounded_channel();
        let (topic_sender, topic_queue) = unbounded_channel();
        let (rebalance_sender, rebalance_queue) = unbounded_channel();
        queues.push(Queues {
            namespace: namespace.clone(),
            clusters: cluster_sender,
            topics: topic_sender,
            rebalances: rebalance_sender,
        });
        let (reader, writer) = store();
        stores.push((namespace.clone(), reader.clone()));
        scopes.push(Scope {
            namespace,
            clusters: (reader, writer),
            cluster_queue,
            topic_queue,
            rebalance_queue,
        });
    }
    let triggers = Triggers::new(queues);
    let shared = Shared {
        quorums: Arc::new(Quorums::new(
            triggers.clone(),
            term.clone(),
            settings.holder.clone(),
            // A pass that is late by this is in time for the next write of the counts.
            settings.status_pause / 4,
        )),
        clusters: Clusters::new(stores),
        triggers,
        in_all,
        events,
        settings,
        term,
    };
    // What publishes Events ends with the last who could leave one.
    let acting = async move {
        let scopes = scopes
            .into_iter()
            .map(|scope| act_in(&shared, scope, shared_changed.subscribe()));
        futures::future::join_all(scopes).await;
    };
    tokio::join!(acting, publishing);
}

/// One namespace, or all. A Topic may be of a Cluster of another; apart from that they have nothing to do with each
/// other, and one that cannot be watched holds up none.
struct Scope {
    namespace: Option<String>,
    clusters: (Store<GuardedCluster>, Writer<GuardedCluster>),
    cluster_queue: UnboundedReceiver<ObjectRef<GuardedCluster>>,
    topic_queue: UnboundedReceiver<ObjectRef<GuardedTopic>>,
    rebalance_queue: UnboundedReceiver<ObjectRef<GuardedRebalance>>,
}

/// What all scopes share.
struct Shared {
    settings: Settings,
    triggers: Triggers,
    quorums: Arc<Quorums>,
    clusters: Clusters,
    in_all: world::Shared,
    events: Events,
    term: CancellationToken,
}

async fn act_in(
    shared: &Shared,
    scope: Scope,
    mut shared_changed: tokio::sync::broadcast::Receiver<()>,
) {
    let Shared {
        settings,
        triggers,
        term,
        ..
    } = shared;
    let namespace = scope.namespace;
    let sources = Sources {
        client: settings.client.clone(),
        namespace: namespace.clone(),
        triggers: triggers.clone(),
        term: term.clone(),
    };
    let ended = Arc::clone(&shared.quorums);
    let metrics = Arc::clone(&settings.metrics);
    let world = follow(
        &sources,
        scope.clusters,
        shared.in_all.clone(),
        move |name| {
            ended.forget(name);
            metrics.forget(name);
        },
    );
    let context = Arc::new(Context {
        client: settings.client.clone(),
        world,
        clusters: shared.clusters.clone(),
        quorums: Arc::clone(&shared.quorums),
        triggers: triggers.clone(),
        events: shared.events.clone(),
        metrics: Arc::clone(&settings.metrics),
        broker_image: settings.broker_image.clone(),
        memory: crate::apply::Memory::default(),
        cluster_statuses: Latest::default(),
        topic_statuses: Latest::default(),
        rebalance_statuses: Latest::default(),
        planned: Planned::default(),
        asked: Asked::default(),
        looks: Looks::default(),
        pace: Pace::new(settings.status_pause),
        failures: Failures::default(),
        refusals: Refusals::default(),
        denials: Denials::default(),
        deleted: Deleted::default(),
    });
    match term
        .run_until_cancelled(context.world.wait_until_complete())
        .await
    {
        Some(Ok(())) => info!(namespace, "sees everything and begins"),
        Some(Err(_)) => return error!(namespace, "a watch ended before it began"),
        None => return,
    }
    let on_shared = {
        let (context, triggers) = (Arc::clone(&context), triggers.clone());
        async move {
            use tokio::sync::broadcast::error::RecvError;
            while !matches!(shared_changed.recv().await, Err(RecvError::Closed)) {
                for cluster in context.world.clusters.state() {
                    let metadata = cluster.meta();
                    triggers.cluster(&crate::names::ClusterName {
                        namespace: metadata.namespace.clone().unwrap_or_default(),
                        name: metadata.name.clone().unwrap_or_default(),
                    });
                }
            }
        }
    };
    tokio::spawn(term.clone().run_until_cancelled_owned(on_shared));
    let clusters = control(
        context.world.clusters.clone(),
        scope.cluster_queue,
        Config::default()
            .debounce(CLUSTER_DEBOUNCE)
            .concurrency(CLUSTERS_AT_ONCE),
        Arc::clone(&context),
        term.clone(),
        cluster::reconcile::reconcile,
    );
    let topics = control(
        context.world.topics.clone(),
        scope.topic_queue,
        Config::default().concurrency(TOPICS_AT_ONCE),
        Arc::clone(&context),
        term.clone(),
        topic::reconcile::reconcile,
    );
    let rebalances = control(
        context.world.rebalances.clone(),
        scope.rebalance_queue,
        Config::default()
            .debounce(CLUSTER_DEBOUNCE)
            .concurrency(CLUSTERS_AT_ONCE),
        Arc::clone(&context),
        term.clone(),
        rebalance::reconcile::reconcile,
    );
    futures::future::join3(clusters, topics, rebalances).await;
}

/// Gives every object that is triggered a pass, each object one at a time.
async fn control<K, Pass>(
    store: Store<DeserializeGuard<K>>,
    mut queue: UnboundedReceiver<ObjectRef<DeserializeGuard<K>>>,
    config: Config,
    context: Arc<Context>,
    term: CancellationToken,
    pass: impl Fn(Arc<DeserializeGuard<K>>, Arc<Context>) -> Pass,
) where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    Pass: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
{
    let triggered = futures::stream::poll_fn(move |task| queue.poll_recv(task))
        .map(Ok::<_, Infallible>)
        .take_until(term.cancelled_owned());
    let pass = |object, context| Box::pin(pass(object, context));
    let error_policy =
        |object: Arc<_>, error: &_, context: Arc<Context>| error_policy(&object, error, &context);
    applier(pass, error_policy, context, store, triggered, config)
        .for_each(|_| ready(()))
        .await;
}
