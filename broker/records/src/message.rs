use bytes::{BufMut, Bytes, BytesMut};
use foz_protocol::wire::{Reader, WireError};

use crate::decoder::Decoder;
use crate::encoder::Encoder;
use crate::error::{DecodeError, EncodeError, Unwritable};

/// Room that a message is given at first; committed offsets, which are the most, fit.
const ENCODED_BYTES_EXPECTED: usize = 64;

/// Fields in the order of the wire: a message, or a structure inside one.
pub trait Structure: Default {
    /// Reads the fields.
    ///
    /// # Errors
    /// The first field that is not what it should be.
    fn read(decoder: &mut Decoder<'_>) -> Result<Self, WireError>;

    /// Writes the fields.
    ///
    /// # Errors
    /// The first field that does not fit into the version.
    fn write(&self, encoder: &mut Encoder) -> Result<(), Unwritable>;
}

/// A whole message.
///
/// What follows behind one is passed over when it is decoded, as Kafka does.
pub trait Message: Structure {
    /// Name of the schema.
    const NAME: &'static str;
    /// The lowest version.
    const VERSION_MIN: i16;
    /// The highest version.
    const VERSION_MAX: i16;
    /// The first version with compact lengths and tagged fields (KIP-482); above the highest when
    /// there is none.
    const FLEXIBLE_FROM: i16;
    /// Elements of arrays and tagged fields that it may have in all. A client's request has a bound
    /// below what its bytes would allow, and so have the `data` that clients put into requests.
    const ELEMENTS_MAX: usize;

    /// Reads a message of that version.
    ///
    /// # Errors
    /// There is no such version, or the bytes are not what the schema says.
    fn decode(version: i16, bytes: &[u8]) -> Result<Self, DecodeError> {
        if !(Self::VERSION_MIN..=Self::VERSION_MAX).contains(&version) {
            return Err(DecodeError::UnknownVersion {
                message: Self::NAME,
                version,
                least: Self::VERSION_MIN,
                most: Self::VERSION_MAX,
            });
        }
        let is_flexible = version >= Self::FLEXIBLE_FROM;
        let mut decoder = Decoder::new(bytes, version, is_flexible, Self::ELEMENTS_MAX);
        Self::read(&mut decoder).map_err(malformed::<Self>)
    }

    /// Reads a message behind its version: the value of a coordinator's record.
    ///
    /// # Errors
    /// As for [`Self::decode`].
    fn decode_prefixed(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, rest) = split_i16(bytes, "the version").map_err(malformed::<Self>)?;
        Self::decode(version, rest)
    }

    /// As [`Self::decode_prefixed`], but a version above the highest is read as the highest:
    /// `ConsumerProtocolSubscription`, `ConsumerProtocolAssignment`, `ControlRecordTypeSchema` and
    /// `EndTxnMarker` promise that later versions only add fields at the end.
    ///
    /// # Errors
    /// As for [`Self::decode`].
    fn decode_prefixed_or_newer(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, rest) = split_i16(bytes, "the version").map_err(malformed::<Self>)?;
        Self::decode(version.min(Self::VERSION_MAX), rest)
    }

    /// Writes the message in that version.
    ///
    /// # Errors
    /// There is no such version, or it has no place for what is in the message.
    fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode_behind(None, self, version)
    }

    /// Writes the message behind its version, for [`Self::decode_prefixed`].
    ///
    /// # Errors
    /// As for [`Self::encode`].
    fn encode_prefixed(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode_behind(Some(version), self, version)
    }
}

/// The key of a coordinator's record.
pub trait CoordinatorKey: Message {
    /// Stands in front of the key and says which it is.
    const RECORD_TYPE: i16;

    /// Writes the key behind its type. Keys have one version.
    ///
    /// # Errors
    /// As for [`Message::encode`].
    fn encode_key(&self) -> Result<Bytes, EncodeError> {
        encode_behind(Some(Self::RECORD_TYPE), self, Self::VERSION_MIN)
    }
}

/// The type of a coordinator's record, by its key: also of one that is not known here.
///
/// # Errors
/// The key is too short for a type.
pub fn record_type(key: &[u8]) -> Result<i16, DecodeError> {
    split_record_type(key).map(|(record_type, _)| record_type)
}

/// The type of a record, and the key behind it.
pub(crate) fn split_record_type(bytes: &[u8]) -> Result<(i16, &[u8]), DecodeError> {
    split_i16(bytes, "the type of the record").map_err(|cause| DecodeError::Field {
        message: "the key",
        cause,
    })
}

fn split_i16<'a>(bytes: &'a [u8], field: &'static str) -> Result<(i16, &'a [u8]), WireError> {
    let mut reader = Reader::new(bytes);
    let number = reader.i16(field)?;
    Ok((number, reader.rest()))
}

fn malformed<M: Message>(cause: WireError) -> DecodeError {
    let message = M::NAME;
    DecodeError::Field { message, cause }
}

fn encode_behind<M: Message>(
    prefix: Option<i16>,
    message: &M,
    version: i16,
) -> Result<Bytes, EncodeError> {
    if !(M::VERSION_MIN..=M::VERSION_MAX).contains(&version) {
        return Err(EncodeError::UnknownVersion {
            message: M::NAME,
            version,
            least: M::VERSION_MIN,
            most: M::VERSION_MAX,
        });
    }
    let mut bytes = BytesMut::with_capacity(ENCODED_BYTES_EXPECTED);
    if let Some(prefix) = prefix {
        bytes.put_i16(prefix);
    }
    let mut encoder = Encoder::new(bytes, version, version >= M::FLEXIBLE_FROM);
    match message.write(&mut encoder) {
        Ok(()) => Ok(encoder.into_bytes().freeze()),
        Err(cause) => Err(EncodeError::Field {
            message: M::NAME,
            version,
            cause,
        }),
    }
}
