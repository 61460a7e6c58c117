//! A broker that registers, keeps its lease and follows the metadata, and does nothing else.

use std::sync::Arc;
use std::time::Duration;

use foz_api::v1;
use foz_api::v1::metadata_frame::Frame;
use foz_api::v1::node_client::NodeClient;
use foz_api::{ActiveController, CallError};
use foz_metadata::Image;
use foz_metadata::image::SupportedFeatures;
use foz_metadata::record::Batch;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use crate::controllers::Controllers;

const BEAT: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(20);

pub(crate) struct FakeBroker {
    node_id: i32,
    registration: v1::RegisterBrokerRequest,
    epoch: i64,
    image: watch::Receiver<Arc<Image>>,
    mood: watch::Sender<Mood>,
    answer: watch::Receiver<v1::LeaseAnswer>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Beating,
    /// Its disk has no room.
    Short,
    Silent,
    /// Without a lease stream, but observing.
    Disconnected,
    Stopping,
    Insisting,
    Leaving,
}

pub(crate) fn supported(features: &SupportedFeatures) -> Vec<v1::SupportedFeature> {
    let features = features.iter().map(|(name, levels)| v1::SupportedFeature {
        name: name.to_owned(),
        min_level: levels.min,
        max_level: levels.max,
    });
    features.collect()
}

impl FakeBroker {
    pub(crate) fn registration(node_id: i32) -> v1::RegisterBrokerRequest {
        v1::RegisterBrokerRequest {
            node_id,
            incarnation: Uuid::new_v4().as_bytes().to_vec(),
            cluster_id: String::new(),
            host: "localhost".to_owned(),
            port: 9092 + node_id,
            rack: None,
            version: "test".to_owned(),
            features: supported(&SupportedFeatures::of_this_program()),
            replication_host: "localhost".to_owned(),
            replication_port: 19_092 + node_id,
            directories: vec![Self::directory(node_id, -1)],
            offline_directories: 0,
            in_doubt: Vec::new(),
        }
    }

    fn directory(node_id: i32, disk_epoch: i64) -> v1::DataDirectory {
        v1::DataDirectory {
            id: Uuid::from_u128(100 + node_id as u128).as_bytes().to_vec(),
            disk_epoch,
            intact: true,
            logs: Vec::new(),
        }
    }

    pub(crate) async fn start(controllers: &Controllers, node_id: i32) -> Self {
        Self::start_with(controllers, Self::registration(node_id)).await
    }

