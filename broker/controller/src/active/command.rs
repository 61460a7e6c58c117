//! A rule with the one who waits for its answer.

use foz_metadata::Image;
use foz_metadata::record::Record;
use foz_metadata::rules::{Decided, Refusal};
use foz_quorum::ProposeError;
use tokio::sync::oneshot;

/// Why a command has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotDone {
    /// Nothing was changed: this controller is not active, or not any more.
    #[error("this controller is not active")]
    NotActive,
    /// A rule said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing was changed; try again later.
    #[error("too many commands are waiting")]
    Busy,
    /// Nothing was changed; ask for less at a time.
    #[error("the change has {bytes} bytes, and at most {bytes_max} are possible")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// Leadership was lost before the outcome was known.
    #[error(
        "leadership was lost before the change was known to be committed: it may take effect or not"
    )]
    UnknownOutcome,
}

/// Called once, with the offset at which the decision is committed, or why it is not.
pub(super) type Done = Box<dyn FnOnce(Result<i64, NotDone>) + Send>;

/// A command whose answer type is of no interest to the task that runs it.
pub(crate) trait AnyCommand: Send {
    /// Runs the rule. `Done` carries the answer, or the refusal, to the one who asked.
    fn decide(self: Box<Self>, image: &Image) -> (Vec<Record>, Done);
    /// It is not going to be run.
    fn refuse(self: Box<Self>, why: NotDone);
}

/// Where the answer arrives, with the offset at which it is true.
pub(crate) type Answer<A> = oneshot::Receiver<Result<(A, i64), NotDone>>;

/// A command for `rule`.
pub(crate) fn command<A, R>(rule: R) -> (Box<dyn AnyCommand>, Answer<A>)
where
    A: Send + 'static,
    R: FnOnce(&Image) -> Decided<A> + Send + 'static,
{
    let (sender, answer) = oneshot::channel();
    (
        Box::new(Command {
            rule,
            answer: sender,
        }),
        answer,
    )
}

struct Command<A, R> {
    rule: R,
    answer: oneshot::Sender<Result<(A, i64), NotDone>>,
}

// Sending the answer fails when the caller has gone, which changes nothing.
impl<A, R> AnyCommand for Command<A, R>
where
    A: Send + 'static,
    R: FnOnce(&Image) -> Decided<A> + Send + 'static,
{
    fn decide(self: Box<Self>, image: &Image) -> (Vec<Record>, Done) {
        let Self { rule, answer } = *self;
        match rule(image) {
            Ok(decision) => {
                let done = move |outcome: Result<i64, NotDone>| {
                    let _ = answer.send(outcome.map(|offset| (decision.answer, offset)));
                };
                (decision.records, Box::new(done))
            }
            Err(refusal) => {
                let done = move |outcome: Result<i64, NotDone>| {
                    let _ = answer.send(outcome.and(Err(NotDone::Refused(refusal))));
                };
                (Vec::new(), Box::new(done))
            }
        }
    }

    fn refuse(self: Box<Self>, why: NotDone) {
        let _ = self.answer.send(Err(why));
    }
}

impl From<ProposeError> for NotDone {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { .. } | ProposeError::Superseded => Self::NotActive,
            ProposeError::Busy => Self::Busy,
            ProposeError::TooLarge { bytes, bytes_max } => Self::TooLarge { bytes, bytes_max },
            ProposeError::LeadershipLost | ProposeError::Stopped => Self::UnknownOutcome,
        }
    }
}
