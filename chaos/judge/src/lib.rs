//! The judge: reads what clients of a log saw and says where the log broke its word.
//!
//! A history is a sequence of [`Event`]s: sends, acknowledgements, failures, polls, offsets, the whole
//! log read at the end, and the replicas' own logs. The clients wrote it; the judge never talks to a
//! broker, so the same judge serves any subject, and a simulation as well as real processes.
//!
//! Start with [`event`]: it is the format, its JSON form and what a writer must hold to.

pub mod event;

pub use event::Event;
