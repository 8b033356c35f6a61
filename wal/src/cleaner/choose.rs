//! What to rewrite: which segments, into how many outputs, and what of them fits there.

use super::rewrite::piece_bytes;
use super::{Piece, Reason};
use crate::config::Config;
use crate::directory::{Directory, Extent, SegmentState, Sums};
use crate::layout::{DATA_START, ROUND_HEADER_BYTES, ROUND_ITEM_BYTES};
use crate::log::Log;
use crate::pages::PAGE_BYTES;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an extent's run and group take in a footer, at most.
const FOOTER_BYTES: u64 = 96;

/// Segments to be rewritten.
pub(super) struct Chosen {
    pub(super) reason: Reason,
    /// The best first.
    pub(super) inputs: Vec<u64>,
    pub(super) outputs: usize,
    /// What the outputs hold. Extents of the last inputs that do not fit stay where they are.
    pub(super) room_bytes: u64,
}

/// The occasion for a rewrite. Nothing to do under one is nothing to do until it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    sums: Sums,
    /// Spares for its outputs.
    spares: usize,
    short_of_space: bool,
    /// What may be dead beyond the share of what lives.
    slack_bytes: u64,
}

impl Log {
    pub(super) fn outlook(&self) -> Outlook {
        Outlook {
            sums: self.shared.read().segments.sealed(),
            spares: self.spares.for_cleaner(),
            short_of_space: self.spares.free() == 0 && !self.may_create(),
            slack_bytes: match self.is_quiet() {
                true => self.config.clean_slack_bytes / QUIET_SHARE,
                false => self.config.clean_slack_bytes,
            },
        }
    }

    pub(super) fn choose(&self, outlook: &Outlook) -> Option<Chosen> {
        let directory = self.shared.read();
        let (sums, bytes) = (outlook.sums, self.config.segment_bytes);
        let bound = sums.live_bytes + sums.live_bytes / 10 * 3 + outlook.slack_bytes;
        if sums.segments * bytes > bound || outlook.short_of_space {
            // Fuller ones than the bound asks for are taken only where any space counts.
            let live_max = match outlook.short_of_space {
                true => bytes,
                false => bytes / 13 * 10,
            };
            let chosen = most_dead(&directory, &self.config, live_max, outlook.spares);
            if chosen.is_some() {
                return chosen;
            }
        }
        if sums.unsorted_bytes > self.config.unsorted_bytes_max && outlook.spares >= 2 {
            // Scattered entries only come together where at least two groups share long stretches: the oldest first.
            let inputs: Vec<u64> = directory
                .segments
                .values()
                .filter(|state| state.index.is_none())
                .filter(|state| state.is_unsorted() && is_worth_it(state))
                .take(2)
                .map(|state| state.segment.sequence)
                .collect();
            if !inputs.is_empty() {
                return Some(Chosen {
                    reason: Reason::Scattered,
                    inputs,
                    outputs: 2,
                    room_bytes: u64::MAX,
                });
            }
        }
        None
    }
}

/// While the log is quiet, this part of the slack is left.
const QUIET_SHARE: u64 = 4;

/// Whether something is alive there that a rewrite could move.
///
/// NB: what a rewrite had to leave where it was (the output was full, an entry is damaged) it would leave there again,
/// and what it has packed as densely as it can gains nothing: until an eighth of it has died, trying again would go on
/// for ever.
fn is_worth_it(state: &SegmentState) -> bool {
    let dense = state.left_over_bytes;
    state.extents > 0 && (dense == 0 || state.live_bytes < dense - dense / 8)
}

/// Bytes of an output that extents can fill: the headers and the last piece may not.
fn output_room(segment_bytes: u64) -> u64 {
    let page = PAGE_BYTES as u64;
    segment_bytes.saturating_sub(DATA_START + page + piece_bytes(segment_bytes))
}

/// What a copy of an extent takes in an output, with its share of headers, padding and footer.
fn copied_bytes(extent: &Extent, config: &Config) -> u64 {
    let piece = piece_bytes(config.segment_bytes);
    let runs = extent.bytes / config.run_bytes_max + 1;
    let frames = extent.bytes + extent.count() * ROUND_ITEM_BYTES as u64;
    let padding = (PAGE_BYTES + ROUND_HEADER_BYTES) as u64;
    frames + frames * padding / piece + runs * FOOTER_BYTES
}

