//! Sends what raft says through slog to tracing.

use slog::{Drain, KV, Key, Level, Logger, OwnedKVList, Record, Serializer};

pub(crate) fn logger() -> Logger {
    Logger::root(Tracing, slog::o!())
}

struct Tracing;

impl Drain for Tracing {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), slog::Never> {
        let mut fields = Fields(String::new());
        // Formatting into a String does not fail.
        let _ = record.kv().serialize(record, &mut fields);
        let Fields(fields) = fields;
        // Raft reports each step of an election as information; that is a detail here.
        match record.level() {
            Level::Critical | Level::Error => {
                tracing::error!(target: "raft", "{}{fields}", record.msg())
            }
            Level::Warning => tracing::warn!(target: "raft", "{}{fields}", record.msg()),
            Level::Info | Level::Debug => {
                tracing::debug!(target: "raft", "{}{fields}", record.msg())
            }
            Level::Trace => tracing::trace!(target: "raft", "{}{fields}", record.msg()),
        }
        Ok(())
    }
}

struct Fields(String);

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        use std::fmt::Write as _;
        write!(self.0, " {key}={value}").map_err(slog::Error::from)
    }
}
