//! Ids of new members, as Kafka's look: `<client id>-<uuid>`, or `<instance id>-<uuid>` for a static member.

use super::core::Now;

/// A small generator (splitmix64). Ids only have to differ, they are no secret.
#[derive(Debug)]
pub(super) struct MemberIds {
    state: u64,
}

impl MemberIds {
    /// The moment is mixed in, so that two coordinators with one seed do not give the same ids.
    pub(super) fn new(seed: u64, now: Now<'_>) -> Self {
        let mut ids = Self { state: seed };
        ids.state = ids.next() ^ now.wall_ms.cast_unsigned();
        ids.state = ids.next() ^ now.tick.0;
        ids
    }

    /// Another id each time.
    pub(super) fn give(&mut self, prefix: &str) -> String {
        let (high, low) = (self.next(), self.next());
        let (a, b, c) = (high >> 32, (high >> 16) & 0xFFFF, high & 0x0FFF);
        let (d, e) = ((low >> 48) & 0x3FFF | 0x8000, low & 0xFFFF_FFFF_FFFF);
        format!("{prefix}-{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
