//! The manifest: which checkpoint is the truth and which file is which segment. The one commit point for preparing,
//! sealing, cleaning and recycling. Two slots are written in turn; the highest valid version counts.

use crate::blob::{self, Blob, BlobKind};
use crate::codec::{Decoder, Encode};
use crate::disk::{Disk, File};
use crate::error::{Damage, Error};
use crate::layout::MANIFESTS;
use crate::pages::PAGE_BYTES;
use crate::record::Identity;
use raft::types::NodeId;
use std::io;
use std::sync::Arc;

/// What the manifest says about one named segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The file's number.
    pub(crate) number: u64,
    pub(crate) sequence: u64,
    pub(crate) seed: u64,
    pub(crate) state: SegmentRole,
}

/// What a named segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentRole {
    /// Next in line: its header may not be written yet, rounds may have gone into it since.
    Prepared,
    /// Taken for the cleaner's output; nothing refers to it yet.
    Output,
    /// Holds rounds; its header has been synced.
    Open,
    /// Takes no more rounds.
    Sealed(Sealed),
}

/// What is known of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Sealed {
    /// Where its last round ends.
    pub(crate) end: u64,
    /// Its last round (or the one before it, if it has none).
    pub(crate) last_round: u64,
    /// That round's checksum: the chain goes on from it in the next segment.
    pub(crate) last_crc: u32,
    /// Where the footer begins; it reaches to the end of the file.
    pub(crate) footer_at: u64,
    /// Runs in it.
    pub(crate) runs: u32,
    /// Whether the cleaner wrote it: then it is no part of the sequence of rounds.
    pub(crate) cleaned: bool,
}

/// One version of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Manifest {
    pub(crate) version: u64,
    pub(crate) identity: Identity,
    pub(crate) segment_bytes: u64,
    /// Sequences from here on have never been given out.
    pub(crate) next_sequence: u64,
    /// Whether the log was closed after the checkpoint and nothing was written since.
    pub(crate) clean: bool,
    /// The checkpoint chain: (slot, number), the whole one first.
    pub(crate) chain: Vec<(u64, u64)>,
    pub(crate) segments: Vec<Named>,
    /// Files of spares that were written before.
    pub(crate) zeroed: Vec<u64>,
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u128(self.identity.cluster);
        out.put_i32(self.identity.node.0);
        out.put_u64(self.segment_bytes);
        out.put_u64(self.next_sequence);
        out.put_u8(u8::from(self.clean));
        out.put_len(self.chain.len());
        for (slot, number) in &self.chain {
            out.put_u64(*slot);
            out.put_u64(*number);
        }
        out.put_len(self.segments.len());
        for named in &self.segments {
            out.put_u64(named.number);
            out.put_u64(named.sequence);
            out.put_u64(named.seed);
            encode_role(named.state, &mut out);
        }
        out.put_len(self.zeroed.len());
        for number in &self.zeroed {
            out.put_u64(*number);
        }
        out
    }

    pub(crate) fn decode(blob: &Blob) -> Option<Self> {
        let mut from = Decoder::new(&blob.body);
        let mut manifest = Self {
            version: blob.number,
            identity: Identity {
                cluster: from.u128()?,
                node: NodeId(from.i32()?),
                directory: blob.directory,
            },
            segment_bytes: from.u64()?,
            next_sequence: from.u64()?,
            clean: from.u8()? != 0,
            ..Self::default()
        };
        for _ in 0..from.count(16)? {
            manifest.chain.push((from.u64()?, from.u64()?));
        }
        for _ in 0..from.count(25)? {
            manifest.segments.push(Named {
                number: from.u64()?,
                sequence: from.u64()?,
                seed: from.u64()?,
                state: decode_role(&mut from)?,
            });
        }
        for _ in 0..from.count(8)? {
            manifest.zeroed.push(from.u64()?);
        }
        from.is_empty().then_some(manifest)
    }
}

