//! ACLs, quotas, SCRAM credentials and delegation tokens: none of them is there, and each API says so in its own way.

use bytes::Bytes;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_delegation_token_request::CreatableRenewers;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_delegation_token_request::DescribeDelegationTokenOwner;
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterUserScramCredentialsRequest, CreateAclsRequest,
    CreateDelegationTokenRequest, DeleteAclsRequest, DescribeAclsRequest,
    DescribeClientQuotasRequest, DescribeDelegationTokenRequest,
    DescribeUserScramCredentialsRequest, ExpireDelegationTokenRequest, RenewDelegationTokenRequest,
};

use super::connection::{Connection, error, text, versions_of};

/// As many as a hostile client may think of, and still a request.
const MANY: usize = 100_000;

pub(super) fn check(connection: &mut Connection) {
    acls_are_disabled(connection);
    there_are_no_quotas(connection);
    no_user_has_credentials(connection);
    tokens_are_for_those_who_authenticate(connection);
}

fn acls_are_disabled(connection: &mut Connection) {
    let any = 1;
    for version in versions_of::<DescribeAclsRequest>() {
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(any)
            .with_operation(any)
            .with_permission_type(any);
        let response = connection.call(version, &request);
        assert_eq!(error(response.error_code), ErrorCode::SecurityDisabled);
        let message = "No Authorizer is configured on the broker";
        assert_eq!(response.error_message, Some(text(message)));
        assert!(response.resources.is_empty());
    }
    let disabled = (
        ErrorCode::SecurityDisabled,
        Some(text("No Authorizer is configured.")),
    );
    for version in versions_of::<CreateAclsRequest>() {
        for count in [0, 2, MANY] {
            let creation = AclCreation::default().with_resource_name(text(""));
            let request = CreateAclsRequest::default().with_creations(vec![creation; count]);
            let results = connection.call(version, &request).results;
            assert_eq!(results.len(), count, "{version}");
            let outcomes = results
                .into_iter()
                .map(|it| (error(it.error_code), it.error_message));
            assert!(outcomes.into_iter().all(|it| it == disabled), "{version}");
        }
    }
    for version in versions_of::<DeleteAclsRequest>() {
        for count in [0, 2, MANY] {
            let filter = DeleteAclsFilter::default();
            let request = DeleteAclsRequest::default().with_filters(vec![filter; count]);
            let results = connection.call(version, &request).filter_results;
            assert_eq!(results.len(), count, "{version}");
            assert!(results.iter().all(|it| it.matching_acls.is_empty()));
            let outcomes = results
                .into_iter()
                .map(|it| (error(it.error_code), it.error_message));
            assert!(outcomes.into_iter().all(|it| it == disabled), "{version}");
        }
    }
}

fn there_are_no_quotas(connection: &mut Connection) {
    let exactly = |kind: &str| {
        ComponentData::default()
            .with_entity_type(text(kind))
            .with_match(Some(text("ann")))
    };
    for version in versions_of::<DescribeClientQuotasRequest>() {
        let mut ask = |components: Vec<ComponentData>| {
            let request = DescribeClientQuotasRequest::default().with_components(components);
            connection.call(version, &request)
        };
        for components in [vec![], vec![exactly("user"), exactly("client-id")]] {
            let response = ask(components);
            assert_eq!(error(response.error_code), ErrorCode::None, "{version}");
            assert_eq!(response.entries, Some(Vec::new()));
        }
        let refused = [
            (vec![exactly("")], ErrorCode::InvalidRequest),
            (vec![exactly("group")], ErrorCode::UnsupportedVersion),
            (vec![exactly("user"); MANY], ErrorCode::InvalidRequest),
        ];
        for (components, expected) in refused {
            let response = ask(components);
            assert_eq!(error(response.error_code), expected, "{version}");
            assert_eq!(response.entries, None);
            assert!(response.error_message.is_some());
        }
    }
    for version in versions_of::<AlterClientQuotasRequest>() {
        let entry = |name: &str| {
            let part = EntityData::default()
                .with_entity_type(text("user"))
                .with_entity_name(Some(text(name)));
            let change = OpData::default()
                .with_key(text("producer_byte_rate"))
                .with_value(1_000.0);
            EntryData::default()
                .with_entity(vec![part])
                .with_ops(vec![change])
        };
        let mut ask = |entries: Vec<EntryData>| {
            let request = AlterClientQuotasRequest::default()
                .with_entries(entries.clone())
                .with_validate_only(true);
            let answered = connection.call(version, &request).entries;
            assert_eq!(answered.len(), entries.len(), "{version}");
            for (answer, asked) in answered.iter().zip(&entries) {
                let part = answer.entity.first().map(|it| &it.entity_name);
                assert_eq!(part, asked.entity.first().map(|it| &it.entity_name));
                assert!(answer.error_message.is_some());
            }
            let codes = answered.into_iter().map(|it| error(it.error_code));
            codes.collect::<Vec<_>>()
        };
        assert_eq!(ask(Vec::new()), []);
        let (unsupported, invalid) = (ErrorCode::UnsupportedVersion, ErrorCode::InvalidRequest);
        let codes = ask(vec![
            entry("ann"),
            entry("bob"),
            entry("ann"),
            entry(""),
            EntryData::default(),
        ]);
        assert_eq!(codes, [invalid, unsupported, invalid, invalid, invalid]);
        let same = ask(vec![EntryData::default(); MANY]);
        assert!(same.iter().all(|code| *code == invalid));
    }
}

