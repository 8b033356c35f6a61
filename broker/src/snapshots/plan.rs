//! Which chunks of the last snapshot the next one keeps, and from where on it makes new ones.

use snapshot::manifest::Chunk;

/// So much is made anew whatever it costs: what a quiet partition gets in a while.
const SMALL_BYTES: u64 = 64 << 10;

/// What the next snapshot is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Chunks that stay as they are.
    pub(super) keep: Vec<Chunk>,
    /// First offset of new ones.
    pub(super) from: i64,
}

/// The bounds of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// First offset that is not deleted.
    pub(super) log_start: i64,
    /// First offset that can be read from the log.
    pub(super) local_start: i64,
    /// Bytes that are new, about.
    pub(super) new_bytes: u64,
    /// A chunk of so many bytes is large enough.
    pub(super) chunk_bytes: u64,
}

impl Plan {
    /// Continues these chunks. Those at the end that are no larger than what is new are made anew together with it, as
    /// long as the log has them: so a record is written again only as often as its chunk doubles, and there are few
    /// small chunks.
    pub(super) fn new(chunks: &[Chunk], bounds: Bounds) -> Self {
        let kept = |chunk: &&Chunk| chunk.chunk.next_offset > bounds.log_start;
        let mut keep: Vec<Chunk> = chunks.iter().filter(kept).cloned().collect();
        let mut from = keep
            .last()
            .map_or(bounds.log_start, |last| last.chunk.next_offset);
        let mut bytes = bounds.new_bytes;
        while let Some(last) = keep.last().map(|last| &last.chunk) {
            let sum = bytes.saturating_add(last.raw_bytes);
            let is_small = last.raw_bytes <= bytes.max(SMALL_BYTES) && sum <= bounds.chunk_bytes;
            if !is_small || last.first_offset < bounds.local_start {
                break;
            }
            (from, bytes) = (last.first_offset, sum);
            keep.pop();
        }
        Self { keep, from }
    }
}

#[cfg(test)]
mod tests {
    use snapshot::chunk::Summary;
    use snapshot::digest::Digest;
    use snapshot::key::Key;

    use super::*;

    /// Chunks of one record per byte.
    fn chunks(sizes: &[u64]) -> Vec<Chunk> {
        let mut at = 0;
        let mut chunk = |bytes: &u64| {
            let first_offset = at;
            at += i64::try_from(*bytes).expect("small");
            Chunk {
                key: Key::parse(&format!("topics/x/0/chunks/{first_offset}.gz")).expect("a name"),
                chunk: Summary {
                    first_offset,
                    next_offset: at,
                    max_timestamp: -1,
                    raw_bytes: *bytes,
                    raw_sha256: Digest::of(b""),
                    index_position: 0,
                    stored_bytes: 0,
                    stored_crc32: 0,
                },
            }
        };
        sizes.iter().map(&mut chunk).collect()
    }

    const BOUNDS: Bounds = Bounds {
        log_start: 0,
        local_start: 0,
        new_bytes: 100_000,
        chunk_bytes: 1_000_000,
    };

    fn from(sizes: &[u64], bounds: Bounds) -> (usize, i64) {
        let plan = Plan::new(&chunks(sizes), bounds);
        (plan.keep.len(), plan.from)
    }

    #[test]
    fn the_first_one_begins_at_the_log_start() {
        assert_eq!(
            from(
                &[],
                Bounds {
                    log_start: 7,
                    ..BOUNDS
                }
            ),
            (0, 7)
        );
    }

    #[test]
    fn chunks_that_are_not_larger_than_what_follows_are_made_anew() {
        assert_eq!(from(&[500_000, 90_000], BOUNDS), (1, 500_000));
        assert_eq!(from(&[150_000, 90_000], BOUNDS), (0, 0), "and so on");
        assert_eq!(from(&[500_000, 101_000], BOUNDS), (2, 601_000));
    }

    #[test]
    fn a_little_is_always_made_anew() {
        let bounds = Bounds {
            new_bytes: 1,
            ..BOUNDS
        };
        assert_eq!(from(&[500_000, 60_000], bounds), (1, 500_000));
        assert_eq!(from(&[500_000, 70_000], bounds), (2, 570_000));
    }

    #[test]
    fn a_full_chunk_stays() {
        let bounds = Bounds {
            new_bytes: 900_000,
            ..BOUNDS
        };
        assert_eq!(from(&[500_000], bounds), (1, 500_000));
    }

    #[test]
    fn what_the_log_has_no_longer_stays() {
        let bounds = Bounds {
            local_start: 1,
            ..BOUNDS
        };
        assert_eq!(from(&[90_000, 90_000], bounds), (1, 90_000));
    }

    #[test]
    fn what_is_deleted_goes() {
        let bounds = Bounds {
            log_start: 90_000,
            local_start: 90_000,
            ..BOUNDS
        };
        assert_eq!(
            from(&[90_000, 200_000], bounds),
            (1, 290_000),
            "only the second"
        );
        let bounds = Bounds {
            log_start: 290_001,
            ..bounds
        };
        assert_eq!(from(&[90_000, 200_000], bounds), (0, 290_001), "beyond all");
        let inside = Bounds {
            log_start: 100_000,
            ..BOUNDS
        };
        assert_eq!(
            from(&[90_000, 200_000], inside),
            (1, 290_000),
            "a part of it is there"
        );
    }
}
