//! Bytes to types and back: Kafka frames, headers, messages, batches, errors; the peer protocol.
//!
//! Pure: no socket, clock or thread. What is decoded shares the memory of its frame; what is
//! encoded is a chain of buffers in which large byte fields are linked, not copied.
//!
//! Invariants:
//! - No bytes make it panic, recurse, or allocate more than a small multiple of their own length.
//! - A message is decoded whole or not at all: bytes left over are an error. It is encoded whole or
//!   not at all.
//! - What ApiVersions advertises comes from [`api`]'s table alone.
//! - A batch that passed [`record_batch::validate`] can be read back record by record (compressed
//!   ones: if asked for).
//!
//! What it does not do: decide, keep state, speak TLS. Older record formats (magic 0 and 1) are
//! refused.
//!
//! # How to use
//!
//! A server takes frames off its buffer, looks the API up, decodes, and answers with a chain for
//! one vectored write:
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use protocol::api::{self, ApiKey};
//! use protocol::header::{RequestHeader, RequestStart, request_frame, response_frame};
//! use protocol::messages::{AnyRequest, AnyResponse, MetadataRequest, MetadataResponse};
//! use protocol::{frame, wire::Reader};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A client's side: a request is a chain of buffers.
//! let chain = request_frame(&MetadataRequest::default(), 12, 7, Some("me".into()))?;
//! let mut socket: BytesMut = chain.concat().as_slice().into();
//!
//! // The server's side.
//! let frame = frame::next_frame(&mut socket, 100 << 20)?.expect("all of it came");
//! let mut reader = Reader::new(frame);
//! let start = RequestStart::decode(&mut reader)?;
//! let key = ApiKey::from_number(start.key).expect("else close the connection");
//! assert!(key.serves(start.version)); // else close, but for ApiVersions: api_versions_unsupported
//! let header = RequestHeader::decode_rest(key, start, &mut reader)?;
//! let response: AnyResponse = match AnyRequest::decode(key, &mut reader, header.version)? {
//!     AnyRequest::Metadata(request) => {
//!         assert_eq!(request.topics, Some(Vec::new()));
//!         // Name what is known, the rest has its default. What the version lacks is not sent.
//!         MetadataResponse { controller_id: 1, ..Default::default() }.into()
//!     }
//!     AnyRequest::ApiVersions(_) => api::api_versions().into(),
//!     _ => unreachable!(),
//! };
//! let answer: Vec<Bytes> = response_frame(&response, header.version, header.correlation)?;
//! # Ok(())
//! # }
//! ```
//!
//! - Every API has a module: `messages::produce::{ProduceRequest, ProduceResponse,
//!   TopicProduceData, ...}`; requests and responses are also there as `messages::ProduceRequest`.
//!   All have `decode`, `encode` and `Default`.
//! - Strings are [`wire::Str`] (`Deref<Target = str>`, `.into()` from `&str` and `String`). NB: one
//!   that came in a frame keeps the whole frame in memory; call `to_string()` on what outlives the
//!   request.
//! - Records are `Option<Bytes>` in Produce, and `Option<`[`wire::Slices`]`>` in a Fetch response:
//!   pieces of the log, linked into the answer. Answer an empty fetch with
//!   `Some(Slices::default())`: Java wants no null.
//! - Error codes are plain `i16` in messages: `ErrorCode::NotLeaderOrFollower.code()`.
//! - Defaults are Kafka's: arrays and strings that may be null are empty, unless the table says `=
//!   null`.
//!
//! Start reading at [`api`], then [`messages`]; the tables are in `messages/*.txt`, their compiler
//! in `codegen/`.

pub mod api;
pub mod error_code;
pub mod frame;
pub mod header;
pub mod messages;
pub mod peer;
pub mod record_batch;
pub mod wire;

#[cfg(test)]
mod tests;
