//! The stream on which a broker says that it lives.

use std::pin::Pin;
use std::sync::Arc;

use foz_api::v1::{LeaseAnswer, LeaseBeat};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::handovers::Handover;
use crate::leases::Beat;
use crate::services::calls::{AnswerStream, Calls};

/// Answers that wait for the connection. A broker that does not read them is not beating.
const ANSWERS_MAX: usize = 16;

type Sender = mpsc::Sender<Result<LeaseAnswer, Status>>;

pub(super) async fn lease(
    calls: &Arc<Calls>,
    beats: Streaming<LeaseBeat>,
) -> Result<AnswerStream<LeaseAnswer>, Status> {
    calls.check_active().await?;
    let (sender, answers) = mpsc::channel(ANSWERS_MAX);
    tokio::spawn(hold(calls.clone(), beats, sender));
    Ok(Box::pin(ReceiverStream::new(answers)))
}

async fn hold(calls: Arc<Calls>, mut beats: Streaming<LeaseBeat>, sender: Sender) {
    let stream = calls.next_stream();
    let mut holder = None;
    tokio::select! {
        () = answer_beats(&calls, &mut beats, &sender, stream, &mut holder) => {
            if let Some(node_id) = holder {
                calls.closed(node_id, stream).await;
            }
        }
        // Not the broker's doing: it keeps its lease and finds the next active controller.
        status = calls.until_not_active() => {
            let _ = sender.send(Err(status)).await;
        }
    }
}

/// Ends when the stream has. `holder` becomes the node whose stream it is.
async fn answer_beats(
    calls: &Calls,
    beats: &mut Streaming<LeaseBeat>,
    sender: &Sender,
    stream: u64,
    holder: &mut Option<i32>,
) {
    let mut stopping = Stopping::new(calls);
    loop {
        let first = tokio::select! {
            beat = beats.next() => beat,
            () = sender.closed() => return,
            answer = stopping.may_stop() => {
                if sender.send(Ok(answer)).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some(Ok(first)) = first else { return };
        // Beats that came meanwhile are answered together: each costs a round of the quorum.
        let (beat, count) = newest(first, beats);
        if *holder.get_or_insert(beat.node_id) != beat.node_id {
            let error = format!(
                "a lease stream is of one broker: node_id was {:?}, now it is {}",
                holder, beat.node_id
            );
            let _ = sender.send(Err(Status::invalid_argument(error))).await;
            return;
        }
        let beat_number = beat.number;
        let beat = Beat {
            node_id: beat.node_id,
            epoch: beat.broker_epoch,
            stream,
            applied_offset: beat.applied_offset,
            is_stopping: beat.stopping,
            is_insisting: beat.insist,
            is_leaving: beat.leaving,
            is_short_of_space: beat.short_of_space,
        };
        let state = calls.beat(beat).await;
        if beat.is_stopping && state.is_ok() {
            stopping.asked(beat.node_id, beat.epoch);
        }
        let answer = state.map(|state| LeaseAnswer {
            metadata_offset: state.committed_offset,
            fenced: state.is_fenced,
            space_offset: state.space_offset.unwrap_or(0),
            // A grant may have ended by its time limit since.
            may_stop: stopping.is_handed_over() && state.denied.is_none(),
            beat_number,
            denied: state.denied.as_deref().unwrap_or_default().to_owned(),
            controllers: addresses_of_voters(calls),
        });
        let is_over = answer.is_err();
        for _ in 0..count {
            if sender.send(answer.clone()).await.is_err() {
                return;
            }
        }
        if is_over {
            return;
        }
    }
}

/// How far the wish of a broker to stop is. It is waited for beside the beats, so that none of them waits
/// for it, and the broker hears of it without another beat.
struct Stopping<'a> {
    calls: &'a Calls,
    /// (node id, epoch)
    broker: Option<(i32, i64)>,
    waiting: Option<Pin<Box<dyn Future<Output = Handover> + Send + 'a>>>,
    handed_over: Option<Handover>,
}

impl<'a> Stopping<'a> {
    fn new(calls: &'a Calls) -> Self {
        Self {
            calls,
            broker: None,
            waiting: None,
            handed_over: None,
        }
    }

    /// Another registration on the same stream begins anew.
    fn asked(&mut self, node_id: i32, epoch: i64) {
        if self.broker != Some((node_id, epoch)) {
            (self.broker, self.waiting, self.handed_over) = (Some((node_id, epoch)), None, None);
        }
        if !self.is_handed_over() && self.waiting.is_none() {
            self.waiting = Some(Box::pin(self.calls.handed_over(node_id, epoch)));
        }
    }

    /// What was handed over does not count any more when more has become possible since.
    fn is_handed_over(&self) -> bool {
        let handovers = &self.calls.shared.handovers;
        self.broker
            .zip(self.handed_over)
            .is_some_and(|((node_id, _), handover)| handovers.is_newest(node_id, handover))
    }

    /// Returns once, when the broker may stop; never without its wish.
    async fn may_stop(&mut self) -> LeaseAnswer {
        let (Some((node_id, _)), Some(waiting)) = (self.broker, self.waiting.as_mut()) else {
            return std::future::pending().await;
        };
        let handover = waiting.await;
        (self.waiting, self.handed_over) = (None, Some(handover));
        let image = self.calls.shared.metadata.image();
        LeaseAnswer {
            metadata_offset: image.offset(),
            fenced: !image.is_alive(node_id),
            may_stop: true,
            beat_number: 0,
            space_offset: 0,
            denied: String::new(),
            controllers: Vec::new(),
        }
    }
}

fn addresses_of_voters(calls: &Calls) -> Vec<String> {
    let voters = calls.shared.quorum.voters().into_iter();
    voters.map(|voter| voter.address).collect()
}

fn newest(first: LeaseBeat, beats: &mut Streaming<LeaseBeat>) -> (LeaseBeat, usize) {
    let (mut beat, mut count) = (first, 1);
    while count < ANSWERS_MAX
        && let Some(Some(Ok(next))) = beats.next().now_or_never()
    {
        beat = LeaseBeat {
            leaving: beat.leaving || next.leaving,
            stopping: beat.stopping || next.stopping,
            insist: beat.insist || next.insist,
            ..next
        };
        count += 1;
    }
    (beat, count)
}
