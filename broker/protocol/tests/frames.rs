//! Frames and headers: what a broker meets first.

use bytes::Bytes;
use foz_protocol::apis::APIS;
use foz_protocol::error::ErrorCode;
use foz_protocol::frame::{
    FrameError, LENGTH_BYTES, REQUEST_BYTES_MAX_DEFAULT, Request, decode_body, decode_response,
    encode_request, encode_response, encode_unsupported_api_versions, frame_length, parse_response,
};
use foz_protocol::wire::WireError;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse,
};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;

const MAX: usize = REQUEST_BYTES_MAX_DEFAULT;

#[test]
fn lengths_are_taken_from_a_header_to_the_bound() {
    let length = |length: i32| frame_length(length.to_be_bytes(), MAX);
    assert_eq!(length(10), Ok(10));
    assert_eq!(length(MAX as i32), Ok(MAX));
    assert_eq!(length(9), Err(FrameError::TooSmall(9)));
    assert_eq!(length(0), Err(FrameError::TooSmall(0)));
    assert_eq!(length(-1), Err(FrameError::TooSmall(-1)));
    assert_eq!(length(i32::MIN), Err(FrameError::TooSmall(i32::MIN)));
    let over = MAX + 1;
    assert_eq!(
        length(over as i32),
        Err(FrameError::TooLarge {
            length: over,
            max: MAX
        })
    );
    // A TLS hello, sent to a plaintext listener.
    let error = frame_length([0x16, 0x03, 0x01, 0x00], MAX).unwrap_err();
    assert!(
        error.to_string().contains("socket.request.max.bytes"),
        "{error}"
    );
}

#[test]
fn a_request_comes_back_from_its_frame() {
    for version in [0, 8, 9, 13] {
        let request = MetadataRequest::default().with_topics(None);
        let request = if version == 0 {
            request.with_topics(Some(vec![]))
        } else {
            request
        };
        let frame = encode_request(version, 5, "client", &request).unwrap();
        let length = frame_length(frame[..4].try_into().unwrap(), MAX).unwrap();
        assert_eq!(length, frame.len() - LENGTH_BYTES);
        let Request::Known { header, body } = Request::parse(&frame.slice(LENGTH_BYTES..)).unwrap()
        else {
            panic!("Metadata is known");
        };
        assert_eq!(
            (header.api.key, header.version),
            (ApiKey::Metadata, version)
        );
        assert_eq!(header.correlation_id, 5);
        assert_eq!(header.client_id, Some(StrBytes::from_static_str("client")));
        assert_eq!(decode_body::<MetadataRequest>(version, body), Ok(request));
    }
}

#[test]
fn a_null_client_id_and_tagged_fields_in_the_header_are_legal() {
    // Metadata 9, correlation id 1, null client id, one tagged field (tag 5, 2 bytes), a body byte.
    let frame = [0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 1, 5, 2, 0, 0, 42];
    let Request::Known { header, body } = Request::parse(&Bytes::copy_from_slice(&frame)).unwrap()
    else {
        panic!("Metadata is known");
    };
    assert_eq!(header.client_id, None);
    assert_eq!(body, Bytes::from_static(&[42]));
}

#[test]
fn unknown_apis_and_versions_close_the_connection() {
    let parse = |bytes: &[u8]| Request::parse(&Bytes::copy_from_slice(bytes)).unwrap_err();
    let error = parse(&[0, 7, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    assert_eq!(error, FrameError::UnknownApi { key: 7, version: 0 });
    let error = parse(&[0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff]);
    assert_eq!(
        error.to_string(),
        "Produce version 2 is not answered, 3 to 13 are"
    );
    let error = parse(&[0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xfe]);
    assert!(matches!(
        error,
        FrameError::Header(WireError::Length {
            field: "client_id",
            ..
        })
    ));
    let error = parse(&[0, 3, 0, 0, 0, 0, 0, 1, 0, 9, b'x']);
    assert!(matches!(
        error,
        FrameError::Header(WireError::Truncated {
            field: "client_id",
            ..
        })
    ));
}

#[test]
fn api_versions_of_a_future_version_is_answered_in_version_0() {
    for version in [5i16, 99, -1] {
        let mut frame = vec![0, 18];
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 6, 0xff, 0xff, 0, 77, 77]);
        let parsed = Request::parse(&Bytes::from(frame)).unwrap();
        assert_eq!(
            parsed,
            Request::UnsupportedApiVersions { correlation_id: 6 }
        );
    }
    let frame = encode_unsupported_api_versions(6).slice(LENGTH_BYTES..);
    let (correlation_id, body) = parse_response(ApiKey::ApiVersions, 0, &frame).unwrap();
    assert_eq!(correlation_id, 6);
    let response: ApiVersionsResponse = decode_response(0, body).unwrap();
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(response.api_keys.len(), APIS.len());
}

#[test]
fn api_versions_has_a_header_without_tags_at_every_version() {
    for version in 0..=4 {
        let response = foz_protocol::apis::api_versions_response(ErrorCode::None);
        let frame = encode_response(version, 3, &response).unwrap();
        assert_eq!(
            frame[4..10],
            [0, 0, 0, 3, 0, 0],
            "the error code follows the correlation id"
        );
        let (_, body) =
            parse_response(ApiKey::ApiVersions, version, &frame.slice(LENGTH_BYTES..)).unwrap();
        let decoded: ApiVersionsResponse = decode_response(version, body).unwrap();
        assert_eq!(decoded.api_keys, response.api_keys);
    }
}

#[test]
fn responses_have_the_header_of_their_version() {
    for (version, header) in [(8, 4), (9, 5)] {
        let frame = encode_response(version, 3, &MetadataResponse::default()).unwrap();
        let frame = frame.slice(LENGTH_BYTES..);
        let (correlation_id, body) = parse_response(ApiKey::Metadata, version, &frame).unwrap();
        assert_eq!((correlation_id, frame.len() - body.len()), (3, header));
    }
}

#[test]
fn a_field_that_the_version_cannot_carry_is_an_error() {
    let request = ApiVersionsRequest::default();
    assert!(encode_request(0, 0, "c", &request).is_ok());
    let request = MetadataRequest::default().with_include_topic_authorized_operations(true);
    let error = encode_request(7, 0, "c", &request).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("version 7 cannot carry this message"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn garbage_frames_never_panic(garbage in proptest::collection::vec(any::<u8>(), 0..80)) {
        let frame = Bytes::from(garbage);
        std::hint::black_box(Request::parse(&frame).is_ok());
    }

    #[test]
    fn garbage_after_a_good_start_never_panics(
        key in 0i16..80,
        version in 0i16..20,
        garbage in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut frame = [key.to_be_bytes(), version.to_be_bytes()].concat();
        frame.extend(garbage);
        std::hint::black_box(Request::parse(&Bytes::from(frame)).is_ok());
    }
}
