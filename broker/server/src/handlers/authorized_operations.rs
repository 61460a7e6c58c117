//! The bit set of what the caller may do (KIP-430), for those who ask for it.

use crate::authorizer::{Resource, operations_of};
use crate::request::RequestContext;

/// What the protocol carries when it was not asked for.
pub(super) const NOT_ASKED: i32 = i32::MIN;

/// One bit for each operation, at the position of Kafka's number for it.
pub(super) fn bits(context: &RequestContext, resource: &Resource<'_>, asked: bool) -> i32 {
    if !asked {
        return NOT_ASKED;
    }
    operations_of(resource)
        .iter()
        .filter(|operation| context.allows(**operation, resource))
        .fold(0, |bits, operation| bits | 1 << (*operation as i32))
}
