use super::{Str, Uuid};
use bytes::{Buf, Bytes};

/// Arrays begin with room for at most so many elements and grow as elements are really read.
pub const FIRST_CAPACITY: usize = 1_024;

/// What decoding one frame may allocate for elements, in bytes: the larger of this and four times
/// the frame. (A request of very many partitions grows about twofold.)
const BUDGET_LEAST: usize = 16 << 20;

/// The same for responses, which come from a broker that was asked.
const RESPONSE_RATIO: usize = 16;

/// Why bytes are not the message that they claim to be. The connection is closed: nothing after it
/// can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame ends inside a value.
    #[error("{wanted} bytes wanted where {left} are left")]
    Truncated {
        /// Bytes that the value needs.
        wanted: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// More elements than the rest of the frame can hold, or than their budget of memory.
    #[error("{count} elements of {field} cannot be in {left} bytes")]
    Count {
        /// The array.
        field: &'static str,
        /// What it claims.
        count: u64,
        /// Bytes that are there.
        left: usize,
    },
    /// A length below -1.
    #[error("the length {length} of {field}")]
    NegativeLength {
        /// Whose.
        field: &'static str,
        /// What it claims.
        length: i64,
    },
    /// Null where this version has none.
    #[error("{field} is null")]
    Null {
        /// Which field.
        field: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("{field} is not UTF-8")]
    Utf8 {
        /// Which field.
        field: &'static str,
    },
    /// A variable-length integer of too many bytes or bits.
    #[error("an over-long varint")]
    Varint,
    /// Tagged fields that do not ascend.
    #[error("tag {tag} follows tag {previous}")]
    TagOrder {
        /// The tag.
        tag: u32,
        /// The one before.
        previous: u32,
    },
    /// The message, or a tagged field, is over before its bytes are.
    #[error("{left} bytes too many")]
    Trailing {
        /// Bytes left.
        left: usize,
    },
    /// A number that stands for nothing.
    #[error("{field} {value} is unknown")]
    Unknown {
        /// What it should have been.
        field: &'static str,
        /// The number.
        value: u64,
    },
    /// A version that is not in the table.
    #[error("version {version} of key {key}")]
    Version {
        /// API key.
        key: i16,
        /// The version asked for.
        version: i16,
    },
}

/// The facts that bound an array: `least` bytes on the wire, and `size` bytes in memory, per
/// element.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// The array's name, for errors.
    pub name: &'static str,
    /// Least bytes of one element on the wire; at least 1.
    pub least: usize,
    /// Bytes of one element in memory.
    pub size: usize,
}

/// Reads one frame front to back. Strings and byte fields are slices of it.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
    /// Bytes that arrays may still allocate.
    budget: usize,
    /// Bytes that may be left over at the end of the message.
    spare: usize,
}

