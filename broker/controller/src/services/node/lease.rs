//! The stream on which a broker says that it lives.

use std::sync::Arc;

use foz_api::v1::{LeaseAnswer, LeaseBeat};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::leases::Beat;
use crate::services::calls::{AnswerStream, Calls};

/// Answers that wait for the connection. A broker that does not read them is not beating.
const ANSWERS_MAX: usize = 16;

type Sender = mpsc::Sender<Result<LeaseAnswer, Status>>;

pub(super) fn lease(
    calls: &Arc<Calls>,
    beats: Streaming<LeaseBeat>,
) -> Result<AnswerStream<LeaseAnswer>, Status> {
    calls.check_active()?;
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
    loop {
        let first = tokio::select! {
            beat = beats.next() => beat,
            () = sender.closed() => return,
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
        let beat = Beat {
            node_id: beat.node_id,
            epoch: beat.broker_epoch,
            stream,
            applied_offset: beat.applied_offset,
            is_leaving: beat.leaving,
        };
        let answer = calls.beat(beat).await.map(|state| LeaseAnswer {
            metadata_offset: state.committed_offset,
            fenced: state.is_fenced,
            may_stop: false,
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

fn newest(first: LeaseBeat, beats: &mut Streaming<LeaseBeat>) -> (LeaseBeat, usize) {
    let (mut beat, mut count) = (first, 1);
    while count < ANSWERS_MAX
        && let Some(Some(Ok(next))) = beats.next().now_or_never()
    {
        let leaving = beat.leaving || next.leaving;
        beat = LeaseBeat { leaving, ..next };
        count += 1;
    }
    (beat, count)
}
