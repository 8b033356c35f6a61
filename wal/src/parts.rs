//! What becomes of each named segment once the log has been read.

use crate::checkpoint::Point;
use crate::directory::Directory;
use crate::layout::DATA_START;
use crate::log::{FullSegment, OpenSegment};
use crate::manifest::{Sealed, SegmentRole};
use crate::recovery::Scan;
use crate::segment::Segment;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What each named segment is from now on.
pub(crate) struct Parts {
    pub(crate) open: OpenSegment,
    pub(crate) full: VecDeque<FullSegment>,
    pub(crate) prepared: Option<Arc<Segment>>,
    pub(crate) unused: Vec<Arc<Segment>>,
    pub(crate) sealed: BTreeMap<u64, Sealed>,
}

/// Divides the named segments: the last one with rounds is open, those before it are full, the first one behind it is
/// the next, the others go back to the pool.
pub(crate) fn divide(
    named: &BTreeMap<u64, (Arc<Segment>, SegmentRole)>,
    directory: &mut Directory,
    point: Point,
    scan: &Scan,
    last: (u64, u32),
) -> Parts {
    let mut sealed = BTreeMap::new();
    let mut unused = Vec::new();
    let mut unsealed = Vec::new();
    for (sequence, (segment, role)) in named {
        match role {
            SegmentRole::Sealed(facts) => {
                sealed.insert(*sequence, *facts);
            }
            SegmentRole::Output => unused.push(Arc::clone(segment)),
            SegmentRole::Prepared | SegmentRole::Open => unsealed.push(Arc::clone(segment)),
        }
    }
    let end_of = |sequence: u64| {
        let found = scan
            .ends
            .iter()
            .rev()
            .find(|(segment, _, _)| *segment == sequence);
        found.map_or((DATA_START, last), |(_, end, last)| (*end, *last))
    };
    let first = unsealed.first().map(|segment| segment.sequence);
    let first = first.expect("a manifest always names the open segment");
    let open_sequence = scan
        .ends
        .iter()
        .map(|(sequence, _, _)| *sequence)
        .max()
        .unwrap_or(first);
    let open_sequence = open_sequence.max(if named_unsealed(named, point.segment) {
        point.segment
    } else {
        first
    });
    let mut full = VecDeque::new();
    let mut open = None;
    let mut prepared = None;
    for segment in unsealed {
        let sequence = segment.sequence;
        let (end, (last_round, last_crc)) = end_of(sequence);
        if sequence < open_sequence {
            let runs = directory
                .segments
                .get(&sequence)
                .and_then(|state| state.index.as_ref());
            let runs = runs.map_or(0, |index| index.runs);
            let runs = u32::try_from(runs).expect("runs are bounded per segment");
            let sealed = Sealed {
                end,
                last_round,
                last_crc,
                runs,
                ..Sealed::default()
            };
            full.push_back(FullSegment { segment, sealed });
        } else if sequence == open_sequence {
            open = Some(OpenSegment {
                segment,
                position: end,
            });
        } else {
            directory.segments.remove(sequence);
            if prepared.is_none() {
                prepared = Some(segment);
            } else {
                unused.push(segment);
            }
        }
    }
    let open = open.expect("the open segment is among the unsealed ones");
    Parts {
        open,
        full,
        prepared,
        unused,
        sealed,
    }
}

fn named_unsealed(named: &BTreeMap<u64, (Arc<Segment>, SegmentRole)>, sequence: u64) -> bool {
    named
        .get(&sequence)
        .is_some_and(|(_, role)| matches!(role, SegmentRole::Prepared | SegmentRole::Open))
}
