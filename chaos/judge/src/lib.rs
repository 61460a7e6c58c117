//! The judge: reads what clients of a log saw and says where the log broke its word.
//!
//! A history is a sequence of [`Event`]s: sends, acknowledgements, failures, polls, offsets, the whole
//! log read at the end, and the replicas' own logs. The clients wrote it; the judge never talks to a
//! broker, so the same judge serves any subject, and a simulation as well as real processes.
//!
//! * What is promised: acknowledged with acks=all means there for ever, once, in order, at one offset. What
//!   failed for certain is never there. What timed out is unknown: it may be there, once.
//! * The judge is sure of what it flags: each anomaly names the events that prove it. What it could not
//!   judge it says, too ([`Report::incomplete`]), so that silence means something.
//! * Memory is bounded by the number of values and offsets, not by the number of events, and what a broken
//!   subject answers cannot make it grow.
//! * The order of lines of different clients counts only where real time is what is judged.
//!
//! Start with [`event`]: it is the format, its JSON form and what a writer must hold to. Then
//! [`anomaly::Kind`] for what is judged, `checker.rs` for how a history passes through, and `rules/` for one
//! file on each anomaly.

pub mod anomaly;
pub mod availability;
mod checker;
mod claims;
pub mod event;
mod findings;
mod merge;
mod paged;
mod report;
mod rules;
mod tables;

pub use anomaly::{Anomaly, Kind};
pub use checker::{Checker, Settings, check};
pub use event::Event;
pub use merge::Merge;
pub use report::{Counts, Report};
