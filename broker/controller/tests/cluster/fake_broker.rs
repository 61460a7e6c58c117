//! A broker that registers, keeps its lease and follows the metadata, and does nothing else.

use std::sync::Arc;
use std::time::Duration;

use foz_api::v1;
use foz_api::v1::metadata_frame::Frame;
use foz_api::v1::node_client::NodeClient;
use foz_api::{ActiveController, CallError};
use foz_metadata::Image;
use foz_metadata::record::Batch;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use uuid::Uuid;

use crate::controllers::Controllers;

const BEAT: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(20);

pub(crate) struct FakeBroker {
    node_id: i32,
    image: watch::Receiver<Arc<Image>>,
    mood: watch::Sender<Mood>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Beating,
    Silent,
    Leaving,
}

impl FakeBroker {
    pub(crate) fn registration(node_id: i32) -> v1::RegisterBrokerRequest {
        v1::RegisterBrokerRequest {
            node_id,
            incarnation: Uuid::new_v4().as_bytes().to_vec(),
            directory_ids: vec![Uuid::from_u128(100 + node_id as u128).as_bytes().to_vec()],
            cluster_id: String::new(),
            host: "localhost".to_owned(),
            port: 9092 + node_id,
            rack: None,
            version: "test".to_owned(),
            replication_host: "localhost".to_owned(),
            replication_port: 19_092 + node_id,
            disk_epoch: -1,
            log_intact: true,
        }
    }

    pub(crate) async fn start(controllers: &Controllers, node_id: i32) -> Self {
        let client = controllers.client.clone();
        let request = Self::registration(node_id);
        let call = |channel| {
            let request = request.clone();
            async move { NodeClient::new(channel).register_broker(request).await }
        };
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
        assert_eq!(registered.lease_ms, 600);
        let (image_sender, image) = watch::channel(Arc::new(Image::default()));
        let mood = watch::Sender::new(Mood::Beating);
        let follow = tokio::spawn(follow(client.clone(), node_id, image_sender));
        let epoch = registered.broker_epoch;
        let beat = tokio::spawn(beat(
            client,
            node_id,
            epoch,
            image.clone(),
            mood.subscribe(),
        ));
        Self {
            node_id,
            image,
            mood,
            tasks: vec![follow, beat],
        }
    }

    pub(crate) fn node_id(&self) -> i32 {
        self.node_id
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

async fn follow(client: Arc<ActiveController>, node_id: i32, sender: watch::Sender<Arc<Image>>) {
    loop {
        let from_offset = match sender.borrow().offset() {
            0 => -1,
            offset => offset,
        };
        let call = |channel| async move {
            let request = v1::WatchMetadataRequest {
                node_id,
                from_offset,
            };
            NodeClient::new(channel).watch_metadata(request).await
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

async fn beat(
    client: Arc<ActiveController>,
    node_id: i32,
    broker_epoch: i64,
    image: watch::Receiver<Arc<Image>>,
    mood: watch::Receiver<Mood>,
) {
    loop {
        let call = |channel| {
            let (image, mood) = (image.clone(), mood.clone());
            async move { hold(channel, node_id, broker_epoch, image, mood).await }
        };
        // An error: the controller refused or has gone; the next one is asked.
        let _ = client.call(call).await;
        tokio::time::sleep(RETRY).await;
    }
}

async fn hold(
    channel: tonic::transport::Channel,
    node_id: i32,
    broker_epoch: i64,
    mut image: watch::Receiver<Arc<Image>>,
    mood: watch::Receiver<Mood>,
) -> Result<(), tonic::Status> {
    let (sender, beats) = mpsc::channel(1);
    let mut answers = NodeClient::new(channel)
        .lease(ReceiverStream::new(beats))
        .await?
        .into_inner();
    loop {
        let mood = *mood.borrow();
        if mood != Mood::Silent {
            let applied_offset = image.borrow_and_update().offset();
            let leaving = mood == Mood::Leaving;
            let beat = v1::LeaseBeat {
                node_id,
                broker_epoch,
                applied_offset,
                leaving,
                stopping: false,
            };
            if sender.send(beat).await.is_err() {
                return Err(answers.message().await.err().unwrap_or_else(closed));
            }
            answers.message().await?.ok_or_else(closed)?;
        }
        let _ = tokio::time::timeout(BEAT, image.changed()).await;
    }
}

fn closed() -> tonic::Status {
    tonic::Status::unavailable("the stream closed")
}
