//! How this broker replicates: fetchers for what it follows, and for what it leads the way of ISR changes
//! to the controller, and time.

mod connection;
mod fetcher;
mod fetchers;
mod isr_changes;
mod throttle;
mod ticker;

pub(crate) use connection::NodeConnection;
pub(crate) use fetchers::Fetchers;
pub(crate) use isr_changes::carry;
#[cfg(test)]
pub(crate) use ticker::look;
pub(crate) use ticker::tick;
