//! Request and response headers.

use crate::api::ApiKey;
use crate::wire::{DecodeError, EncodeError, Encoder, Reader, Str};

/// The first bytes of every request, in every version of the header: enough to know how to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestStart {
    /// The API's number, perhaps of one that is not served.
    pub key: i16,
    /// The version of the request.
    pub version: i16,
    /// Comes back with the response.
    pub correlation: i32,
}

impl RequestStart {
    /// Reads it. Then look the key up in the table, and go on with [`RequestHeader::decode_rest`].
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            key: r.int16()?,
            version: r.int16()?,
            correlation: r.int32()?,
        })
    }
}

/// A request's header, of an API in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub key: ApiKey,
    /// The version of the request.
    pub version: i16,
    /// Comes back with the response.
    pub correlation: i32,
    /// What the client calls itself. A plain nullable string in header 1 and in header 2 alike.
    pub client_id: Option<Str>,
}

impl RequestHeader {
    /// Reads what follows the start.
    pub fn decode_rest(
        key: ApiKey,
        start: RequestStart,
        r: &mut Reader,
    ) -> Result<Self, DecodeError> {
        let RequestStart {
            version,
            correlation,
            ..
        } = start;
        let client_id = r.opt_string(false, true, "client_id")?;
        if key.request_header_version(version) >= 2 {
            r.skip_tags()?;
        }
        Ok(Self {
            key,
            version,
            correlation,
            client_id,
        })
    }

    /// Writes it whole.
    pub fn encode(&self, e: &mut Encoder) {
        e.int16(self.key.number());
        e.int16(self.version);
        e.int32(self.correlation);
        e.opt_string(self.client_id.as_deref(), false, true, "client_id");
        if self.key.request_header_version(self.version) >= 2 {
            e.uvarint(0);
        }
    }
}

/// Writes a response's header.
pub fn encode_response_header(key: ApiKey, version: i16, correlation: i32, e: &mut Encoder) {
    e.int32(correlation);
    if key.response_header_version(version) >= 1 {
        e.uvarint(0);
    }
}

/// Reads a response's header: the correlation. The reader is then at the body.
pub fn decode_response_header(
    key: ApiKey,
    version: i16,
    r: &mut Reader,
) -> Result<i32, DecodeError> {
    r.expect_response();
    let correlation = r.int32()?;
    if key.response_header_version(version) >= 1 {
        r.skip_tags()?;
    }
    Ok(correlation)
}

/// A whole request frame, length prefix included, as a chain of buffers.
pub fn request_frame<M: crate::messages::Request>(
    request: &M,
    version: i16,
    correlation: i32,
    client_id: Option<Str>,
) -> Result<Vec<bytes::Bytes>, EncodeError> {
    let mut e = Encoder::framed();
    RequestHeader {
        key: M::KEY,
        version,
        correlation,
        client_id,
    }
    .encode(&mut e);
    request.encode(&mut e, version);
    e.into_chain()
}

/// A whole response frame, length prefix included, as a chain of buffers.
pub fn response_frame(
    response: &crate::messages::AnyResponse,
    version: i16,
    correlation: i32,
) -> Result<Vec<bytes::Bytes>, EncodeError> {
    let mut e = Encoder::framed();
    encode_response_header(response.key(), version, correlation, &mut e);
    response.encode(&mut e, version);
    e.into_chain()
}
