//! Crafted histories that have exactly one anomaly, each beside the nearest innocent one; and random ones:
//! what a correct log can answer is never flagged, and one lie about it always is.

mod builder;
mod crafted;
mod figures;
mod lies;
mod log_simulation;
mod nonsense;
mod random;