impl Reader {
    /// Over one frame, without its length prefix.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let budget = BUDGET_LEAST.max(bytes.len().saturating_mul(4));
        Self {
            bytes,
            budget,
            spare: 0,
        }
    }

    /// Over one frame whose arrays may allocate `budget` bytes.
    #[must_use]
    pub fn with_budget(bytes: Bytes, budget: usize) -> Self {
        Self {
            bytes,
            budget,
            spare: 0,
        }
    }

    /// Accepts more memory for each byte: a response of many partitions grows about sixfold.
    pub(crate) fn expect_response(&mut self) {
        self.budget = self
            .budget
            .max(self.bytes.len().saturating_mul(RESPONSE_RATIO));
    }

    /// Passes over so many bytes after the message, for clients that are known to write them.
    pub fn allow_spare(&mut self, bytes: usize) {
        self.spare = bytes;
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Refuses what follows the message.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.bytes.len() {
            left if left <= self.spare => Ok(()),
            left => Err(DecodeError::Trailing { left }),
        }
    }

    fn want(&self, wanted: usize) -> Result<(), DecodeError> {
        let left = self.bytes.len();
        if wanted > left {
            Err(DecodeError::Truncated { wanted, left })
        } else {
            Ok(())
        }
    }

    /// The next `count` bytes, shared with the frame.
    pub fn take(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        self.want(count)?;
        Ok(self.bytes.split_to(count))
    }

    /// One byte; everything but 0 is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.int8()? != 0)
    }

    /// One byte.
    pub fn int8(&mut self) -> Result<i8, DecodeError> {
        self.want(1)?;
        Ok(self.bytes.get_i8())
    }

    /// Two bytes, big-endian, as all numbers here.
    pub fn int16(&mut self) -> Result<i16, DecodeError> {
        self.want(2)?;
        Ok(self.bytes.get_i16())
    }

    /// Four bytes.
    pub fn int32(&mut self) -> Result<i32, DecodeError> {
        self.want(4)?;
        Ok(self.bytes.get_i32())
    }

    /// Eight bytes.
    pub fn int64(&mut self) -> Result<i64, DecodeError> {
        self.want(8)?;
        Ok(self.bytes.get_i64())
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.want(16)?;
        Ok(Uuid(self.bytes.get_u128()))
    }

    /// One byte, unsigned: for our own formats.
    pub fn uint8(&mut self) -> Result<u8, DecodeError> {
        self.want(1)?;
        Ok(self.bytes.get_u8())
    }

    /// Four bytes, unsigned: for our own formats.
    pub fn uint32(&mut self) -> Result<u32, DecodeError> {
        self.want(4)?;
        Ok(self.bytes.get_u32())
    }

    /// Eight bytes, unsigned: for our own formats.
    pub fn uint64(&mut self) -> Result<u64, DecodeError> {
        self.want(8)?;
        Ok(self.bytes.get_u64())
    }

    /// The bytes after an unsigned length of four bytes: for our own formats.
    pub fn sized(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.uint32()?;
        self.take(length as usize)
    }

    /// An unsigned count of four bytes, bounded as [`Reader::count`]: for our own formats.
    pub fn sized_count(&mut self, of: Element) -> Result<usize, DecodeError> {
        let count = self.uint32()?;
        self.charge(count as usize, of)
    }

    /// Seven bits a byte, lowest first; at most five bytes and 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            self.want(1)?;
            let byte = self.bytes.get_u8();
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::Varint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    /// The length of a value in bytes; `None` is null.
    fn length(&mut self, field: &'static str, length: i64) -> Result<Option<usize>, DecodeError> {
        match length {
            -1 => Ok(None),
            0.. => usize::try_from(length)
                .map(Some)
                .map_err(|_| DecodeError::NegativeLength { field, length }),
            _ => Err(DecodeError::NegativeLength { field, length }),
        }
    }

    /// A string that cannot be null.
    pub fn string(&mut self, flexible: bool, field: &'static str) -> Result<Str, DecodeError> {
        self.opt_string(flexible, false, field)?
            .ok_or(DecodeError::Null { field })
    }

    /// A string that is null at most where `nullable` says so.
    pub fn opt_string(
        &mut self,
        flexible: bool,
        nullable: bool,
        field: &'static str,
    ) -> Result<Option<Str>, DecodeError> {
        let length = if flexible {
            i64::from(self.uvarint()?) - 1
        } else {
            i64::from(self.int16()?)
        };
        match self.length(field, length)? {
            Some(length) => {
                let text = self.take(length)?;
                Str::try_from(text)
                    .map(Some)
                    .map_err(|_| DecodeError::Utf8 { field })
            }
            None if nullable => Ok(None),
            None => Err(DecodeError::Null { field }),
        }
    }

    /// Bytes that cannot be null.
    pub fn bytes(&mut self, flexible: bool, field: &'static str) -> Result<Bytes, DecodeError> {
        self.opt_bytes(flexible, false, field)?
            .ok_or(DecodeError::Null { field })
    }

    /// Bytes that are null at most where `nullable` says so.
    pub fn opt_bytes(
        &mut self,
        flexible: bool,
        nullable: bool,
        field: &'static str,
    ) -> Result<Option<Bytes>, DecodeError> {
        let length = if flexible {
            i64::from(self.uvarint()?) - 1
        } else {
            i64::from(self.int32()?)
        };
        match self.length(field, length)? {
            Some(length) => self.take(length).map(Some),
            None if nullable => Ok(None),
            None => Err(DecodeError::Null { field }),
        }
    }

    /// The number of elements of an array that cannot be null.
    pub fn count(&mut self, flexible: bool, of: Element) -> Result<usize, DecodeError> {
        self.opt_count(flexible, false, of)?
            .ok_or(DecodeError::Null { field: of.name })
    }

    /// The number of elements: never more than the rest of the frame, and the budget of memory, can
    /// hold.
    pub fn opt_count(
        &mut self,
        flexible: bool,
        nullable: bool,
        of: Element,
    ) -> Result<Option<usize>, DecodeError> {
        let field = of.name;
        let count = if flexible {
            i64::from(self.uvarint()?) - 1
        } else {
            i64::from(self.int32()?)
        };
        match self.length(field, count)? {
            Some(count) => self.charge(count, of).map(Some),
            None if nullable => Ok(None),
            None => Err(DecodeError::Null { field }),
        }
    }

    fn charge(&mut self, count: usize, of: Element) -> Result<usize, DecodeError> {
        let left = self.bytes.len();
        let memory = count.saturating_mul(of.size);
        if count > left / of.least.max(1) || memory > self.budget {
            return Err(DecodeError::Count {
                field: of.name,
                count: count as u64,
                left,
            });
        }
        self.budget -= memory;
        Ok(count)
    }

    /// The marker before a structure that may be null.
    pub fn present(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.int8()? {
            1 => Ok(true),
            -1 => Ok(false),
            length => Err(DecodeError::NegativeLength {
                field,
                length: i64::from(length),
            }),
        }
    }

    /// Begins the tagged fields at the end of a structure.
    pub fn tags(&mut self) -> Result<Tags, DecodeError> {
        let count = self.uvarint()?;
        let left = self.bytes.len();
        // A tag and its size are a byte each at least.
        if count as usize > left / 2 {
            return Err(DecodeError::Count {
                field: "tagged fields",
                count: count.into(),
                left,
            });
        }
        Ok(Tags {
            left: count,
            previous: None,
            after: Bytes::new(),
        })
    }

    /// Passes over tagged fields of which none is known.
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        let mut tags = self.tags()?;
        while tags.next(self)?.is_some() {
            self.skip_rest();
            tags.leave(self)?;
        }
        Ok(())
    }

    /// Passes over the rest of the tagged field.
    pub fn skip_rest(&mut self) {
        self.bytes.clear();
    }
}

/// A walk over tagged fields. Between [`Tags::next`] and [`Tags::leave`] the reader ends where the
/// field ends.
#[derive(Debug)]
pub struct Tags {
    left: u32,
    previous: Option<u32>,
    /// What follows the field.
    after: Bytes,
}

impl Tags {
    /// The next field's tag; the reader is then at its value.
    pub fn next(&mut self, r: &mut Reader) -> Result<Option<u32>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let (tag, size) = (r.uvarint()?, r.uvarint()?);
        if let Some(previous) = self
            .previous
            .replace(tag)
            .filter(|previous| *previous >= tag)
        {
            return Err(DecodeError::TagOrder { tag, previous });
        }
        r.want(size as usize)?;
        self.after = r.bytes.split_off(size as usize);
        Ok(Some(tag))
    }

    /// Ends the field; it must have been read to its end.
    pub fn leave(&mut self, r: &mut Reader) -> Result<(), DecodeError> {
        if r.remaining() > 0 {
            return Err(DecodeError::Trailing {
                left: r.remaining(),
            });
        }
        r.bytes = std::mem::take(&mut self.after);
        Ok(())
    }
}