fn no_user_has_credentials(connection: &mut Connection) {
    let user = |name: &str| UserName::default().with_name(text(name));
    for version in versions_of::<DescribeUserScramCredentialsRequest>() {
        let mut ask = |users: Option<Vec<UserName>>| {
            let request = DescribeUserScramCredentialsRequest::default().with_users(users);
            let response = connection.call(version, &request);
            assert_eq!(error(response.error_code), ErrorCode::None, "{version}");
            response.results
        };
        assert_eq!(ask(None), []);
        assert_eq!(ask(Some(Vec::new())), []);
        let results = ask(Some(vec![user("ann"), user("bob"), user("ann")]));
        let found: Vec<_> = results
            .iter()
            .map(|it| (&*it.user, error(it.error_code)))
            .collect();
        let expected = [
            ("ann", ErrorCode::DuplicateResource),
            ("bob", ErrorCode::ResourceNotFound),
        ];
        assert_eq!(found, expected);
        assert!(results.iter().all(|it| it.error_message.is_some()));
        assert_eq!(ask(Some(vec![user("ann"); MANY])).len(), 1);
    }
    for version in versions_of::<AlterUserScramCredentialsRequest>() {
        let deletion = ScramCredentialDeletion::default().with_name(text("ann"));
        let upsertion = |name: &str| {
            ScramCredentialUpsertion::default()
                .with_name(text(name))
                .with_mechanism(1)
                .with_iterations(4_096)
                .with_salt(Bytes::from_static(b"salt"))
                .with_salted_password(Bytes::from_static(b"password"))
        };
        let request = AlterUserScramCredentialsRequest::default()
            .with_deletions(vec![deletion.clone(), deletion])
            .with_upsertions(vec![upsertion("bob"), upsertion("ann")]);
        let results = connection.call(version, &request).results;
        let users: Vec<&str> = results.iter().map(|it| &*it.user).collect();
        assert_eq!(users, ["ann", "bob"]);
        for result in &results {
            assert_eq!(error(result.error_code), ErrorCode::UnsupportedVersion);
            assert!(result.error_message.is_some());
        }
    }
}

fn tokens_are_for_those_who_authenticate(connection: &mut Connection) {
    let refused = ErrorCode::DelegationTokenRequestNotAllowed;
    let hmac = Bytes::from_static(&[7; 64]);
    for version in versions_of::<CreateDelegationTokenRequest>() {
        let renewer = CreatableRenewers::default().with_principal_type(text("Group"));
        let request = CreateDelegationTokenRequest::default().with_renewers(vec![renewer; MANY]);
        let response = connection.call(version, &request);
        assert_eq!(error(response.error_code), refused, "{version}");
        let owner = (&*response.principal_type, &*response.principal_name);
        assert_eq!(owner, ("User", "ANONYMOUS"));
        assert_eq!(response.issue_timestamp_ms, -1);
        assert_eq!(response.expiry_timestamp_ms, -1);
        assert_eq!(response.max_timestamp_ms, -1);
        assert!(response.hmac.is_empty() && response.token_id.is_empty());
        if version < 3 {
            continue;
        }
        let request = request
            .with_owner_principal_type(Some(text("User")))
            .with_owner_principal_name(Some(text("ann")));
        let response = connection.call(version, &request);
        assert_eq!(&*response.principal_name, "ann");
        assert_eq!(&*response.token_requester_principal_name, "ANONYMOUS");
    }
    for version in versions_of::<RenewDelegationTokenRequest>() {
        let request = RenewDelegationTokenRequest::default().with_hmac(hmac.clone());
        let response = connection.call(version, &request);
        assert_eq!(error(response.error_code), refused, "{version}");
        assert_eq!(response.expiry_timestamp_ms, -1);
    }
    for version in versions_of::<ExpireDelegationTokenRequest>() {
        let request = ExpireDelegationTokenRequest::default().with_hmac(hmac.clone());
        let response = connection.call(version, &request);
        assert_eq!(error(response.error_code), refused, "{version}");
        assert_eq!(response.expiry_timestamp_ms, -1);
    }
    for version in versions_of::<DescribeDelegationTokenRequest>() {
        let owner = DescribeDelegationTokenOwner::default();
        for owners in [None, Some(Vec::new()), Some(vec![owner; MANY])] {
            let request = DescribeDelegationTokenRequest::default().with_owners(owners);
            let response = connection.call(version, &request);
            assert_eq!(error(response.error_code), refused, "{version}");
            assert!(response.tokens.is_empty());
        }
    }
}
