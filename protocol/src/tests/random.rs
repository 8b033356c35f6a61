//! A seeded generator of values (splitmix64): the same seed, the same messages.

use crate::wire::Str;
use bytes::Bytes;

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn bool(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Short mostly; one in eight needs a length varint of two bytes.
    fn length(&mut self) -> u64 {
        let most = if self.below(8) == 0 { 700 } else { 12 };
        self.below(most)
    }

    pub(super) fn string(&mut self) -> Str {
        let letters = ['a', 'Z', '.', '-', 'ü', '\u{0}', '語', '\u{1f980}'];
        let text: String = (0..self.length())
            .map(|_| letters[self.below(8) as usize])
            .collect();
        text.into()
    }

    pub(super) fn bytes(&mut self) -> Bytes {
        let length = self.length();
        self.exactly(length as usize)
    }

    pub(super) fn exactly(&mut self, length: usize) -> Bytes {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
