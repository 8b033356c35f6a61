use super::{DecodeError, Uuid};
use bytes::{BufMut, Bytes, BytesMut};

/// Byte fields from this length on are not copied but linked into the chain.
const LINK_LEAST: usize = 512;

/// Why a value cannot be written. It is the caller's mistake: nothing of the message may be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Null where this version has none.
    #[error("{field} cannot be null in this version")]
    Null {
        /// Which field.
        field: &'static str,
    },
    /// Longer than the format can say.
    #[error("{field} of length {length} is too long for the wire")]
    Long {
        /// Which field.
        field: &'static str,
        /// Its length.
        length: usize,
    },
    /// The value contradicts itself.
    #[error("{what}")]
    Contradiction {
        /// How.
        what: &'static str,
    },
    /// A version that is not in the table.
    #[error("version {version} of key {key} is not ours")]
    Version {
        /// API key.
        key: i16,
        /// The version asked for.
        version: i16,
    },
}

/// Writes one frame as a chain of buffers: small values together, large byte fields by reference.
///
/// The first error sticks; [`Encoder::into_chain`] answers it. So a message is sent whole or not at
/// all.
#[derive(Debug, Default)]
pub struct Encoder {
    /// All copied bytes, in order.
    small: BytesMut,
    /// Linked pieces, and the position in `small` that each stands before.
    linked: Vec<(usize, Bytes)>,
    linked_bytes: usize,
    framed: bool,
    error: Option<EncodeError>,
}

impl Encoder {
    /// Without a length prefix.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With room for a length prefix of four bytes, filled in at the end.
    #[must_use]
    pub fn framed() -> Self {
        let mut encoder = Self {
            framed: true,
            ..Self::default()
        };
        encoder.int32(0);
        encoder
    }

