//! Compaction on real files against a model, and with a crash before each step.

mod content;
mod crash;
mod disturbed;
mod model;
mod rules;
mod transactions;
mod world;
