//! DescribeUserScramCredentials (50) and AlterUserScramCredentials (51), KIP-554. There is no SASL, so no user has
//! credentials; who changes them hears what a Kafka says that cannot store them.

use std::collections::{HashMap, HashSet};

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

pub(crate) async fn describe(
    context: RequestContext,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let response = DescribeUserScramCredentialsResponse::default();
    if !context.allows(Operation::Describe, &Resource::Cluster) {
        return response.with_error_code(ErrorCode::ClusterAuthorizationFailed.code());
    }
    // No names stand for all users.
    let names = request.users.unwrap_or_default();
    response.with_results(described(names.into_iter().map(|user| user.name).collect()))
}

pub(crate) async fn alter(
    context: RequestContext,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    let (error, message) = if context.allows(Operation::Alter, &Resource::Cluster) {
        let message = "this version has no SASL, and so no SCRAM users";
        (ErrorCode::UnsupportedVersion, Some(text(message)))
    } else {
        (ErrorCode::ClusterAuthorizationFailed, None)
    };
    let deleted = request.deletions.into_iter().map(|deletion| deletion.name);
    let upserted = request.upsertions.into_iter().map(|it| it.name);
    let mut seen = HashSet::new();
    let results = deleted
        .chain(upserted)
        .filter(|user| seen.insert(user.clone()))
        .map(|user| {
            AlterUserScramCredentialsResult::default()
                .with_user(user)
                .with_error_code(error.code())
                .with_error_message(message.clone())
        });
    AlterUserScramCredentialsResponse::default().with_results(results.collect())
}

/// Each name once, however often it was asked for.
fn described(names: Vec<StrBytes>) -> Vec<DescribeUserScramCredentialsResult> {
    let mut times: HashMap<StrBytes, usize> = HashMap::new();
    for name in &names {
        *times.entry(name.clone()).or_default() += 1;
    }
    names
        .into_iter()
        .filter_map(|name| {
            let times = times.remove(&name)?;
            let (error, message) = if times > 1 {
                (
                    ErrorCode::DuplicateResource,
                    format!(
                        "Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
                    ),
                )
            } else {
                (
                    ErrorCode::ResourceNotFound,
                    format!("Attempt to describe a user credential that does not exist: {name}"),
                )
            };
            let result = DescribeUserScramCredentialsResult::default()
                .with_user(name)
                .with_error_code(error.code())
                .with_error_message(Some(text(message)));
            Some(result)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_answered_once() {
        let names = ["ann", "bob", "ann", ""];
        let results = described(names.map(StrBytes::from_static_str).to_vec());
        let found: Vec<_> = results
            .iter()
            .map(|result| (&*result.user, ErrorCode::from(result.error_code)))
            .collect();
        let expected = [
            ("ann", ErrorCode::DuplicateResource),
            ("bob", ErrorCode::ResourceNotFound),
            ("", ErrorCode::ResourceNotFound),
        ];
        assert_eq!(found, expected);
    }
}
