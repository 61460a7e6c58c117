//! Frames: a length of four bytes, a header, a body.
//!
//! On the broker's side: [`frame_length`], then [`Request::parse`], then [`decode_body`] (or the
//! parsers of [`crate::produce`] and [`crate::fetch`]), then [`encode_response`]. On the client's
//! side: [`encode_request`] and [`parse_response`].
//!
//! Headers: <https://kafka.apache.org/protocol#protocol_messages>, flexible ones KIP-482.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message, Request as RequestMessage, StrBytes,
};

use crate::apis::{Api, api_versions_response};
use crate::error::ErrorCode;
use crate::shape::check_request_shape;
use crate::wire::{Reader, WireError, put_no_tagged_fields, put_nullable_string};

/// Kafka's default of `socket.request.max.bytes`.
pub const REQUEST_BYTES_MAX_DEFAULT: usize = 104_857_600;
/// Bytes of the length in front of a frame.
pub const LENGTH_BYTES: usize = 4;
/// The least bytes of a request: key, version, correlation id, a null client id.
const REQUEST_BYTES_MIN: usize = 10;
/// A correlation id and no tagged fields.
const RESPONSE_HEADER_BYTES_MAX: usize = 5;
/// The first header version with tagged fields.
const FLEXIBLE_REQUEST_HEADER: i16 = 2;
const FLEXIBLE_RESPONSE_HEADER: i16 = 1;

/// Why a frame cannot be taken; the connection must be closed, since nobody knows where the next
/// frame begins or what the client takes the answer for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is negative or too small for a header.
    #[error("a frame of {0} bytes cannot hold a request")]
    TooSmall(i32),
    /// The length is over the bound.
    #[error("a frame of {length} bytes is over the bound of {max} (socket.request.max.bytes)")]
    TooLarge {
        /// What the frame says.
        length: usize,
        /// The bound, in bytes.
        max: usize,
    },
    /// The header cannot be read.
    #[error("the request header cannot be read: {0}")]
    Header(#[from] WireError),
    /// The key is not in the table.
    #[error("API {key} (version {version}) is not one that this broker answers")]
    UnknownApi {
        /// The key.
        key: i16,
        /// The version.
        version: i16,
    },
    /// The version is not in the table.
    #[error("{} version {version} is not answered, {} to {} are", .api.name, .api.min, .api.max)]
    UnsupportedVersion {
        /// Which API.
        api: &'static Api,
        /// The version asked for.
        version: i16,
    },
}

/// Why the body of a message cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A length or number in it lies.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// What `kafka-protocol` says.
    #[error("{0}")]
    Message(String),
}

/// A message that its version cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {version} cannot carry this message: {reason}")]
pub struct EncodeError {
    /// The version asked for.
    pub version: i16,
    /// What `kafka-protocol` says.
    pub reason: String,
}

/// Decides over the length in front of a frame.
///
/// # Errors
/// [`FrameError::TooSmall`], [`FrameError::TooLarge`].
pub fn frame_length(prefix: [u8; LENGTH_BYTES], max: usize) -> Result<usize, FrameError> {
    let raw = i32::from_be_bytes(prefix);
    match usize::try_from(raw) {
        Ok(length) if length > max => Err(FrameError::TooLarge { length, max }),
        Ok(length) if length >= REQUEST_BYTES_MIN => Ok(length),
        _ => Err(FrameError::TooSmall(raw)),
    }
}

/// The header of a request whose API and version are in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The row of its API.
    pub api: &'static Api,
    /// The version of its body, and of the response.
    pub version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<StrBytes>,
}

/// A frame that has been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// One to answer.
    Known {
        /// Its header.
        header: RequestHeader,
        /// What follows the header.
        body: Bytes,
    },
    /// ApiVersions in a version that we do not know: the answer is
    /// [`encode_unsupported_api_versions`], and the connection goes on (KIP-511).
    UnsupportedApiVersions {
        /// Comes back in the response.
        correlation_id: i32,
    },
}

impl Request {
    /// Reads the header of `frame`, which is a frame without its length.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection.
    pub fn parse(frame: &Bytes) -> Result<Self, FrameError> {
        let mut reader = Reader::new(frame);
        let key = reader.i16("request_api_key")?;
        let version = reader.i16("request_api_version")?;
        let correlation_id = reader.i32("correlation_id")?;
        let Some(api) = Api::of(key) else {
            return Err(FrameError::UnknownApi { key, version });
        };
        if !api.supports(version) {
            return match api.key {
                ApiKey::ApiVersions => Ok(Self::UnsupportedApiVersions { correlation_id }),
                _ => Err(FrameError::UnsupportedVersion { api, version }),
            };
        }
        let client_id = reader.nullable_string(false, "client_id")?;
        let client_id = client_id.map(|id| slice_string(frame, id));
        let flexible = api.key.request_header_version(version) >= FLEXIBLE_REQUEST_HEADER;
        reader.skip_tagged_fields(flexible)?;
        let body = frame.slice_ref(reader.rest());
        Ok(Self::Known {
            header: RequestHeader {
                api,
                version,
                correlation_id,
                client_id,
            },
            body,
        })
    }
}