    pub(crate) async fn start_with(
        controllers: &Controllers,
        request: v1::RegisterBrokerRequest,
    ) -> Self {
        // Connections of its own for each, as a real broker has: they close when it is killed.
        let addresses = || controllers.client.addresses();
        let client = Arc::new(ActiveController::new(addresses()));
        let lease_client = Arc::new(ActiveController::new(addresses()));
        let node_id = request.node_id;
        let call = |channel| {
            let request = request.clone();
            async move { NodeClient::new(channel).register_broker(request).await }
        };
        // As a real broker does, before it is registered.
        let (image_sender, image) = watch::channel(Arc::new(Image::default()));
        let follow = tokio::spawn(follow(client.clone(), request.clone(), image_sender));
        // The end of the process before may not have been noticed yet; a real broker asks again too.
        let mut attempts = 0;
        let registered = loop {
            match client.call(call).await {
                Ok(registered) => break registered.into_inner(),
                Err(CallError::Answered(status))
                    if status.code() == Code::AlreadyExists && attempts < 10 =>
                {
                    attempts += 1;
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(registered.lease_ms, controllers.lease_ms());
        let mood = watch::Sender::new(Mood::Beating);
        let epoch = registered.broker_epoch;
        let (answer_sender, answer) = watch::channel(v1::LeaseAnswer::default());
        let keeper = Keeper {
            node_id,
            broker_epoch: epoch,
            image: image.clone(),
            mood: mood.subscribe(),
            answer: answer_sender,
        };
        let beat = tokio::spawn(keeper.keep(lease_client));
        Self {
            node_id,
            registration: request,
            epoch,
            image,
            mood,
            answer,
            tasks: vec![follow, beat],
        }
    }

    pub(crate) fn node_id(&self) -> i32 {
        self.node_id
    }

    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    pub(crate) fn incarnation(&self) -> Vec<u8> {
        self.registration.incarnation.clone()
    }

    /// What the next process on the same disk says, after a stop that lost nothing.
    pub(crate) fn next_registration(&self) -> v1::RegisterBrokerRequest {
        v1::RegisterBrokerRequest {
            incarnation: Uuid::new_v4().as_bytes().to_vec(),
            directories: vec![Self::directory(self.node_id, self.epoch)],
            ..self.registration.clone()
        }
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.borrow().clone()
    }

    /// Keeps the stream open and says nothing.
    pub(crate) fn pause(&self) {
        self.mood.send_replace(Mood::Silent);
    }

    pub(crate) fn resume(&self) {
        self.mood.send_replace(Mood::Beating);
    }

    pub(crate) fn run_out_of_space(&self) {
        self.mood.send_replace(Mood::Short);
    }

    /// Closes the lease stream and opens no other until [`resume`](Self::resume).
    pub(crate) fn disconnect(&self) {
        self.mood.send_replace(Mood::Disconnected);
    }

    /// Says that it wants to stop, until told otherwise.
    pub(crate) fn want_to_stop(&self) {
        self.mood.send_replace(Mood::Stopping);
    }

    /// Whether the newest answer said so.
    pub(crate) fn may_stop(&self) -> bool {
        self.answer.borrow().may_stop
    }

    /// Why it may not stop, as the newest answer says.
    pub(crate) fn denied(&self) -> String {
        self.answer.borrow().denied.clone()
    }

    /// Says that it stops in any case.
    pub(crate) fn insist_on_stopping(&self) {
        self.mood.send_replace(Mood::Insisting);
    }

    /// As a process that is killed: everything it had open closes.
    pub(crate) async fn kill(self) {
        for task in self.tasks {
            task.abort();
            assert!(
                task.await.unwrap_err().is_cancelled(),
                "the fake broker ended by itself"
            );
        }
    }

    /// Says that it stops, and keeps the stream open.
    pub(crate) async fn leave(&self) {
        self.mood.send_replace(Mood::Leaving);
    }

    pub(crate) async fn stop(self) {
        self.kill().await;
    }
}

async fn follow(
    client: Arc<ActiveController>,
    registration: v1::RegisterBrokerRequest,
    sender: watch::Sender<Arc<Image>>,
) {
    loop {
        let from_offset = match sender.borrow().offset() {
            0 => -1,
            offset => offset,
        };
        let request = v1::WatchMetadataRequest {
            node_id: registration.node_id,
            from_offset,
            incarnation: registration.incarnation.clone(),
        };
        let call = |channel| {
            let request = request.clone();
            async move { NodeClient::new(channel).watch_metadata(request).await }
        };
        if let Ok(frames) = client.call(call).await {
            let mut frames = frames.into_inner();
            let mut snapshot = Vec::new();
            while let Ok(Some(frame)) = frames.message().await {
                match frame.frame.unwrap() {
                    Frame::Snapshot(part) => {
                        snapshot.extend(part.part);
                        if part.last {
                            let image = Image::decode(&std::mem::take(&mut snapshot)).unwrap();
                            assert_eq!(image.offset(), part.offset);
                            sender.send_replace(Arc::new(image));
                        }
                    }
                    Frame::Batch(batch) => {
                        let batch = Batch::decode_from(&batch.records).unwrap();
                        let image = sender.borrow().apply(&batch).unwrap();
                        sender.send_replace(Arc::new(image));
                    }
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

struct Keeper {
    node_id: i32,
    broker_epoch: i64,
    image: watch::Receiver<Arc<Image>>,
    mood: watch::Receiver<Mood>,
    answer: watch::Sender<v1::LeaseAnswer>,
}

impl Keeper {
    async fn keep(mut self, client: Arc<ActiveController>) {
        loop {
            let is_connected = |mood: &Mood| *mood != Mood::Disconnected;
            self.mood.wait_for(is_connected).await.unwrap();
            let first = self.beat();
            let call = |channel| async move {
                let (sender, beats) = mpsc::channel(1);
                // The first beat must be on its way before the controller answers at all.
                sender.try_send(first).unwrap();
                let beats = ReceiverStream::new(beats);
                let answers = NodeClient::new(channel).lease(beats).await?;
                Ok((sender, answers.into_inner()))
            };
            // An error: the controller refused or has gone; the next one is asked.
            if let Ok((sender, answers)) = client.call(call).await {
                let _ = self.hold(sender, answers).await;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn hold(
        &mut self,
        sender: mpsc::Sender<v1::LeaseBeat>,
        mut answers: Streaming<v1::LeaseAnswer>,
    ) -> Result<(), Status> {
        loop {
            tokio::select! {
                answer = answers.message() => {
                    self.answer.send_replace(answer?.ok_or_else(closed)?);
                    continue;
                }
                _ = self.image.changed() => {}
                _ = self.mood.changed() => {}
                () = tokio::time::sleep(BEAT) => {}
            }
            match *self.mood.borrow() {
                Mood::Disconnected => return Ok(()),
                Mood::Silent => {}
                Mood::Beating | Mood::Short | Mood::Stopping | Mood::Insisting | Mood::Leaving => {
                    // A full queue holds a beat already.
                    let _ = sender.try_send(self.beat());
                }
            }
        }
    }

    fn beat(&self) -> v1::LeaseBeat {
        let mood = *self.mood.borrow();
        v1::LeaseBeat {
            node_id: self.node_id,
            broker_epoch: self.broker_epoch,
            applied_offset: self.image.borrow().offset(),
            leaving: mood == Mood::Leaving,
            stopping: matches!(mood, Mood::Stopping | Mood::Insisting),
            number: 0,
            insist: mood == Mood::Insisting,
            short_of_space: mood == Mood::Short,
        }
    }
}

fn closed() -> Status {
    Status::unavailable("the stream closed")
}
