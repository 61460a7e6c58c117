//! Keeps the broker's lease, from a thread of its own that no stall of the data path can hold up.
//!
//! A disk that hangs makes no noise. So the thread looks at what is under way there, and while that does not
//! come back it has this broker fenced: others lead what they can. The registration stays, for no data is lost.

use std::sync::Arc;
use std::time::Duration;

use foz_api::v1::node_client::NodeClient;
use foz_api::v1::{LeaseAnswer, LeaseBeat};
use foz_api::{ActiveController, CallError};
use foz_log::{DiskOperation, FileHandles};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming};
use tracing::{error, info, warn};

use super::disk_watch::{DiskWatch, Seen};
use super::lease_freshness::{Beats, LeaseFreshness, SpaceSaid};
use super::stop_wish::{StopWish, Urgency};
use crate::disk_space::Space;
use crate::partition::DataDirectory;

const BEAT_INTERVAL: Duration = Duration::from_millis(500);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Unanswered for this long, the stream is given up and another controller is tried.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(1500);
/// How long a stop waits for leadership to be handed over. A new leader is a commit away; longer than
/// this there is no active controller.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
/// How long a stop waits to be fenced, and how often it asks.
const LEAVE_MAX: Duration = Duration::from_secs(1);
const LEAVE_PAUSE: Duration = Duration::from_millis(10);

/// What the lease says from one moment to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseState {
    /// No controller has answered yet, or not lately.
    Silent,
    /// Held; the broker is not yet counted as alive.
    Fenced,
    /// Held.
    Alive,
    /// The registration no longer counts: register again.
    Lost,
}

/// Who holds the lease, and what the thread goes by.
pub(super) struct Member {
    pub(super) node_id: i32,
    pub(super) broker_epoch: i64,
    pub(super) applied_offset: watch::Receiver<i64>,
    pub(super) freshness: Arc<LeaseFreshness>,
    pub(super) files: Arc<FileHandles>,
    pub(super) wish: Arc<StopWish>,
    /// One without room is enough to say so.
    pub(super) directories: Vec<Arc<DataDirectory>>,
}

/// Starts the thread. It ends on `stop` (after saying that the broker leaves), or when the state is
/// [`LeaseState::Lost`].
///
/// `controllers` is for the lease alone: a channel lives on the runtime that connected it. Shared, beats
/// would wait for the data path's runtime, or others be left with a channel whose runtime has ended.
pub(super) fn keep(
    controllers: ActiveController,
    member: Member,
    state: watch::Sender<LeaseState>,
    stop: CancellationToken,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("lease".to_owned())
        .spawn(move || {
            let keeper = Keeper {
                controllers,
                urgency: member.wish.urgency(),
                member,
                beats: Beats::default(),
                space_said: SpaceSaid::default(),
                disk: DiskWatch::default(),
                denied: String::new(),
                state,
            };
            runtime.block_on(keeper.run(&stop));
        })
}

struct Keeper {
    controllers: ActiveController,
    member: Member,
    beats: Beats,
    space_said: SpaceSaid,
    disk: DiskWatch,
    urgency: watch::Receiver<Urgency>,
    /// Why it may not stop, as it was last told.
    denied: String,
    state: watch::Sender<LeaseState>,
}

/// What a beat says beside that the broker lives.
#[derive(Debug, Clone, Copy)]
struct Says {
    /// It wants to be fenced.
    leaving: bool,
    /// It wants a restart grant, and to hand over what it leads.
    stopping: bool,
    /// It stops in any case.
    insist: bool,
}

enum End {
    Stopped,
    Lost,
    /// On this stream the broker has left for the sake of its disk, which answers again.
    DiskAnswers,
    Broken(String),
}