    /// Bytes written so far, the length prefix included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.small.len() + self.linked_bytes
    }

    /// Nothing is written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffers in order, or the first error.
    pub fn into_chain(mut self) -> Result<Vec<Bytes>, EncodeError> {
        if self.framed {
            let length = self.len() - 4;
            match i32::try_from(length) {
                Ok(prefix) => self.small[..4].copy_from_slice(&prefix.to_be_bytes()),
                Err(_) => self.fail(EncodeError::Long {
                    field: "frame",
                    length,
                }),
            }
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut chain = Vec::with_capacity(2 * self.linked.len() + 1);
        let mut cut = 0;
        for (position, piece) in self.linked {
            if position > cut {
                chain.push(self.small.split_to(position - cut).freeze());
                cut = position;
            }
            chain.push(piece);
        }
        if !self.small.is_empty() {
            chain.push(self.small.freeze());
        }
        Ok(chain)
    }

    /// All in one piece, copied when there are several.
    pub fn into_bytes(self) -> Result<Bytes, EncodeError> {
        let mut chain = self.into_chain()?;
        Ok(if chain.len() == 1 {
            chain.swap_remove(0)
        } else {
            chain.concat().into()
        })
    }

    /// Keeps the first error.
    pub fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }

    /// Refuses a version that the table does not have.
    pub fn refuse(&mut self, error: DecodeError) {
        if let DecodeError::Version { key, version } = error {
            self.fail(EncodeError::Version { key, version });
        }
    }

    /// One byte, 1 or 0.
    pub fn bool(&mut self, value: bool) {
        self.small.put_u8(value.into());
    }

    /// One byte.
    pub fn int8(&mut self, value: i8) {
        self.small.put_i8(value);
    }

    /// Two bytes, big-endian, as all numbers here.
    pub fn int16(&mut self, value: i16) {
        self.small.put_i16(value);
    }

    /// Four bytes.
    pub fn int32(&mut self, value: i32) {
        self.small.put_i32(value);
    }

    /// Eight bytes.
    pub fn int64(&mut self, value: i64) {
        self.small.put_i64(value);
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.small.put_u128(value.0);
    }

    /// One byte, unsigned: for our own formats.
    pub fn uint8(&mut self, value: u8) {
        self.small.put_u8(value);
    }

    /// Four bytes, unsigned: for our own formats.
    pub fn uint32(&mut self, value: u32) {
        self.small.put_u32(value);
    }

    /// Eight bytes, unsigned: for our own formats.
    pub fn uint64(&mut self, value: u64) {
        self.small.put_u64(value);
    }

    /// A length of four bytes and the bytes, without a copy when they are many: for our own
    /// formats.
    pub fn sized(&mut self, bytes: &Bytes, field: &'static str) {
        self.sized_count(bytes.len(), field);
        self.link(bytes);
    }

    /// A count of four bytes: for our own formats.
    pub fn sized_count(&mut self, count: usize, field: &'static str) {
        match u32::try_from(count) {
            Ok(count) => self.uint32(count),
            Err(_) => self.fail(EncodeError::Long {
                field,
                length: count,
            }),
        }
    }

    /// Seven bits a byte, lowest first.
    pub fn uvarint(&mut self, value: u32) {
        let (bytes, length) = uvarint(value);
        self.small.put_slice(&bytes[..length]);
    }

    /// Bytes as they are, copied.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.small.put_slice(bytes);
    }

    /// Bytes as they are, without a copy when they are many.
    pub fn link(&mut self, piece: &Bytes) {
        if piece.len() < LINK_LEAST {
            self.small.put_slice(piece);
        } else {
            self.linked.push((self.small.len(), piece.clone()));
            self.linked_bytes += piece.len();
        }
    }

    /// A string.
    pub fn string(&mut self, value: &str, flexible: bool, field: &'static str) {
        self.opt_string(Some(value), flexible, false, field);
    }

    /// A string or null.
    pub fn opt_string(
        &mut self,
        value: Option<&str>,
        flexible: bool,
        nullable: bool,
        field: &'static str,
    ) {
        let length = value.map(str::len);
        if flexible {
            self.length(length, flexible, nullable, field);
        } else {
            match length.map_or(Ok(-1), i16::try_from) {
                Ok(-1) if !nullable => self.fail(EncodeError::Null { field }),
                Ok(length) => self.int16(length),
                Err(_) => {
                    self.fail(EncodeError::Long {
                        field,
                        length: length.unwrap_or_default(),
                    });
                }
            }
        }
        self.raw(value.unwrap_or_default().as_bytes());
    }

    /// Bytes in one piece.
    pub fn bytes(&mut self, value: &Bytes, flexible: bool, field: &'static str) {
        self.opt_bytes(Some(std::slice::from_ref(value)), flexible, false, field);
    }

    /// Bytes in pieces, or null.
    pub fn opt_bytes(
        &mut self,
        value: Option<&[Bytes]>,
        flexible: bool,
        nullable: bool,
        field: &'static str,
    ) {
        let length = value.map(|pieces| pieces.iter().map(Bytes::len).sum());
        self.length(length, flexible, nullable, field);
        for piece in value.unwrap_or_default() {
            self.link(piece);
        }
    }

    /// The number of elements of an array.
    pub fn count(&mut self, count: usize, flexible: bool, field: &'static str) {
        self.length(Some(count), flexible, false, field);
    }

    /// The number of elements, or null.
    pub fn opt_count(
        &mut self,
        count: Option<usize>,
        flexible: bool,
        nullable: bool,
        field: &'static str,
    ) {
        self.length(count, flexible, nullable, field);
    }

    /// -1 is null; one more in flexible versions, where it is a varint.
    fn length(
        &mut self,
        length: Option<usize>,
        flexible: bool,
        nullable: bool,
        field: &'static str,
    ) {
        match length.map_or(Ok(-1), i32::try_from) {
            Ok(-1) if !nullable => self.fail(EncodeError::Null { field }),
            // At most i32::MAX, so one more is still below u32's end.
            Ok(length) if flexible => self.uvarint((i64::from(length) + 1) as u32),
            Ok(length) => self.int32(length),
            Err(_) => self.fail(EncodeError::Long {
                field,
                length: length.unwrap_or_default(),
            }),
        }
    }

    /// Begins a tagged field; the answer goes to [`Encoder::end_tag`].
    pub fn tag(&mut self, tag: u32) -> (usize, usize) {
        self.uvarint(tag);
        (self.small.len(), self.len())
    }

    /// Ends a tagged field: its size goes before it.
    pub fn end_tag(&mut self, (start, written): (usize, usize)) {
        let length = self.len() - written;
        let Ok(size) = u32::try_from(length) else {
            return self.fail(EncodeError::Long {
                field: "tagged field",
                length,
            });
        };
        let (size, width) = uvarint(size);
        let end = self.small.len();
        self.small.put_slice(&size[..width]);
        self.small.copy_within(start..end, start + width);
        self.small[start..start + width].copy_from_slice(&size[..width]);
        let inside = self
            .linked
            .iter_mut()
            .rev()
            .take_while(|(position, _)| *position >= start);
        inside.for_each(|(position, _)| *position += width);
    }
}

fn uvarint(mut value: u32) -> ([u8; 5], usize) {
    let (mut bytes, mut length) = ([0; 5], 0);
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    (bytes, length + 1)
}
