//! What a consumer is assigned, in the bytes of Kafka's own consumers.

use bytes::Bytes;
use protocol::wire::{DecodeError, Element, Reader};

/// The kind of group whose members' bytes are known.
pub const CONSUMER: &str = "consumer";

/// Topics and partitions; None when these are not a consumer's bytes. What may follow them is the assignor's own.
pub fn decode(bytes: &Bytes) -> Option<Vec<(String, i32)>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    partitions(&mut Reader::new(bytes.clone())).ok()
}

fn partitions(reader: &mut Reader) -> Result<Vec<(String, i32)>, DecodeError> {
    let _version = reader.int16()?;
    let topic = Element {
        name: "topics",
        least: 6,
        size: size_of::<(String, i32)>(),
    };
    let partition = Element {
        name: "partitions",
        least: 4,
        size: size_of::<(String, i32)>(),
    };
    let mut found = Vec::new();
    for _ in 0..reader.count(false, topic)? {
        let name = reader.string(false, "topic")?;
        for _ in 0..reader.count(false, partition)? {
            found.push((name.to_string(), reader.int32()?));
        }
    }
    found.sort();
    Ok(found)
}
