//! The named segments: which of them are read at a start, and what becomes of each once they have been.

use crate::checkpoint::Point;
use crate::directory::{Directory, SegmentState};
use crate::error::{Damage, Error};
use crate::layout::DATA_START;
use crate::log::{FullSegment, OpenSegment};
use crate::manifest::{Sealed, SegmentRole};
use crate::recovery::{LogSegment, Scan};
use crate::segment::Segment;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Every named segment, by sequence.
pub(crate) type NamedSegments = BTreeMap<u64, (Arc<Segment>, SegmentRole)>;

/// Every segment that holds or may hold entries, into the directory.
pub(crate) fn fill_segments(named: &NamedSegments, directory: &mut Directory) {
    for (sequence, (segment, role)) in named {
        let mut state = SegmentState::open(Arc::clone(segment));
        match role {
            SegmentRole::Output => continue,
            SegmentRole::Prepared | SegmentRole::Open => {}
            SegmentRole::Sealed(sealed) => {
                state.index = None;
                state.footer_at = sealed.footer_at;
                state.runs = sealed.runs;
                state.data_bytes = sealed.end.saturating_sub(DATA_START);
                state.cleaned = sealed.cleaned;
            }
        }
        directory.segments.insert(*sequence, state);
    }
}

/// The segments to be read: all unsealed ones, and sealed ones from the checkpoint's on.
pub(crate) fn log_segments(named: &NamedSegments, point: Point) -> Result<Vec<LogSegment>, Error> {
    if !named.contains_key(&point.segment) {
        let why = format!("goes on in segment {}, which is not named", point.segment);
        return Err(Damage::new("checkpoint", 0, why).into());
    }
    let mut segments = Vec::new();
    for (sequence, (segment, role)) in named {
        let sealed_end = match role {
            SegmentRole::Output => continue,
            SegmentRole::Sealed(sealed) => {
                if sealed.cleaned || *sequence < point.segment {
                    continue;
                }
                Some(sealed.end)
            }
            SegmentRole::Prepared | SegmentRole::Open => None,
        };
        let at_point =
            *sequence == point.segment && (sealed_end.is_some() || point.position == DATA_START);
        let (from, previous) = if at_point {
            (point.position, Some((point.round, point.crc)))
        } else {
            (DATA_START, None)
        };
        let segment = Arc::clone(segment);
        segments.push(LogSegment {
            segment,
            from,
            previous,
            sealed_end,
        });
    }
    Ok(segments)
}

/// The highest round that what is not a round says was synced.
pub(crate) fn highest_mark(named: &NamedSegments, meta_round: u64, point: Point) -> u64 {
    let sealed = named.values().map(|(_, role)| match role {
        SegmentRole::Sealed(sealed) if !sealed.cleaned => sealed.last_round,
        _ => 0,
    });
    let sealed = sealed.max().unwrap_or(0);
    sealed.max(point.round).max(meta_round)
}

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
    named: &NamedSegments,
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
            open = Some(OpenSegment::at(segment, end));
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

fn named_unsealed(named: &NamedSegments, sequence: u64) -> bool {
    named
        .get(&sequence)
        .is_some_and(|(_, role)| matches!(role, SegmentRole::Prepared | SegmentRole::Open))
}