/// The segments with the best (dead bytes x age) / live bytes: those that one output holds if they are two or more, else
/// as many as two hold. The last of these may fit in part only: it is the first of a later rewrite.
///
/// NB: every rewrite leaves fewer segments that are worth one than it took: its full outputs are not, and of its inputs
/// at most the last is left. So the cleaner comes to rest.
fn most_dead(
    directory: &Directory,
    config: &Config,
    live_max: u64,
    spares: usize,
) -> Option<Chosen> {
    let candidates = candidates(directory, config.segment_bytes, live_max);
    if spares == 0 || candidates.len() < 2 {
        return None;
    }
    let sizes = copied_sizes(directory, config);
    let size = |sequence: &u64| sizes.get(sequence).copied().unwrap_or(0);
    let room_bytes = output_room(config.segment_bytes);
    let mut left = room_bytes;
    let mut inputs = candidates.clone();
    inputs.retain(|sequence| {
        let fits = size(sequence) <= left;
        left -= if fits { size(sequence) } else { 0 };
        fits
    });
    // One for one gains nothing.
    if inputs.len() >= 2 {
        return Some(Chosen {
            reason: Reason::Dead,
            inputs,
            outputs: 1,
            room_bytes,
        });
    }
    let (mut inputs, mut taken, room_bytes) = (candidates, 0, 2 * room_bytes);
    inputs.retain(|sequence| {
        let more = taken < room_bytes;
        taken += size(sequence);
        more
    });
    (spares >= 2 && inputs.len() >= 3).then_some(Chosen {
        reason: Reason::Dead,
        inputs,
        outputs: 2,
        room_bytes,
    })
}

/// Sealed segments with less alive than this, the best to rewrite first.
fn candidates(directory: &Directory, segment_bytes: u64, live_max: u64) -> Vec<u64> {
    let newest = directory.segments.keys().next_back().copied().unwrap_or(0);
    let mut scored: Vec<(u128, u64)> = directory
        .segments
        .iter()
        .filter(|(_, state)| state.index.is_none() && is_worth_it(state))
        .filter(|(_, state)| state.live_bytes < live_max)
        .map(|(sequence, state)| {
            let dead = segment_bytes.saturating_sub(state.live_bytes);
            let age = newest - sequence + 1;
            let score = u128::from(dead) * u128::from(age) * 1024;
            (score / u128::from(state.live_bytes.max(1)), *sequence)
        })
        .collect();
    scored.sort_unstable_by(|a, b| b.cmp(a));
    scored.into_iter().map(|(_, sequence)| sequence).collect()
}

/// What the live extents of each segment take in an output.
fn copied_sizes(directory: &Directory, config: &Config) -> BTreeMap<u64, u64> {
    let mut sizes = BTreeMap::new();
    let groups = directory.groups.values();
    for extent in groups.flat_map(|group| &group.extents) {
        *sizes.entry(extent.segment).or_default() += copied_bytes(extent, config);
    }
    sizes
}

/// The live extents of the inputs, as far as there is room for them: each group's together.
pub(super) fn pieces(directory: &Directory, chosen: &Chosen, config: &Config) -> Vec<Piece> {
    let mut pieces = all_pieces(directory, &chosen.inputs);
    pieces.sort_by_key(|(rank, _)| *rank);
    let mut left = chosen.room_bytes;
    pieces.retain(|(_, piece)| {
        let size = copied_bytes(&piece.extent, config);
        let fits = size <= left;
        left -= if fits { size } else { 0 };
        fits
    });
    pieces.sort_by_key(|(_, piece)| (piece.group, piece.extent.first));
    pieces.into_iter().map(|(_, piece)| piece).collect()
}

/// The live extents of the inputs, by group and index, each with its input's rank.
pub(super) fn all_pieces(directory: &Directory, inputs: &[u64]) -> Vec<(usize, Piece)> {
    let rank = |extent: &Extent| inputs.iter().position(|input| *input == extent.segment);
    let mut pieces = Vec::new();
    for (id, group) in &directory.groups {
        for extent in &group.extents {
            if let Some(rank) = rank(extent)
                && let Some(state) = directory.segments.get(&extent.segment)
            {
                let piece = Piece {
                    group: *id,
                    replica: group.replica,
                    extent: *extent,
                    segment: Arc::clone(&state.segment),
                    footer_at: state.footer_at,
                };
                pieces.push((rank, piece));
            }
        }
    }
    pieces
}