/// A part of `frame` as a string of its own, without copying it.
pub(crate) fn slice_string(frame: &Bytes, part: &str) -> StrBytes {
    StrBytes::from_utf8(frame.slice_ref(part.as_bytes())).expect("a str is UTF-8")
}

/// Decodes the body of a request: lengths are checked first, so that a lie costs no memory.
///
/// # Errors
/// [`BodyError`]: Kafka closes the connection, as no answer could be encoded without the request.
pub fn decode_body<T: RequestMessage>(version: i16, mut body: Bytes) -> Result<T, BodyError> {
    check_request_shape(T::KEY, version, &body)?;
    T::decode(&mut body, version).map_err(|error| BodyError::Message(error.to_string()))
}

/// Encodes a whole response frame.
///
/// # Errors
/// [`EncodeError`] when a field is set that this version has no place for.
pub fn encode_response<T: Encodable + HeaderVersion>(
    version: i16,
    correlation_id: i32,
    response: &T,
) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::with_capacity(256);
    put_response_header(&mut out, T::header_version(version), correlation_id);
    encode_body(&mut out, version, response)?;
    Ok(finish(out))
}

/// As [`encode_response`], of a body that something else has encoded.
#[must_use]
pub fn response_of(key: ApiKey, version: i16, correlation_id: i32, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(LENGTH_BYTES + RESPONSE_HEADER_BYTES_MAX + body.len());
    put_response_header(
        &mut out,
        key.response_header_version(version),
        correlation_id,
    );
    out.put_slice(body);
    finish(out)
}

/// The answer to an ApiVersions request of a version that we do not know: version 0, the error and
/// the table, so that the client can ask again (KIP-511).
#[must_use]
pub fn encode_unsupported_api_versions(correlation_id: i32) -> Bytes {
    let response = api_versions_response(ErrorCode::UnsupportedVersion);
    encode_response(0, correlation_id, &response).expect("version 0 carries an error and the table")
}

/// Encodes a whole request frame.
///
/// # Errors
/// [`EncodeError`] when a field is set that this version has no place for.
pub fn encode_request<T: RequestMessage>(
    version: i16,
    correlation_id: i32,
    client_id: &str,
    request: &T,
) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::with_capacity(256);
    put_request_header(
        &mut out,
        T::KEY,
        version,
        T::header_version(version),
        correlation_id,
        client_id,
    );
    encode_body(&mut out, version, request)?;
    Ok(finish(out))
}

/// A request with a body that is encoded already.
#[must_use]
pub fn request_of(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: &str,
    body: &[u8],
) -> Bytes {
    let mut out = BytesMut::with_capacity(64 + client_id.len() + body.len());
    put_request_header(
        &mut out,
        key as i16,
        version,
        key.request_header_version(version),
        correlation_id,
        client_id,
    );
    out.put_slice(body);
    finish(out)
}

/// Reads the header of a response frame without its length: the correlation id and the body.
///
/// # Errors
/// [`WireError`].
pub fn parse_response(key: ApiKey, version: i16, frame: &Bytes) -> Result<(i32, Bytes), WireError> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.i32("correlation_id")?;
    let flexible = key.response_header_version(version) >= FLEXIBLE_RESPONSE_HEADER;
    reader.skip_tagged_fields(flexible)?;
    Ok((correlation_id, frame.slice_ref(reader.rest())))
}

/// Decodes the body of a response from a broker that is trusted to mean well.
///
/// # Errors
/// [`BodyError::Message`].
pub fn decode_response<T: Decodable + Message>(
    version: i16,
    mut body: Bytes,
) -> Result<T, BodyError> {
    T::decode(&mut body, version).map_err(|error| BodyError::Message(error.to_string()))
}

/// Room for the length, which [`set_length`] fills in, and the header.
pub(crate) fn put_response_header(out: &mut BytesMut, header_version: i16, correlation_id: i32) {
    out.put_i32(0);
    out.put_i32(correlation_id);
    put_no_tagged_fields(out, header_version >= FLEXIBLE_RESPONSE_HEADER);
}

/// Room for the length and the header of a request.
fn put_request_header(
    out: &mut BytesMut,
    key: i16,
    version: i16,
    header_version: i16,
    correlation_id: i32,
    client_id: &str,
) {
    out.put_i32(0);
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(correlation_id);
    put_nullable_string(out, false, Some(client_id));
    put_no_tagged_fields(out, header_version >= FLEXIBLE_REQUEST_HEADER);
}

/// Fills in the length of a frame whose bytes after the length are `length`.
pub(crate) fn set_length(out: &mut BytesMut, length: usize) {
    let length = i32::try_from(length).expect("frames are bounded far below 2 GiB");
    out[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

fn encode_body<T: Encodable>(
    out: &mut BytesMut,
    version: i16,
    message: &T,
) -> Result<(), EncodeError> {
    message.encode(out, version).map_err(|error| EncodeError {
        version,
        reason: error.to_string(),
    })
}

fn finish(mut out: BytesMut) -> Bytes {
    let length = out.len() - LENGTH_BYTES;
    set_length(&mut out, length);
    out.freeze()
}
