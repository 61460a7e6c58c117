//! From a disk to a running quorum.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};

use crate::command::PROPOSED_KIB_MAX;
use crate::config::QuorumConfig;
use crate::error::{QuorumFailure, StartError};
use crate::formation::PeerView;
use crate::former::Former;
use crate::meta_properties::{self, MetaProperties};
use crate::quorum::{Inner, Quorum};
use crate::service::Shared;
use crate::state_machine::StateMachine;
use crate::status::{Leadership, QuorumStatus};
use crate::storage::{DIRECTORY, QuorumDirectory};

/// Opens this controller's volume and takes part in the quorum: in the one it belongs to, in one that
/// the configured controllers know, or by founding one together with them. It returns before that is
/// settled, because the others find this controller through [`Quorum::service`], which the caller must
/// serve now; [`Quorum::cluster_id`] and [`Quorum::leadership`] tell when it is.
///
/// What only shows later, such as a volume of another cluster than the others', comes through
/// [`Quorum::failure`].
pub async fn start<S: StateMachine>(
    config: QuorumConfig,
    state_machine: S,
) -> Result<Quorum, StartError> {
    config.check()?;
    let config = Arc::new(config);
    let directory = QuorumDirectory::open(config.data_dir.join(DIRECTORY))?;
    let meta = open_meta_properties(&config, directory.is_empty())?;

    let (commands, receiver) = mpsc::unbounded_channel();
    let me = PeerView {
        node_id: config.node_id,
        directory_id: meta.directory_id,
        cluster_id: meta.cluster_id.clone(),
        configured: config.voter_ids(),
        membership: None,
    };
    let shared = Shared::new(me, commands.clone());
    let leadership = watch::Sender::new(Leadership::default());
    let status = watch::Sender::new(QuorumStatus::default());
    let cluster_id = watch::Sender::new(None);
    let failure = watch::Sender::new(None::<QuorumFailure>);
    let removal = watch::Sender::new(None);
    let obstacle = watch::Sender::new(None);
    let shutdown = watch::Sender::new(false);
    let (ended_sender, ended) = watch::channel(());

    let inner = Inner {
        config: Arc::clone(&config),
        commands,
        proposed: Arc::new(Semaphore::new(PROPOSED_KIB_MAX)),
        cluster_id: cluster_id.subscribe(),
        leadership: leadership.subscribe(),
        status: status.subscribe(),
        failure: failure.subscribe(),
        removal: removal.subscribe(),
        obstacle: obstacle.subscribe(),
        service: shared.service(),
        shutdown: shutdown.clone(),
        ended,
    };
    let mut former = Former {
        config,
        shared,
        meta,
        state_machine: Some(state_machine),
        commands: Some(receiver),
        cluster_id,
        leadership,
        status,
        failure,
        removal,
        obstacle,
        shutdown: shutdown.subscribe(),
        ended: ended_sender,
        clients: std::collections::BTreeMap::new(),
        answered: std::collections::BTreeSet::new(),
    };
    if directory.is_empty() || (former.meta.cluster_id.is_none() && !directory.has_snapshot()) {
        // In the second case it crashed before it entered: it said nothing to anyone yet.
        tokio::spawn(former.form(directory));
    } else {
        former.resume(directory)?;
        tokio::spawn(former.watch());
    }
    Ok(Quorum::new(inner))
}

/// Reads `meta.properties`, or mints it on an empty disk.
fn open_meta_properties(
    config: &QuorumConfig,
    quorum_is_empty: bool,
) -> Result<MetaProperties, StartError> {
    let path = config.data_dir.join(meta_properties::FILE_NAME);
    let Some(mut meta) = MetaProperties::read(&config.data_dir)? else {
        if !quorum_is_empty {
            let what = "the quorum's files are there, and meta.properties, which says whose they are, is not";
            let path = config.data_dir.clone();
            return Err(crate::StorageError::Missing {
                path,
                what: what.to_owned(),
            }
            .into());
        }
        let meta = MetaProperties::mint(config.node_id);
        meta.write(&config.data_dir)?;
        return Ok(meta);
    };
    if meta.node_id != config.node_id {
        let (found, expected) = (meta.node_id, config.node_id);
        return Err(StartError::WrongNode {
            path,
            found,
            expected,
        });
    }
    if let Some(cluster_id) = meta.cluster_id.clone().filter(|_| quorum_is_empty) {
        if config.voters.len() == 1 {
            return Err(StartError::StateLost { path, cluster_id });
        }
        // It may have voted here. Under another directory id it never votes twice.
        meta.directory_id = crate::KafkaUuid::random();
        tracing::warn!(cluster_id, directory_id = %meta.directory_id, "the quorum's files are gone; joining as a new voter");
        meta.write(&config.data_dir)?;
    }
    Ok(meta)
}
