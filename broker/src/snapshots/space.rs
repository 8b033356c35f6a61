//! A log whose disk gets full gives up what snapshots hold.

use std::rc::Rc;
use std::time::Duration;

use crate::broker::Broker;

/// Segments that hold nothing that lives, or not as much as they could: the log's reserve, open ones, a spare.
const RESERVED: u64 = 5;
/// Between two looks at how much the log takes.
const LOOK: Duration = Duration::from_secs(1);

impl Broker {
    /// Looks at it for ever.
    pub(crate) async fn keep_space(self: Rc<Self>) {
        let mut is_over = false;
        loop {
            tokio::time::sleep(LOOK).await;
            let stats = self.log.stats();
            let segment = self.config.cluster.segment_bytes;
            let (live, limit) = (stats.live_bytes, stats.limit_bytes);
            let mut marks = Marks::of(limit, segment);
            if self.shard.borrow().has_no_room() {
                // Whatever it holds is too much.
                marks.high = 0;
                marks.low = marks.low.min(live.saturating_sub(2 * segment));
            }
            let was_over = std::mem::replace(&mut is_over, live > marks.high);
            if !is_over {
                continue;
            }
            if !was_over {
                tracing::warn!(target: "snapshot", live, limit, "the log's disk gets full: what the store holds is dropped here");
            }
            self.free_log(live - marks.low);
        }
    }

    fn free_log(&self, excess: u64) {
        let mut shard = self.shard.borrow_mut();
        let here = shard.replicas_here();
        let sizes: Vec<_> = here
            .map(|(group, replica)| (group, self.reader.group_bytes(group, replica)))
            .collect();
        let most = level(sizes.iter().map(|(_, bytes)| *bytes).collect(), excess);
        shard.free_log(self.now(), most, &sizes);
        drop(shard);
        self.work.notify_one();
    }
}

/// Live bytes of the log.
#[derive(Debug, PartialEq, Eq)]
struct Marks {
    /// More than these are too many.
    high: u64,
    /// So many may stay then.
    low: u64,
}

impl Marks {
    /// Some segments are kept free or are being written. What is dead takes room as well until it is cleaned, and where
    /// the cleaner makes two segments out of three a third of them is dead.
    fn of(limit_bytes: u64, segment_bytes: u64) -> Self {
        let room = limit_bytes.saturating_sub(RESERVED * segment_bytes);
        let high = room / 3 * 2;
        // Logs are cut between segments.
        let less = (room / 10).max(2 * segment_bytes);
        Self {
            high,
            low: high.saturating_sub(less),
        }
    }
}

/// What each may keep so that together they give up so many bytes, those that have most first.
fn level(mut sizes: Vec<u64>, excess: u64) -> u64 {
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let mut above = 0;
    for (at, size) in sizes.iter().enumerate() {
        let count = at as u64 + 1;
        above += size;
        let next = sizes.get(at + 1).copied().unwrap_or(0);
        // All of these down to the next one's size.
        if above - count * next >= excess {
            return (above - excess) / count;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_with_most_give_up_most() {
        assert_eq!(level(vec![10, 100, 60], 40), 60);
        assert_eq!(level(vec![10, 100, 60], 60), 50);
        assert_eq!(level(vec![10, 100, 60], 161), 3, "9 remain for three");
        assert_eq!(level(vec![10, 100, 60], 170), 0);
        assert_eq!(level(vec![10, 100, 60], 1000), 0, "more than there is");
        assert_eq!(level(vec![], 1), 0);
        for excess in 0..170 {
            let most = level(vec![10, 100, 60], excess);
            let gives_up: u64 = [10_u64, 100, 60]
                .iter()
                .map(|size| size.saturating_sub(most))
                .sum();
            assert!(
                (excess..excess + 3).contains(&gives_up),
                "{excess}: {gives_up}"
            );
        }
    }

    #[test]
    fn what_is_dead_has_room_as_well() {
        let marks = Marks::of(1000, 10);
        assert_eq!(
            marks,
            Marks {
                high: 632,
                low: 537
            }
        );
        let small = Marks::of(80, 10);
        assert_eq!(small, Marks { high: 20, low: 0 });
    }
}
