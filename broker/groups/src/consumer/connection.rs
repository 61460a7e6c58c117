use kafka_protocol::ResponseError;

use super::group::ConsumerGroup;
use super::refused::Refused;

/// The newest connection that has spoken for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connection {
    number: u64,
    /// A heartbeat that came over it was taken.
    pub(super) is_told: bool,
}

impl ConsumerGroup {
    /// Takes note of the connection that a request of a member came over, whatever becomes of the request: one
    /// that is older than another of the same member is refused.
    pub(super) fn hear(&mut self, member_id: &str, number: u64) -> Result<(), Refused> {
        let Some((member_id, _)) = self.members.get_key_value(member_id) else {
            return Ok(());
        };
        let newest = self.connections.get(member_id);
        match newest.map(|newest| newest.number) {
            // Whoever sent it no longer waits for the answer; and who does looks for its coordinator and says
            // all again.
            Some(newest) if number < newest => Err(Refused::new(
                ResponseError::CoordinatorNotAvailable,
                "the member has spoken over a newer connection since",
            )),
            Some(newest) if number == newest => Ok(()),
            _ => {
                let connection = Connection {
                    number,
                    is_told: false,
                };
                self.connections.insert(member_id.clone(), connection);
                Ok(())
            }
        }
    }

    /// A heartbeat of a member is taken; says whether it is the first over its connection.
    pub(super) fn tell(&mut self, member_id: &std::sync::Arc<str>, number: u64) -> bool {
        let connection = Connection {
            number,
            is_told: true,
        };
        let old = self.connections.insert(member_id.clone(), connection);
        !old.is_some_and(|old| old.number == number && old.is_told)
    }
}
