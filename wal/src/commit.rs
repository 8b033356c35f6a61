//! Commits on the log thread: the manifest, the next segment, the meta file, the clean stop.

use crate::error::{Error, is_full};
use crate::jobs::create_spare;
use crate::log::Log;
use crate::manifest::{Manifest, Named, Sealed, SegmentRole};
use crate::record::Identity;
use crate::segment::{Segment, SegmentHeader, encode_header};
use crate::spares::{Spare, Taker};
use std::io;
use std::sync::{Arc, PoisonError};

impl Log {
    /// Names the next segment, if there is a file for it. Its header is written after the manifest.
    fn name_next(&mut self, taker: Taker) -> bool {
        let Some(spare) = self.spares.take(taker) else {
            return false;
        };
        self.prepared = Some(self.new_life(spare));
        true
    }

    /// Gives a file a sequence and a seed.
    pub(crate) fn new_life(&mut self, spare: Spare) -> Arc<Segment> {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Segment::of_spare(spare, sequence, self.disk.random())
    }

    /// Makes a next segment ready here and now, if there is room for one.
    pub(crate) fn prepare_segment(&mut self, taker: Taker) -> Result<(), Error> {
        // A new file fills up the reserves before anybody may take it.
        while self.spares.free() == 0 {
            self.look_at_free_bytes();
            if !self.may_create() {
                break;
            }
            let number = self.spares.next_number;
            self.spares.next_number += 1;
            match create_spare(&*self.disk, number, self.config.segment_bytes) {
                Ok(spare) => {
                    self.files += 1;
                    self.spares.put(spare);
                }
                Err(error) if is_full(&error) => break,
                Err(error) => return Err(self.poison("make a segment", &error)),
            }
        }
        if self.name_next(taker) {
            self.commit_named(false, true)
        } else {
            Ok(())
        }
    }

    /// Writes one manifest version: the truth from then on. Names a next segment if there is none.
    pub(crate) fn commit(&mut self, clean: bool) -> Result<(), Error> {
        let named = self.prepared.is_none() && self.name_next(Taker::Entries);
        self.commit_named(clean, named)
    }

    fn commit_named(&mut self, clean: bool, named: bool) -> Result<(), Error> {
        if self.chain.is_empty() {
            return Err(self.poison("write the manifest", &"there is no checkpoint to name"));
        }
        let manifest = self.manifest(clean);
        let disk = Arc::clone(&self.disk);
        self.manifests
            .write(&*disk, &manifest)
            .map_err(|error| self.poison("write the manifest", &error))?;
        self.manifest_version = manifest.version;
        self.counters.syncs_manifest += 1;
        if named && let Some(segment) = self.prepared.clone() {
            write_header(&segment, self.identity, self.config.segment_bytes)
                .map_err(|error| self.poison("write a segment's header", &error))?;
            self.counters.syncs_segment += 1;
        }
        self.advance_meta()
    }

    pub(crate) fn advance_meta(&mut self) -> Result<(), Error> {
        self.meta_at = self.disk.elapsed();
        let meta = Arc::clone(&self.meta);
        let result = meta
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .advance(self.last_round, self.manifest_version);
        let wrote = result.map_err(|error| self.poison("write the meta file", &error))?;
        self.counters.syncs_meta += u64::from(wrote);
        Ok(())
    }

    fn manifest(&self, clean: bool) -> Manifest {
        let directory = self.shared.read();
        let named = |segment: &Segment, state| Named {
            number: segment.number,
            sequence: segment.sequence,
            seed: segment.seed,
            state,
        };
        let mut segments: Vec<Named> = directory
            .segments
            .values()
            .map(|state| {
                let sealed: Option<&Sealed> = self.sealed.get(&state.segment.sequence);
                let role = sealed.map_or(SegmentRole::Open, |sealed| SegmentRole::Sealed(*sealed));
                named(&state.segment, role)
            })
            .collect();
        segments.extend(
            self.prepared
                .iter()
                .map(|next| named(next, SegmentRole::Prepared)),
        );
        segments.extend(
            self.outputs
                .iter()
                .map(|output| named(output, SegmentRole::Output)),
        );
        Manifest {
            version: self.manifest_version + 1,
            identity: self.identity,
            segment_bytes: self.config.segment_bytes,
            next_sequence: self.next_sequence,
            clean,
            chain: self.chain.clone(),
            segments,
            zeroed: self.spares.zeroed(),
        }
    }

    /// Stops cleanly: everything into a last checkpoint, so that the next start replays nothing.
    ///
    /// # Errors
    /// [`Error::Poisoned`]. Nothing that was acknowledged is lost by it.
    pub fn close(mut self) -> Result<(), Error> {
        self.check()?;
        self.finish_leisure()?;
        self.checkpoint_due = true;
        self.finish_urgent()?;
        self.commit(true)
    }
}

/// Writes a segment's header and syncs it, before the first round goes in.
pub(crate) fn write_header(
    segment: &Segment,
    identity: Identity,
    segment_bytes: u64,
) -> io::Result<()> {
    let (sequence, seed) = (segment.sequence, segment.seed);
    let pages = encode_header(&SegmentHeader {
        identity,
        sequence,
        seed,
        segment_bytes,
    });
    segment.file.write_at(0, &pages)?;
    segment.file.sync()
}
