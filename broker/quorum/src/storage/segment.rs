//! Segment files: made whole, then only appended to.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use prost::Message as _;
use protobuf::Message as _;
use raft::eraftpb::{Entry, HardState};

use super::StorageError;
use super::frame;
use crate::disk;
use crate::wire;

pub(crate) const SUFFIX: &str = ".log";

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    file: File,
    salt: u32,
    /// The number of the next frame.
    frames: u64,
    /// Where it begins.
    end: u64,
    buffer: Vec<u8>,
}

pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}{SUFFIX}"))
}

/// The number in a segment's file name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

impl Segment {
    /// Makes a segment that holds the hard state and no entries, durable with its name.
    pub(crate) fn create(
        directory: &Path,
        number: u64,
        hard_state: &HardState,
    ) -> Result<Self, StorageError> {
        let path = path(directory, number);
        let (salt, _) = uuid::Uuid::new_v4().as_u64_pair();
        let salt = (salt >> 32) as u32;
        let mut bytes = frame::segment_header(salt).to_vec();
        frame::encode(salt, 0, &payload(Some(hard_state), &[]), &mut bytes);
        disk::replace_file(&path, &bytes).map_err(StorageError::not_replaced(&path, "create"))?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(StorageError::io(&path, "open"))?;
        Ok(Self {
            path,
            file,
            salt,
            frames: 1,
            end: bytes.len() as u64,
            buffer: Vec::new(),
        })
    }

    /// Opens the last segment to append to it, without the torn tail that begins at `end`.
    pub(crate) fn reopen(
        path: PathBuf,
        salt: u32,
        frames: u64,
        end: u64,
    ) -> Result<Self, StorageError> {
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let mut file = file.map_err(StorageError::io(&path, "open"))?;
        let length = file
            .metadata()
            .map_err(StorageError::io(&path, "open"))?
            .len();
        if length > end {
            tracing::warn!(path = %path.display(), bytes = length - end, "removing a torn tail that was never acknowledged");
            file.set_len(end)
                .map_err(StorageError::io(&path, "truncate"))?;
            file.sync_all().map_err(StorageError::io(&path, "fsync"))?;
        }
        file.seek(SeekFrom::Start(end))
            .map_err(StorageError::io(&path, "seek"))?;
        Ok(Self {
            path,
            file,
            salt,
            frames,
            end,
            buffer: Vec::new(),
        })
    }

    /// Appends one frame and makes it durable. After an error the segment must not be used, unless it was a
    /// [shortage](StorageError::Shortage).
    pub(crate) fn append(
        &mut self,
        hard_state: &HardState,
        entries: &[Entry],
    ) -> Result<(), StorageError> {
        self.buffer.clear();
        let payload = payload(Some(hard_state), entries);
        frame::encode(self.salt, self.frames, &payload, &mut self.buffer);
        if let Err(source) = self.file.write_all(&self.buffer) {
            self.take_back()?;
            return Err(match disk::says_no_room(&source) {
                true => StorageError::shortage(&self.path, "write", source),
                false => StorageError::io(&self.path, "write")(source),
            });
        }
        disk::sync_data(&self.file).map_err(StorageError::io(&self.path, "fsync"))?;
        self.frames += 1;
        self.end += self.buffer.len() as u64;
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    /// What a failed write has left. Behind its rest nothing may be written: a start would take all that follows for
    /// torn.
    fn take_back(&mut self) -> Result<(), StorageError> {
        disk::cut_back(&mut self.file, self.end).map_err(StorageError::io(
            &self.path,
            "take back what was half written to",
        ))
    }
}

/// Large batches are rare; their memory is given back.
const BUFFER_BYTES_KEPT: usize = 256 * 1024;

fn payload(hard_state: Option<&HardState>, entries: &[Entry]) -> Vec<u8> {
    let hard_state = hard_state.map(|state| wire::HardState {
        term: state.term,
        vote: state.vote,
        commit: state.commit,
    });
    let encode = |entry: &Entry| {
        entry
            .write_to_bytes()
            .expect("an entry has no required fields and fits in memory")
            .into()
    };
    wire::LogFrame {
        hard_state,
        entries: entries.iter().map(encode).collect(),
    }
    .encode_to_vec()
}
