//! Kafka's classic encodings, as far as a load generator needs them. Its own and small on purpose:
//! a client that shared the broker's codec could not notice the broker's mistakes, and it must speak
//! to other brokers too.

/// Appends fields to a buffer.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn i8(&mut self, value: i8) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn i16(&mut self, value: i16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// A count or a length; everything here is far below 2 GiB.
    pub(super) fn count(&mut self, value: usize) -> &mut Self {
        self.i32(i32::try_from(value).expect("counts of requests fit into an i32"))
    }

    pub(super) fn string(&mut self, value: &str) -> &mut Self {
        self.i16(i16::try_from(value.len()).expect("topic names are short"))
            .bytes(value.as_bytes())
    }

    pub(super) fn varint(&mut self, value: i64) -> &mut Self {
        let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
        while zigzag >= 0x80 {
            self.0.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        self.0.push(zigzag as u8);
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// A whole frame: length, header version 1, body.
pub(super) fn frame(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Writer(vec![0; 4]);
    out.i16(key)
        .i16(version)
        .i32(correlation)
        .string("walser-bench")
        .bytes(body);
    let length = out.0.len() as i32 - 4;
    out.0[..4].copy_from_slice(&length.to_be_bytes());
    out.0
}

/// Takes fields off the head of received bytes; every one may be missing.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// What a reader met.
pub(super) type Read<T> = Result<T, String>;

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, bytes: usize) -> Read<&'a [u8]> {
        let (head, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or("ends within a field")?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?
            .try_into()
            .map_err(|_| "ends within a number".into())
    }

    pub(super) fn i8(&mut self) -> Read<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(super) fn i16(&mut self) -> Read<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Read<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Read<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A count of elements or a length in bytes, null as 0.
    pub(super) fn count(&mut self) -> Read<usize> {
        Ok(usize::try_from(self.i32()?).unwrap_or(0))
    }

    pub(super) fn string(&mut self) -> Read<String> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    pub(super) fn varint(&mut self) -> Read<i64> {
        let mut zigzag = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.array::<1>()?[0];
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
            }
        }
        Err("a number of more than ten bytes".into())
    }

    /// An array of 32-bit ids that nobody looks at.
    pub(super) fn skip_ids(&mut self) -> Read<()> {
        let count = self.count()?;
        self.take(count.saturating_mul(4)).map(drop)
    }
}

/// Kafka's name of an error, where a load is likely to meet it, and its number.
pub(super) fn error_name(code: i16) -> String {
    let name = match code {
        -1 => "UNKNOWN_SERVER_ERROR",
        1 => "OFFSET_OUT_OF_RANGE",
        2 => "CORRUPT_MESSAGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        10 => "MESSAGE_TOO_LARGE",
        19 => "NOT_ENOUGH_REPLICAS",
        20 => "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        36 => "TOPIC_ALREADY_EXISTS",
        41 => "NOT_CONTROLLER",
        56 => "KAFKA_STORAGE_ERROR",
        87 => "INVALID_RECORD",
        89 => "THROTTLING_QUOTA_EXCEEDED",
        _ => "error",
    };
    format!("{name} ({code})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        for value in [0, -1, 1, 63, 64, -65, 300, i64::MAX, i64::MIN] {
            let mut out = Writer::default();
            out.varint(value);
            let mut reader = Reader(&out.0);
            assert_eq!(reader.varint(), Ok(value));
            assert!(reader.0.is_empty());
        }
        assert!(Reader(&[0xff; 11]).varint().is_err());
    }

    #[test]
    fn a_frame_counts_what_follows_its_length() {
        let frame = frame(3, 5, 7, &[9, 9]);
        assert_eq!(Reader(&frame).i32(), Ok(frame.len() as i32 - 4));
        assert_eq!(&frame[frame.len() - 2..], [9, 9]);
    }

    #[test]
    fn a_hostile_count_takes_nothing() {
        let mut reader = Reader(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
        assert!(reader.skip_ids().is_err());
    }
}
