//! Little-endian reading and writing with every length checked before use.

use crate::mutant::{self, Mutant};
use bytes::Bytes;
use raft::types::Membership;

/// Reads from a slice; every method answers None beyond the end.
#[derive(Clone, Copy)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|bytes| bytes[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// A byte string with its length before it.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// A count of things of at least `least` bytes each: never more than the rest can hold.
    pub(crate) fn count(&mut self, least: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count.checked_mul(least)? <= self.rest.len()).then_some(count)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Writes to a vector.
pub(crate) trait Encode {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    fn put_i32(&mut self, value: i32) {
        self.put(&value.to_le_bytes());
    }
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    fn put_i64(&mut self, value: i64) {
        self.put(&value.to_le_bytes());
    }
    fn put_u128(&mut self, value: u128) {
        self.put(&value.to_le_bytes());
    }

    /// A count or length; they are bounded far below 4 Gi.
    fn put_len(&mut self, length: usize) {
        self.put_u32(u32::try_from(length).expect("lengths in the log are below 4 GiB"));
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_len(bytes.len());
        self.put(bytes);
    }
}

impl Encode for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

pub(crate) fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    out.put_bytes(&membership.encode());
}

/// None for one that makes no sense, too.
pub(crate) fn membership(from: &mut Decoder<'_>) -> Option<Membership> {
    Membership::decode(from.bytes()?)
}

/// A copy of a byte string with its length before it.
pub(crate) fn owned_bytes(from: &mut Decoder<'_>) -> Option<Bytes> {
    from.bytes().map(Bytes::copy_from_slice)
}

/// A checksum that starts from a segment's seed and a place in it.
pub(crate) fn seeded(seed: u64, sequence: u64, position: u64) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    let mut place = [0; 24];
    if mutant::on(Mutant::HeadersUnseeded) {
        return hasher;
    }
    place[..8].copy_from_slice(&seed.to_le_bytes());
    place[8..16].copy_from_slice(&sequence.to_le_bytes());
    place[16..].copy_from_slice(&position.to_le_bytes());
    hasher.update(&place);
    hasher
}
