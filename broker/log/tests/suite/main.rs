//! The log on real files: what is appended is read again, whatever happens in between.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod append;
mod burying;
mod clean_stop;
mod deleted_records;
mod deletion;
mod directories;
mod directory;
mod flush;
mod follow;
mod full_disk;
mod giving_room;
mod kafka;
mod model;
mod move_compaction;
mod move_model;
mod moves;
mod offsets;
mod page_cache;
mod quarantine;
mod read;
mod recovery;
mod replicas;
mod shorten;
mod small_disk;
mod support;
mod time_index;
mod transaction_model;
mod transactions;
mod transactions_elsewhere;
mod unchecked;
