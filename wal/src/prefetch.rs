//! What a reader comes to is asked of the kernel before the first of it is waited for: all of it at once, and no more.
//!
//! Left to itself, a read through the mapping waits for one piece after the other, and brings megabytes around each:
//! mostly bytes of other groups, which whoever reads them has from another broker.

use crate::footer::Run;
use crate::segment::Segment;
use std::ops::Range;

/// Runs that lie closer to each other are asked for in one: so much is read as quickly as another place is found.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// The kernel heeds no more of one call.
const CALL_BYTES: u64 = 256 << 10;

/// Asks for a segment's runs, which are in order, up to so many bytes of them; at least the first.
pub(crate) fn prefetch(segment: &Segment, runs: &[Run], bytes: u64) {
    for range in ranges(runs, bytes) {
        let mut position = range.start;
        while position < range.end {
            let length = CALL_BYTES.min(range.end - position);
            let bytes = usize::try_from(length).expect("a fraction of a MiB");
            if let Err(error) = segment.file.prefetch(position, bytes) {
                // What cannot be read is met again where it is read, and named there.
                tracing::debug!(segment = segment.sequence, %error, "is not read ahead");
                return;
            }
            position += length;
        }
    }
}

/// Where these runs lie, close ones together.
fn ranges(runs: &[Run], bytes: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut left = bytes;
    for run in runs {
        match ranges.last_mut() {
            Some(last) if run.position.saturating_sub(last.end) <= GAP_BYTES_MAX => {
                last.end = last.end.max(run.end());
            }
            _ => ranges.push(run.position..run.end()),
        }
        left = left.saturating_sub(u64::from(run.bytes));
        if left == 0 {
            break;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footer::Span;

    fn run(position: u64, bytes: u32) -> Run {
        Run {
            first: 1,
            count: 1,
            bytes,
            position,
            span: Span::EMPTY,
        }
    }

    fn asked(runs: &[Run], bytes: u64) -> Vec<(u64, u64)> {
        let ranges = ranges(runs, bytes).into_iter();
        ranges.map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn close_runs_are_one_range_and_distant_ones_are_not() {
        let gap = GAP_BYTES_MAX;
        let runs = [run(0, 100), run(100 + gap, 50), run(151 + 2 * gap, 7)];
        let expected = [(0, 150 + gap), (151 + 2 * gap, 158 + 2 * gap)];
        assert_eq!(asked(&runs, u64::MAX), expected);
    }

    #[test]
    fn no_more_is_asked_for_than_will_be_read_and_at_least_one() {
        let far = 2 * GAP_BYTES_MAX;
        let runs = [run(0, 100), run(far, 100), run(2 * far, 100)];
        assert_eq!(asked(&runs, 101), [(0, 100), (far, far + 100)]);
        assert_eq!(asked(&runs, 100), [(0, 100)]);
        assert_eq!(asked(&runs, 0), [(0, 100)]);
        assert_eq!(asked(&[], 100), []);
    }
}