impl Keeper {
    async fn run(mut self, stop: &CancellationToken) {
        loop {
            let end = self.hold(stop).await;
            self.member.freshness.lost();
            // Another controller may know nothing of what this one has decided.
            self.space_said = SpaceSaid::default();
            match end {
                End::Stopped => return,
                End::Lost => {
                    warn!(
                        broker_epoch = self.member.broker_epoch,
                        "the registration no longer counts"
                    );
                    self.state.send_replace(LeaseState::Lost);
                    return;
                }
                End::DiskAnswers => {}
                End::Broken(reason) => {
                    if self.state.send_replace(LeaseState::Silent) != LeaseState::Silent {
                        warn!(reason, "lease stream broke; serving on and reconnecting");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }

    async fn hold(&mut self, stop: &CancellationToken) -> End {
        let opened = tokio::select! {
            () = stop.cancelled() => return End::Stopped,
            opened = self.open() => opened,
        };
        let (beats, mut answers) = match opened {
            Ok(opened) => opened,
            Err(CallError::Answered(status)) if lost(status.code()) => return End::Lost,
            Err(error) => return End::Broken(error.to_string()),
        };
        let mut tick = tokio::time::interval(BEAT_INTERVAL);
        let mut answered = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    // From here on others are made leaders while the lease is held.
                    self.member.freshness.lost();
                    // Else it leaves for the sake of its logs, and comes back at once: that is no restart, and
                    // needs no grant.
                    if *self.urgency.borrow() == Urgency::Insists {
                        self.hand_over(&beats, &mut answers).await;
                    }
                    self.leave(&beats, &mut answers).await;
                    return End::Stopped;
                }
                _ = tick.tick() => {
                    if answered.elapsed() > ANSWER_WAIT_MAX {
                        return End::Broken("beats are not answered".to_owned());
                    }
                    if self.look_at_disk() == Some(Seen::Answers) {
                        return End::DiskAnswers;
                    }
                    if beats.try_send(self.beat_of_member()).is_err() {
                        return End::Broken("beats are not taken".to_owned());
                    }
                }
                // An error: nobody can ask this broker to stop.
                Ok(()) = self.urgency.changed() => {
                    let _ = beats.try_send(self.beat_of_member());
                }
                changed = self.member.applied_offset.changed() => {
                    if changed.is_err() {
                        return End::Stopped;
                    }
                    // A full queue holds a beat already; the next tick says the newest offset.
                    let _ = beats.try_send(self.beat_of_member());
                }
                answer = answers.next() => match answer {
                    Some(Ok(answer)) => {
                        answered = Instant::now();
                        self.answered(&answer);
                    }
                    Some(Err(status)) if lost(status.code()) => return End::Lost,
                    Some(Err(status)) => return End::Broken(status.message().to_owned()),
                    None => return End::Broken("the controller closed the stream".to_owned()),
                },
            }
        }
    }

    async fn open(
        &mut self,
    ) -> Result<(mpsc::Sender<LeaseBeat>, Streaming<LeaseAnswer>), CallError> {
        let first = self.beat_of_member();
        self.controllers
            .call(async |channel| {
                let (beats, queue) = mpsc::channel(8);
                // The first beat must be on its way before the controller answers at all.
                let _ = beats.try_send(first);
                let answers = NodeClient::new(channel)
                    .lease(ReceiverStream::new(queue))
                    .await?;
                Ok((beats, answers.into_inner()))
            })
            .await
    }

    fn look_at_disk(&mut self) -> Option<Seen> {
        let operations = self.member.files.operations();
        let (write, flush) = (
            operations.longest(DiskOperation::Write),
            operations.longest(DiskOperation::Flush),
        );
        let seen = self.disk.look(write, flush);
        match seen {
            Some(Seen::Hangs(under_way)) => {
                // From here on others are made leaders while the lease is held.
                self.member.freshness.lost();
                error!(
                    under_way_ms = under_way.as_millis() as u64,
                    "the disk does not answer: others are to lead until it does"
                );
            }
            Some(Seen::Answers) => warn!("the disk answers again"),
            None => {}
        }
        seen
    }

    /// Of a broker that holds its lease.
    fn beat_of_member(&mut self) -> LeaseBeat {
        let urgency = *self.urgency.borrow_and_update();
        if urgency > Urgency::None {
            // With this beat others may be made leaders while the lease is held.
            self.member.freshness.lost();
        }
        self.beat(Says {
            leaving: self.disk.hangs(),
            stopping: urgency > Urgency::None,
            insist: urgency == Urgency::Insists,
        })
    }

    fn beat(&mut self, says: Says) -> LeaseBeat {
        let mut directories = self.member.directories.iter();
        let short_of_space =
            directories.any(|it| it.disk_gate().space() != Space::Roomy && !it.has_failed());
        let number = self.beats.next(Instant::now());
        if self.space_said.says(number, short_of_space) {
            self.member.freshness.says(short_of_space);
        }
        LeaseBeat {
            node_id: self.member.node_id,
            broker_epoch: self.member.broker_epoch,
            applied_offset: *self.member.applied_offset.borrow_and_update(),
            leaving: says.leaving,
            stopping: says.stopping,
            insist: says.insist,
            short_of_space,
            number,
        }
    }

    fn answered(&mut self, answer: &LeaseAnswer) {
        self.controllers.learn(&answer.controllers);
        let applied_offset = *self.member.applied_offset.borrow();
        let (number, decided_offset) = (answer.beat_number, answer.space_offset);
        self.space_said.answered(number, decided_offset);
        if let Some(sent) = self.beats.answered(number)
            && !answer.fenced
            && !self.disk.hangs()
            && self.space_said.is_settled(applied_offset)
            && self.leads_on(answer)
        {
            self.member.freshness.answered(sent);
        }
        let now = if answer.fenced {
            LeaseState::Fenced
        } else {
            LeaseState::Alive
        };
        if self.state.send_replace(now) != now {
            info!(fenced = answer.fenced, "lease held");
        }
        self.member.wish.answered(answer.may_stop);
        if !answer.denied.is_empty() && answer.denied != self.denied {
            info!(
                reason = answer.denied,
                "the broker was asked to end and may not stop yet: it serves on"
            );
            self.denied.clone_from(&answer.denied);
        }
    }

    /// Whether the answer says that nobody was made a leader in this broker's place because it wants to stop. With a
    /// later beat somebody may have been.
    fn leads_on(&self, answer: &LeaseAnswer) -> bool {
        let asks = *self.urgency.borrow() > Urgency::None;
        !asks || (!answer.denied.is_empty() && self.beats.is_newest(answer.beat_number))
    }

    /// Waits, serving on, until all that it leads is led by others. A broker that has its grant by now does so at
    /// once; one that goes without insists.
    async fn hand_over(
        &mut self,
        beats: &mpsc::Sender<LeaseBeat>,
        answers: &mut Streaming<LeaseAnswer>,
    ) {
        let insisting = Says {
            leaving: false,
            stopping: true,
            insist: true,
        };
        let handing_over = async {
            while beats.send(self.beat(insisting)).await.is_ok() {
                match answers.next().await {
                    Some(Ok(answer)) if !answer.may_stop => tokio::time::sleep(LEAVE_PAUSE).await,
                    Some(Ok(_)) => {
                        info!("leadership was handed over");
                        return;
                    }
                    _ => return,
                }
            }
        };
        if tokio::time::timeout(HAND_OVER_MAX, handing_over)
            .await
            .is_err()
        {
            warn!("leadership was not handed over in time; stopping all the same");
        }
    }

    /// Says that the broker leaves, and waits until it is fenced, so that clients find its partitions
    /// without a leader before its socket closes.
    async fn leave(
        &mut self,
        beats: &mpsc::Sender<LeaseBeat>,
        answers: &mut Streaming<LeaseAnswer>,
    ) {
        let goodbye = Says {
            leaving: true,
            stopping: false,
            insist: false,
        };
        let farewell = async {
            loop {
                if beats.send(self.beat(goodbye)).await.is_err() {
                    return;
                }
                match answers.next().await {
                    Some(Ok(answer)) if !answer.fenced => tokio::time::sleep(LEAVE_PAUSE).await,
                    _ => return,
                }
            }
        };
        if tokio::time::timeout(LEAVE_MAX, farewell).await.is_err() {
            warn!("the controller did not take the goodbye in time");
        }
    }
}

/// The codes by which the controller says that this epoch is not the node's registration.
fn lost(code: Code) -> bool {
    matches!(code, Code::NotFound | Code::Aborted)
}