fn encode_role(role: SegmentRole, out: &mut Vec<u8>) {
    match role {
        SegmentRole::Prepared => out.put_u8(1),
        SegmentRole::Output => out.put_u8(2),
        SegmentRole::Open => out.put_u8(3),
        SegmentRole::Sealed(sealed) => {
            out.put_u8(if sealed.cleaned { 5 } else { 4 });
            out.put_u64(sealed.end);
            out.put_u64(sealed.last_round);
            out.put_u32(sealed.last_crc);
            out.put_u64(sealed.footer_at);
            out.put_u32(sealed.runs);
        }
    }
}

fn decode_role(from: &mut Decoder<'_>) -> Option<SegmentRole> {
    Some(match from.u8()? {
        1 => SegmentRole::Prepared,
        2 => SegmentRole::Output,
        3 => SegmentRole::Open,
        role @ (4 | 5) => SegmentRole::Sealed(Sealed {
            end: from.u64()?,
            last_round: from.u64()?,
            last_crc: from.u32()?,
            footer_at: from.u64()?,
            runs: from.u32()?,
            cleaned: role == 5,
        }),
        _ => return None,
    })
}

/// A slot's size at least, as a part of a segment: room for 20,000 segments of the default size, so that no manifest
/// needs a larger file on a disk that others have filled up meanwhile.
const RESERVED_SHARE: u64 = 64;

/// The two slots.
pub(crate) struct ManifestFiles {
    files: [Option<Arc<dyn File>>; 2],
}

impl ManifestFiles {
    /// Before the first version.
    pub(crate) fn none() -> Self {
        Self {
            files: [None, None],
        }
    }

    /// Opens what is there and returns the newest valid version. A version that a crash left written but not synced is
    /// made durable before it is believed.
    pub(crate) fn open(
        disk: &dyn Disk,
        names: &[String],
    ) -> Result<(Self, Option<Manifest>), Error> {
        let mut newest: Option<Manifest> = None;
        let mut files = [None, None];
        for (slot, name) in MANIFESTS.into_iter().enumerate() {
            if !names.iter().any(|found| found == name) {
                continue;
            }
            let file = disk
                .open(name)
                .map_err(|error| Error::io("open", name, error))?;
            if let Some(blob) = blob::read(&*file, name, BlobKind::Manifest)? {
                let manifest = Manifest::decode(&blob).ok_or_else(|| {
                    Error::Corrupt(Damage::new(name, 0, "valid checksum, senseless content"))
                })?;
                if newest
                    .as_ref()
                    .is_none_or(|newest| newest.version < manifest.version)
                {
                    newest = Some(manifest);
                }
            }
            file.sync()
                .map_err(|error| Error::io("sync", name, error))?;
            files[slot] = Some(file);
        }
        Ok((Self { files }, newest))
    }

    /// Writes a version into its slot. When it returns the version is the truth.
    pub(crate) fn write(&mut self, disk: &dyn Disk, manifest: &Manifest) -> io::Result<()> {
        let slot = usize::try_from(manifest.version % 2).expect("0 or 1");
        let body = manifest.encode();
        let large_enough = match &self.files[slot] {
            Some(file) => blob::fits(file.size()?, body.len()),
            None => false,
        };
        let blob = Blob {
            number: manifest.version,
            directory: manifest.identity.directory,
            body,
        };
        if !large_enough {
            let least = manifest.segment_bytes / RESERVED_SHARE;
            return self.write_larger(disk, slot, &blob, least);
        }
        let file = self.files[slot].as_ref().expect("checked above");
        blob::write(&**file, BlobKind::Manifest, &blob)
    }

    /// The slot's file is missing or too small: a new one takes its name once it is whole.
    fn write_larger(
        &mut self,
        disk: &dyn Disk,
        slot: usize,
        blob: &Blob,
        least: u64,
    ) -> io::Result<()> {
        let new_name = format!("{}.new", MANIFESTS[slot]);
        match disk.remove(&new_name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let least = least.next_multiple_of(2 * PAGE_BYTES as u64);
        let bytes = blob::file_bytes(blob.body.len()).max(least).max(16 << 10);
        let file = disk.create(&new_name, bytes)?;
        blob::write(&*file, BlobKind::Manifest, blob)?;
        disk.rename(&new_name, MANIFESTS[slot])?;
        disk.sync_directory()?;
        self.files[slot] = Some(file);
        Ok(())
    }
}
