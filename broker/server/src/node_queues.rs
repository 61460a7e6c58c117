//! What this broker asks of others on behalf of many: a queue for each of them, of which one request at a time is under way,
//! over one connection. What waits meanwhile goes together with the next.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::pin::pin;
use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;
use tracing::debug;

use crate::broker::Broker;
use crate::replication::NodeConnection;

/// One of those who ask.
pub(crate) trait Asked: Send + Sync + Sized + 'static {
    /// Of a request for several.
    type Answer: Send;

    /// For the log of the other broker.
    const PURPOSE: &'static str;
    /// Whether it does no harm when it is heard twice.
    const MAY_COME_TWICE: bool;

    /// What it takes of a request, about.
    fn bytes(&self) -> usize;

    /// Nobody waits for it any longer.
    fn is_given_up(&self) -> bool;

    /// No two of the same may go together: their answers could not be told apart.
    fn alone(&self) -> StrBytes;

    fn ask(
        connection: &mut NodeConnection,
        together: &[Self],
    ) -> impl Future<Output = io::Result<Self::Answer>> + Send;

    /// `None`: nobody knows whether it was heard.
    fn tell(self, answer: Option<&Self::Answer>);
}

/// Of one request, unless the first one alone has more. The other broker holds them until its followers have fetched what is
/// written for it, in a budget of 8 MiB in which they ask for that, too.
pub(crate) const BYTES_TOGETHER_MAX: usize = 128 << 10;

/// By broker. The queues have no bound of their own: who asks has one.
#[derive(Debug)]
pub(crate) struct NodeQueues<A> {
    /// `None` once they are stopped.
    by_node: Mutex<Option<BTreeMap<i32, mpsc::UnboundedSender<A>>>>,
}

impl<A> Default for NodeQueues<A> {
    fn default() -> Self {
        Self {
            by_node: Mutex::new(Some(BTreeMap::new())),
        }
    }
}

impl<A: Asked> NodeQueues<A> {
    pub(crate) fn ask(&self, broker: &Arc<Broker>, node_id: i32, asked: A) {
        let mut by_node = self.by_node.lock();
        let Some(by_node) = by_node.as_mut() else {
            return asked.tell(None);
        };
        let asked = match by_node.get(&node_id) {
            None => asked,
            Some(queue) => match queue.send(asked) {
                Ok(()) => return,
                // Nobody serves it.
                Err(SendError(asked)) => asked,
            },
        };
        Self::begin(by_node, broker, node_id, asked);
    }

    fn begin(
        by_node: &mut BTreeMap<i32, mpsc::UnboundedSender<A>>,
        broker: &Arc<Broker>,
        node_id: i32,
        first: A,
    ) {
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::spawn(serve(Arc::clone(broker), node_id, first, queued));
        by_node.insert(node_id, queue);
    }

    /// What is under way or waits comes to its end.
    pub(crate) fn stop(&self) {
        *self.by_node.lock() = None;
    }
}

/// Until the queue has ended and is empty. What failed is not repeated here: who asks knows whether to ask again, and by
/// then perhaps another broker.
async fn serve<A: Asked>(
    broker: Arc<Broker>,
    node_id: i32,
    first: A,
    mut queue: mpsc::UnboundedReceiver<A>,
) {
    let mut connection = None;
    let mut waiting = VecDeque::from([first]);
    loop {
        if waiting.is_empty() {
            match queue.recv().await {
                Some(asked) => waiting.push_back(asked),
                None => return,
            }
        }
        while let Ok(asked) = queue.try_recv() {
            waiting.push_back(asked);
        }
        let together = next(&mut waiting);
        if together.is_empty() {
            continue;
        }
        let answered = ask_while_alive(&broker, node_id, &mut connection, &together).await;
        if let Err(error) = &answered {
            debug!(node_id, purpose = A::PURPOSE, %error, "another broker did not answer");
            connection = None;
        }
        let answer = answered.ok();
        for asked in together {
            asked.tell(answer.as_ref());
        }
    }
}

/// The first of those who still wait, as far as they go together; the others stay, in their order.
fn next<A: Asked>(waiting: &mut VecDeque<A>) -> Vec<A> {
    let mut together = Vec::new();
    let mut bytes = 0;
    let mut alone = HashSet::new();
    let mut rest = VecDeque::new();
    for asked in waiting.drain(..).filter(|asked| !asked.is_given_up()) {
        let with_it = bytes + asked.bytes();
        let fits = together.is_empty() || with_it <= BYTES_TOGETHER_MAX;
        if fits && alone.insert(asked.alone()) {
            bytes = with_it;
            together.push(asked);
        } else {
            rest.push_back(asked);
        }
    }
    *waiting = rest;
    together
}

