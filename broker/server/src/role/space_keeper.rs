//! Looks at the room on the disk of a data directory: each second, and at once when a write found none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use foz_metadata::Image;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::broker::Broker;
use crate::disk_room::{DiskRoom, disk_room};
use crate::disk_space::{DiskSpace, Space, reserve_bytes};
use crate::identity::IS_TAKEN_AWAY;
use crate::partition::{DataDirectory, RoomSeen, monotonic};
use crate::spare_file;

const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks, however many writes find no room, and however much is written.
const PAUSE: Duration = Duration::from_millis(100);
/// Of the reserve: who writes as much is looked after before the second is over.
const PART: i64 = 8;

/// Knows what is so from one look to the next.
#[derive(Debug)]
pub(super) struct SpaceKeeper {
    directory: Arc<DataDirectory>,
    rule: DiskSpace,
    said: Space,
    /// The metadata have come, with what is configured there.
    knows_config: bool,
    has_failed: bool,
}

impl SpaceKeeper {
    pub(super) fn new(directory: Arc<DataDirectory>) -> Self {
        Self {
            directory,
            rule: DiskSpace::default(),
            said: Space::default(),
            knows_config: false,
            has_failed: false,
        }
    }

    /// Until `stop`.
    pub(super) async fn keep(mut self, broker: Arc<Broker>, stop: CancellationToken) {
        let looking = async {
            let mut metadata = broker.applied_offset.subscribe();
            let directory = Arc::clone(&self.directory);
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_INTERVAL) => {}
                    () = directory.disk_gate().look.notified() => {}
                    Ok(()) = metadata.changed(), if !self.knows_config => {}
                }
                self.look(&broker).await;
                tokio::time::sleep(PAUSE).await;
            }
        };
        // Also while a disk does not answer.
        tokio::select! {
            () = stop.cancelled() => {}
            () = looking => {}
        }
    }

    pub(super) async fn look(&mut self, broker: &Arc<Broker>) {
        let directory = Arc::clone(&self.directory);
        if directory.has_failed() {
            return;
        }
        let (data_dir, disk_gate) = (directory.path().to_path_buf(), directory.disk_gate());
        let image = broker.image();
        self.knows_config = image.offset() > Image::default().offset();
        let was_refused = disk_gate.take_refusal();
        // A disk that does not answer holds up nobody else.
        let here = Arc::clone(&directory);
        let found = tokio::task::spawn_blocking(move || {
            let path = here.path();
            // One that was taken away shows what is below, and that has room.
            match here.identity().is_in_place() {
                Ok(true) => {}
                Ok(false) => {
                    here.failure().fail(IS_TAKEN_AWAY.to_owned(), true);
                    return Ok(None);
                }
                Err(error) => {
                    if here.failure().unless_failed(Err(error)).is_ok() {
                        return Ok(None);
                    }
                }
            }
            disk_room(path).map(|room| Some((room, spare_file::length(path))))
        });
        let (room, spare_bytes) = match found.await {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return self.cannot_look(&error.to_string()),
            Err(error) => return self.cannot_look(&error.to_string()),
        };
        self.has_failed = false;
        let reserve = match self.knows_config {
            true => reserve_bytes(
                broker.config_number("foz.disk.reserve.bytes"),
                room.bytes_total,
            ),
            // Nobody knows yet, and what is said would have leaders go to and fro. Only what is full is.
            false => 0,
        };
        let space = self.rule.look(room, reserve, was_refused, monotonic());
        directory.set_room(RoomSeen {
            room,
            reserve_bytes: reserve,
        });
        disk_gate.look_after(reserve / PART);
        disk_gate.set(space);
        let before = std::mem::replace(&mut self.said, space);
        say(&data_dir, before, space, room, reserve);
        let is_refusing = space != Space::Roomy;
        broker.metrics.disk(&data_dir, room, is_refusing);
        let is_due = match space {
            Space::Roomy => self.knows_config && spare_bytes != spare_file::wanted_bytes(reserve),
            Space::Low => false,
            Space::Full => spare_bytes > 0,
        };
        if is_due {
            let spare = tokio::task::spawn_blocking(move || keep_spare(&data_dir, space, reserve));
            if let Err(error) = spare.await {
                warn!(%error, "the spare file is not looked after");
            }
        }
    }

    fn cannot_look(&mut self, error: &str) {
        if !std::mem::replace(&mut self.has_failed, true) {
            let directory = self.directory.path().display();
            warn!(%directory, error, "nobody knows how much room the disk has");
        }
    }
}

fn keep_spare(data_dir: &Path, space: Space, reserve_bytes: i64) {
    match space {
        Space::Roomy => {
            if let Err(error) = spare_file::make(data_dir, reserve_bytes) {
                debug!(%error, "there is no spare file");
            }
        }
        Space::Low => {}
        Space::Full => {
            if spare_file::release(data_dir) {
                info!("the spare file is gone: what it took is for checkpoints and a clean stop");
            }
        }
    }
}

fn say(directory: &Path, before: Space, space: Space, room: DiskRoom, reserve_bytes: i64) {
    let directory = directory.display();
    let available_bytes = room.bytes_free;
    match (before, space) {
        (Space::Roomy, Space::Low) => error!(
            %directory,
            available_bytes,
            reserve_bytes,
            "the disk has less room than foz.disk.reserve.bytes: no records are taken until it has more"
        ),
        (Space::Roomy | Space::Low, Space::Full) => error!(
            %directory,
            available_bytes,
            reserve_bytes, "the disk is full: nothing is written that can wait"
        ),
        (Space::Low | Space::Full, Space::Roomy) => {
            warn!(%directory, available_bytes, "the disk has room again")
        }
        _ => {}
    }
}
