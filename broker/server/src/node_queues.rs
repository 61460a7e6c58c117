//! What this broker asks of others on behalf of many: a queue for each of them, of which one request at a time is under way,
//! over one connection. What waits meanwhile goes together with the next.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::debug;

use crate::broker::Broker;
use crate::replication::NodeConnection;

/// One of those who ask.
pub(crate) trait Asked: Send + Sync + Sized + 'static {
    /// Of a request for several.
    type Answer: Send;

    /// For the log of the other broker.
    const PURPOSE: &'static str;
    /// How many go together.
    const TOGETHER_MAX: usize;

    /// Nobody waits for it any longer.
    fn is_given_up(&self) -> bool;

    /// No two of the same may go together: their answers could not be told apart.
    fn alone(&self) -> Option<StrBytes>;

    fn ask(
        connection: &mut NodeConnection,
        together: &[Self],
    ) -> impl Future<Output = io::Result<Self::Answer>> + Send;

    /// `None`: nobody knows whether it was heard.
    fn tell(self, answer: Option<&Self::Answer>);
}

/// By broker. The queues have no bound of their own: who asks has one.
#[derive(Debug)]
pub(crate) struct NodeQueues<A> {
    by_node: Mutex<BTreeMap<i32, mpsc::UnboundedSender<A>>>,
}

impl<A> Default for NodeQueues<A> {
    fn default() -> Self {
        Self {
            by_node: Mutex::default(),
        }
    }
}

impl<A: Asked> NodeQueues<A> {
    pub(crate) fn ask(&self, broker: &Arc<Broker>, node_id: i32, asked: A) {
        let mut by_node = self.by_node.lock();
        let queue = by_node.entry(node_id).or_insert_with(|| {
            let (queue, queued) = mpsc::unbounded_channel();
            tokio::spawn(serve(Arc::clone(broker), node_id, queued));
            queue
        });
        // Whoever serves it ends with the queue.
        let _ = queue.send(asked);
    }

    /// What is under way or waits comes to its end.
    pub(crate) fn stop(&self) {
        self.by_node.lock().clear();
    }
}

/// Until the queue has ended and is empty. What failed is not repeated here: who asks knows whether to ask again, and by
/// then perhaps another broker.
async fn serve<A: Asked>(broker: Arc<Broker>, node_id: i32, mut queue: mpsc::UnboundedReceiver<A>) {
    let mut connection = None;
    let mut waiting = VecDeque::new();
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
        let answered = ask(&broker, node_id, &mut connection, &together).await;
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
    let mut alone = HashSet::new();
    let mut rest = VecDeque::new();
    for asked in waiting.drain(..).filter(|asked| !asked.is_given_up()) {
        let fits = together.len() < A::TOGETHER_MAX;
        if fits && asked.alone().is_none_or(|it| alone.insert(it)) {
            together.push(asked);
        } else {
            rest.push_back(asked);
        }
    }
    *waiting = rest;
    together
}

async fn ask<A: Asked>(
    broker: &Broker,
    node_id: i32,
    connection: &mut Option<NodeConnection>,
    together: &[A],
) -> io::Result<A::Answer> {
    let connection = match connection {
        Some(connection) => connection,
        None => {
            let client_id = format!("broker-{}-{}", broker.node_id, A::PURPOSE);
            connection.insert(NodeConnection::open_to(broker, node_id, &client_id).await?)
        }
    };
    A::ask(connection, together).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Number(i32, bool);

    impl Asked for Number {
        type Answer = ();

        const PURPOSE: &'static str = "test";
        const TOGETHER_MAX: usize = 3;

        fn is_given_up(&self) -> bool {
            self.1
        }

        fn alone(&self) -> Option<StrBytes> {
            (self.0 < 10).then(|| StrBytes::from_string(self.0.to_string()))
        }

        async fn ask(_: &mut NodeConnection, _: &[Self]) -> io::Result<()> {
            Ok(())
        }

        fn tell(self, _: Option<&()>) {}
    }

    #[test]
    fn those_that_cannot_be_told_apart_go_one_after_the_other_and_nobody_is_left_behind() {
        let numbers = [1, 10, 2, 1, 10, 3, 1, 2];
        let mut waiting: VecDeque<_> = numbers.iter().map(|it| Number(*it, *it == 2)).collect();
        let mut next = || -> Vec<i32> { next(&mut waiting).iter().map(|it| it.0).collect() };
        assert_eq!(next(), [1, 10, 10]);
        assert_eq!(next(), [1, 3]);
        assert_eq!(next(), [1]);
        assert!(next().is_empty());
    }
}
