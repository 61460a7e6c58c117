//! One connection to one broker, one request at a time.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use foz_protocol::error::ErrorCode;
use foz_protocol::frame::{LENGTH_BYTES, decode_response, encode_request, parse_response};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Message, Request, StrBytes, VersionRange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::ClientError;

/// A response above this is taken for bytes that are not Kafka's protocol.
const RESPONSE_BYTES_MAX: usize = 512 << 20;
/// The ApiVersions version to begin with; every broker since 2.4 knows it.
const API_VERSIONS: i16 = 3;

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    address: String,
    client_id: String,
    correlation_id: i32,
    versions: Vec<(i16, VersionRange)>,
}

impl Connection {
    /// Connects and asks which versions the broker knows.
    pub(crate) async fn open(
        address: &str,
        client_id: &str,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let failed = |reason: String| ClientError::Connect {
            address: address.to_owned(),
            reason,
        };
        let stream = match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(plain_reason(&error))),
            Err(_) => return Err(failed(format!("no answer within {} s", limit.as_secs()))),
        };
        stream
            .set_nodelay(true)
            .map_err(|error| failed(error.to_string()))?;
        let mut connection = Self {
            stream,
            address: address.to_owned(),
            client_id: client_id.to_owned(),
            correlation_id: 0,
            versions: Vec::new(),
        };
        timeout(limit, connection.ask_versions())
            .await
            .map_err(|_| ClientError::TimedOut {
                what: format!("asking {address} for its versions"),
                after: limit,
            })??;
        Ok(connection)
    }

    /// Sends `request` in the greatest version that both sides know, `version_max` at most.
    pub(crate) async fn request<T: Request>(
        &mut self,
        api: ApiKey,
        version_max: i16,
        request: &T,
    ) -> Result<T::Response, ClientError> {
        let version = self.version_of::<T>(api, version_max)?;
        let body = self.exchange(api, version, request).await?;
        decode_response(version, body).map_err(|error| self.not_kafka(error.to_string()))
    }

    fn version_of<T: Request>(&self, api: ApiKey, version_max: i16) -> Result<i16, ClientError> {
        let ours = <T as Message>::VERSIONS;
        let ours = VersionRange {
            min: ours.min,
            max: ours.max.min(version_max),
        };
        let theirs = self
            .versions
            .iter()
            .find(|(key, _)| *key == api as i16)
            .map(|(_, it)| it);
        let common = theirs
            .map(|theirs| ours.intersect(theirs))
            .filter(|it| !it.is_empty());
        common
            .map(|common| common.max)
            .ok_or_else(|| ClientError::NoCommonVersion {
                address: self.address.clone(),
                api: api_name(api),
                broker: theirs.map_or("not at all".to_owned(), |it| {
                    format!("{} to {}", it.min, it.max)
                }),
                ours: format!("{} to {}", ours.min, ours.max),
            })
    }

    /// Version 3; a broker that does not know it answers in version 0 with what it knows (KIP-511).
    async fn ask_versions(&mut self) -> Result<(), ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("foz"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let body = self
            .exchange(ApiKey::ApiVersions, API_VERSIONS, &request)
            .await?;
        let unknown = body.starts_with(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
        let version = if unknown { 0 } else { API_VERSIONS };
        let response: ApiVersionsResponse =
            decode_response(version, body).map_err(|error| self.not_kafka(error.to_string()))?;
        self.versions = response
            .api_keys
            .iter()
            .map(|api| {
                (
                    api.api_key,
                    VersionRange {
                        min: api.min_version,
                        max: api.max_version,
                    },
                )
            })
            .collect();
        if self.versions.is_empty() {
            return Err(self.not_kafka(format!(
                "ApiVersions was refused with {}",
                ErrorCode::from(response.error_code).name()
            )));
        }
        Ok(())
    }

    async fn exchange<T: Request>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &T,
    ) -> Result<Bytes, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = encode_request(version, self.correlation_id, &self.client_id, request)
            .map_err(|error| ClientError::Invalid(format!("{}: {error}", api_name(api))))?;
        self.stream
            .write_all(&frame)
            .await
            .map_err(|error| self.broken(&error))?;
        let frame = self.read_frame().await?;
        let (correlation_id, body) = parse_response(api, version, &frame)
            .map_err(|error| self.not_kafka(error.to_string()))?;
        if correlation_id != self.correlation_id {
            return Err(self.not_kafka(format!(
                "answer {correlation_id} came for request {}",
                self.correlation_id
            )));
        }
        Ok(body)
    }

    async fn read_frame(&mut self) -> Result<Bytes, ClientError> {
        let mut prefix = [0; LENGTH_BYTES];
        if let Err(error) = self.stream.read_exact(&mut prefix).await {
            return Err(self.broken(&error));
        }
        let length = usize::try_from(i32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
        if length > RESPONSE_BYTES_MAX {
            return Err(self.not_kafka(format!(
                "it answered {:?}",
                prefix.escape_ascii().to_string()
            )));
        }
        let mut frame = Vec::with_capacity(length.min(1 << 20));
        let read = (&mut self.stream)
            .take(length as u64)
            .read_to_end(&mut frame)
            .await;
        match read {
            Ok(read) if read == length => Ok(Bytes::from(frame)),
            Ok(_) => Err(self.broken(&io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, error: &io::Error) -> ClientError {
        ClientError::Broken {
            address: self.address.clone(),
            reason: plain_reason(error),
        }
    }

    fn not_kafka(&self, reason: String) -> ClientError {
        ClientError::NotKafka {
            address: self.address.clone(),
            reason,
        }
    }
}

fn plain_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::UnexpectedEof => "the other side closed it".to_owned(),
        io::ErrorKind::ConnectionReset => "the other side reset it".to_owned(),
        _ => error.to_string(),
    }
}

/// Kafka's name of an API that this client calls.
fn api_name(api: ApiKey) -> &'static str {
    foz_protocol::apis::Api::of(api as i16).map_or("this API", |api| api.name)
}
