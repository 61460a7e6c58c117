/// The two clocks a coordinator needs, read by the caller at the moment of the call.
///
/// Deadlines use the monotonic clock, so that a stepped wall clock aborts no transaction; timestamps
/// that are stored or that judge the age of stored data use the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never goes back; its origin does not matter.
    pub monotonic_ms: i64,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: i64,
}