/// Nobody waits for a broker that the cluster has given up: others lead what it led.
async fn ask_while_alive<A: Asked>(
    broker: &Broker,
    node_id: i32,
    connection: &mut Option<NodeConnection>,
    together: &[A],
) -> io::Result<A::Answer> {
    let mut applied = broker.applied_offset.subscribe();
    let registration = || {
        let image = broker.image();
        let node = image.broker(node_id).filter(|node| !node.fenced);
        node.map(|node| node.epoch)
    };
    let asked_of = registration();
    let mut asking = pin!(ask(broker, node_id, connection, together));
    loop {
        if asked_of.is_none() || registration() != asked_of {
            return Err(io::Error::other("it is not alive, or not as it was"));
        }
        tokio::select! {
            answered = &mut asking => return answered,
            changed = applied.changed() => if changed.is_err() {
                return asking.await;
            },
        }
    }
}

async fn ask<A: Asked>(
    broker: &Broker,
    node_id: i32,
    connection: &mut Option<NodeConnection>,
    together: &[A],
) -> io::Result<A::Answer> {
    if let Some(connection) = connection {
        let answered = A::ask(connection, together).await;
        match &answered {
            Err(error) if A::MAY_COME_TWICE && may_be_of_idleness(error) => {}
            _ => return answered,
        }
    }
    let client_id = format!("broker-{}-{}", broker.node_id, A::PURPOSE);
    let opened = NodeConnection::open_to(broker, node_id, &client_id).await?;
    A::ask(connection.insert(opened), together).await
}

/// The other side closes connections that were idle for long. Who let the time pass lives, and has the request: it would take as
/// long again, and everybody behind it waits.
fn may_be_of_idleness(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::TimedOut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Number(i32, bool);

    impl Asked for Number {
        type Answer = ();

        const PURPOSE: &'static str = "test";
        const MAY_COME_TWICE: bool = true;

        /// Three go together; of large ones none with another.
        fn bytes(&self) -> usize {
            match self.0 {
                ..100 => BYTES_TOGETHER_MAX / 3,
                _ => BYTES_TOGETHER_MAX + 1,
            }
        }

        fn is_given_up(&self) -> bool {
            self.1
        }

        fn alone(&self) -> StrBytes {
            StrBytes::from_string(self.0.to_string())
        }

        async fn ask(_: &mut NodeConnection, _: &[Self]) -> io::Result<()> {
            Ok(())
        }

        fn tell(self, _: Option<&()>) {}
    }

    #[test]
    fn those_that_cannot_be_told_apart_go_one_after_the_other_and_nobody_is_left_behind() {
        let numbers = [1, 10, 2, 1, 10, 3, 4, 1, 2];
        let mut waiting: VecDeque<_> = numbers.iter().map(|it| Number(*it, *it == 2)).collect();
        let mut next = || -> Vec<i32> { next(&mut waiting).iter().map(|it| it.0).collect() };
        assert_eq!(next(), [1, 10, 3]);
        assert_eq!(next(), [1, 10, 4]);
        assert_eq!(next(), [1]);
        assert!(next().is_empty());
    }

    #[test]
    fn what_is_larger_than_a_request_goes_by_itself() {
        let mut waiting: VecDeque<_> = [1, 100, 3, 101].map(|it| Number(it, false)).into();
        let mut next = || -> Vec<i32> { next(&mut waiting).iter().map(|it| it.0).collect() };
        assert_eq!(next(), [1, 3]);
        assert_eq!(next(), [100]);
        assert_eq!(next(), [101]);
    }

    #[test]
    fn who_let_the_time_pass_is_not_asked_again() {
        let error = |kind: io::ErrorKind| io::Error::from(kind);
        assert!(!may_be_of_idleness(&error(io::ErrorKind::TimedOut)));
        assert!(may_be_of_idleness(&error(io::ErrorKind::UnexpectedEof)));
        assert!(may_be_of_idleness(&error(io::ErrorKind::ConnectionReset)));
        assert!(may_be_of_idleness(&error(io::ErrorKind::BrokenPipe)));
    }
}
