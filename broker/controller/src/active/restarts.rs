//! When restart grants end without anybody asking for it.

use foz_metadata::rules::{end_restart, end_restarts_done};

use super::{Active, IN_FLIGHT_MAX};
use crate::quorum_health;
use crate::restart_limits::{RestartLimits, Why};

/// What this term knows of the grants.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    limits: RestartLimits,
    /// The pending image in which no node was back.
    looked_at: Option<i64>,
}

impl Restarts {
    /// The pending image begins again from what is committed, and another decision may get a known offset.
    pub(super) fn image_replaced(&mut self) {
        self.looked_at = None;
    }
}

impl Active {
    /// Quick while nobody has a grant, or nothing has changed.
    pub(super) fn end_restarts(&mut self) {
        if self.is_in_doubt || self.in_flight.len() >= IN_FLIGHT_MAX / 2 {
            return;
        }
        if self.pending.grants().next().is_none() {
            self.restarts = Restarts::default();
            return;
        }
        self.end_those_done();
        self.end_those_overdue();
    }

    fn end_those_done(&mut self) {
        if self.restarts.looked_at == Some(self.pending.offset()) {
            return;
        }
        let ended = self.run_own("end restart grants", end_restarts_done);
        for node_id in ended.into_iter().flatten() {
            tracing::info!(node_id, "a broker is back, and its restart grant ends");
        }
        self.restarts.looked_at = Some(self.pending.offset());
    }

    fn end_those_overdue(&mut self) {
        let config = &self.shared.config;
        let quorum = quorum_health::of(&self.shared.quorum.status().borrow(), config.node_id);
        let (limit, now) = (config.restart_time_limit, self.began.elapsed());
        for ending in self
            .restarts
            .limits
            .look(&self.pending, &quorum, limit, now)
        {
            let (node_id, grant_epoch) = (ending.node_id, ending.grant_epoch);
            match ending.why {
                Why::TimeLimit => tracing::warn!(
                    node_id,
                    grant_epoch,
                    ?limit,
                    "a restart grant ends by its time limit: the node has not come back, or has not stopped"
                ),
                Why::IsBack => tracing::info!(
                    node_id,
                    grant_epoch,
                    "a controller is back, and its restart grant ends"
                ),
            }
            self.run_own("end a restart grant", |image| {
                end_restart(image, node_id, grant_epoch, 0)
            });
        }
    }
}
