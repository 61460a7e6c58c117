//! What the group replicates to.

/// Why a snapshot could not be restored.
pub type RestoreError = Box<dyn std::error::Error + Send + Sync>;

/// The state that every controller builds from the same log. All calls come from the quorum's own
/// thread, one at a time; a call that takes long holds up heartbeats.
///
/// After a restart it begins from the newest snapshot, so what was applied later is applied again to
/// the restored state: the state must live nowhere but in what `apply` and `restore` build.
pub trait StateMachine: Send + 'static {
    /// Applies a committed batch. It decides nothing but whether the batch follows what was applied
    /// before: `false` rejects it, and it must then have changed nothing. The same calls in the same
    /// order must give the same answers on every controller.
    fn apply(&mut self, index: u64, term: u64, data: &[u8]) -> bool;

    /// All of the state, for [`StateMachine::restore`] of this or a later version.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces all of the state. After an error the quorum stops: its state is not known.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
}
