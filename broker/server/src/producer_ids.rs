//! Numbers for idempotent producers, from blocks that the controller hands out.

use std::time::Duration;

use foz_api::v1::AllocateProducerIdsRequest;
use foz_api::v1::node_client::NodeClient;
use foz_protocol::error::ErrorCode;
use tokio::sync::Mutex;

use crate::admin::{self, Failed};
use crate::broker::Broker;

/// The block in use. A number is given once, by whichever broker and after whatever restart.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: Mutex<std::ops::Range<i64>>,
}

/// How long a producer's start may wait for a block.
const TIMEOUT: Duration = Duration::from_secs(5);

impl ProducerIds {
    /// As if a controller had handed them out.
    #[cfg(test)]
    pub(crate) fn give(&self, ids: std::ops::Range<i64>) {
        *self.block.try_lock().expect("nobody asks yet") = ids;
    }

    /// The next number; asks for a block when the last is used up.
    pub(crate) async fn next(&self, broker: &Broker) -> Result<i64, Failed> {
        // Many may wait for one block: none of them longer than for a block of its own.
        let waited = tokio::time::timeout(TIMEOUT, self.block.lock()).await;
        let mut block = waited.map_err(|_| Failed {
            error: ErrorCode::RequestTimedOut,
            message: "others wait for producer ids".to_owned(),
        })?;
        if let Some(id) = block.next() {
            return Ok(id);
        }
        let request = AllocateProducerIdsRequest {
            node_id: broker.node_id,
            broker_epoch: broker.epoch(),
        };
        let answer = admin::call(&broker.controllers, TIMEOUT, |channel| async move {
            NodeClient::new(channel)
                .allocate_producer_ids(request)
                .await
        })
        .await?;
        *block = answer.first_id..answer.first_id + i64::from(answer.count);
        block.next().ok_or_else(|| Failed {
            error: ErrorCode::UnknownServerError,
            message: "the controller gave an empty block of producer ids".to_owned(),
        })
    }
}
