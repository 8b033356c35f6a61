//! Primitive types of the protocol, in their plain encodings and the few compact ones that are needed.

use std::io;

/// Appends values to a buffer.
#[derive(Debug, Default, Clone)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// One byte.
    pub fn i8(&mut self, value: i8) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Two bytes.
    pub fn i16(&mut self, value: i16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Four bytes.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Eight bytes.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Length in two bytes, then the text; null is -1.
    pub fn string(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(text) => self.i16(text.len() as i16).raw(text.as_bytes()),
            None => self.i16(-1),
        }
    }

    /// Length in four bytes, then the bytes; null is -1.
    pub fn bytes(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(bytes) => self.i32(bytes.len() as i32).raw(bytes),
            None => self.i32(-1),
        }
    }

    /// Zigzag varint, as inside record batches.
    pub fn varint(&mut self, value: i64) -> &mut Self {
        self.uvarint(((value << 1) ^ (value >> 63)) as u64)
    }

    /// Varint without a sign.
    pub fn uvarint(&mut self, value: u64) -> &mut Self {
        let mut rest = value;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    /// Length and one as a varint, then the text.
    pub fn compact_string(&mut self, value: &str) -> &mut Self {
        self.uvarint(value.len() as u64 + 1).raw(value.as_bytes())
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// Takes values from the front of a buffer; running out is an error.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self
            .take(N)?
            .try_into()
            .expect("exactly N bytes were taken"))
    }

    /// One byte.
    pub fn i8(&mut self) -> io::Result<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// Two bytes.
    pub fn i16(&mut self) -> io::Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn i32(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn i64(&mut self) -> io::Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A string, empty when null.
    pub fn string(&mut self) -> io::Result<String> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        let text = self.take(length)?.to_vec();
        String::from_utf8(text).map_err(io::Error::other)
    }

    /// Bytes, empty when null.
    pub fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.i32()?).unwrap_or(0);
        self.take(length)
    }

    /// An array; null is empty.
    pub fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let count = self.i32()?.max(0);
        (0..count).map(|_| element(self)).collect()
    }

    /// Varint without a sign.
    pub fn uvarint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = u64::from(self.array::<1>()?[0]);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(io::Error::other("a varint without an end"))
    }

    /// A string with a compact length, empty when null.
    pub fn compact_string(&mut self) -> io::Result<String> {
        let length = self.uvarint()?.saturating_sub(1);
        let text = self.take(usize::try_from(length).map_err(io::Error::other)?)?;
        String::from_utf8(text.to_vec()).map_err(io::Error::other)
    }

    /// An array with a compact length; null is empty.
    pub fn compact_list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let count = self.uvarint()?.saturating_sub(1);
        (0..count).map(|_| element(self)).collect()
    }

    /// Passes over tagged fields.
    pub fn tags(&mut self) -> io::Result<()> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?; // tag
            let length = self.uvarint()?;
            self.take(usize::try_from(length).map_err(io::Error::other)?)?;
        }
        Ok(())
    }
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ends too early")
}
