//! Opening a data directory: format an empty one, recover any other.

use crate::checkpoint::{self, Point, Slots};
use crate::commit::write_header;
use crate::config::Config;
use crate::directory::Directory;
use crate::disk::{Disk, File};
use crate::error::{Damage, Error};
use crate::format::format;
use crate::layout::{CLEANER_RESERVE, FORMATTING, META, is_ours, segment_name, segment_number};
use crate::log::{Log, Shared};
use crate::manifest::{Manifest, ManifestFiles, Named, SegmentRole};
use crate::meta::{self, META_BYTES, Meta};
use crate::mutant::{self, Mutant};
use crate::pages::{PAGE_BYTES, Pages, Pool};
use crate::parts::{NamedSegments, divide, fill_segments, highest_mark, log_segments};
use crate::record::{Identity, Recovery, Stats};
use crate::recovery::{Replay, Scan};
use crate::segment::{Segment, SegmentHeader, decode_header};
use crate::spares::{Spare, Spares, Taker};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Rewrites at most before a start takes its segment from the cleaner's reserve.
const CLEANINGS_AT_START: usize = 4;

/// Unused round buffers kept for the next rounds, in bytes.
pub(crate) const POOL_BYTES: usize = 32 << 20;

impl Log {
    /// Opens the log in a data directory; formats an empty directory. When it returns, everything that is told about
    /// the groups is durable.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when what was synced is not there (then nothing was changed), [`Error::WrongIdentity`],
    /// [`Error::UnknownVersion`], [`Error::Config`], [`Error::Io`], [`Error::Poisoned`]. Opening again is always safe.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: Config,
        identity: Identity,
    ) -> Result<(Self, Recovery), Error> {
        config.validate()?;
        let names = disk.list().map_err(|error| Error::io("list", ".", error))?;
        let (files, manifest) = ManifestFiles::open(&*disk, &names)?;
        let formatting = names.iter().any(|name| name == FORMATTING);
        match manifest {
            Some(manifest) => {
                if formatting {
                    remove_marker(&*disk)?;
                }
                let start = Start::read(disk, config, identity, files, manifest, &names)?;
                start.recover()
            }
            None if formatting || !names.iter().any(|name| is_ours(name)) => {
                format(disk, config, identity, &names)
            }
            None => {
                let why = "no valid manifest, though the directory holds a log";
                Err(Damage::new("manifest-0", 0, why).into())
            }
        }
    }
}

pub(crate) fn remove_marker(disk: &dyn Disk) -> Result<(), Error> {
    disk.remove(FORMATTING)
        .map_err(|error| Error::io("remove", FORMATTING, error))?;
    disk.sync_directory()
        .map_err(|error| Error::io("sync", ".", error))
}

/// Everything that is read before anything is decided.
struct Start {
    disk: Arc<dyn Disk>,
    config: Config,
    identity: Identity,
    files: ManifestFiles,
    manifest: Manifest,
    meta: Meta,
    slots: Slots,
    spares: Spares,
    named: NamedSegments,
    file_count: u64,
}

impl Start {
    fn read(
        disk: Arc<dyn Disk>,
        config: Config,
        identity: Identity,
        files: ManifestFiles,
        manifest: Manifest,
        names: &[String],
    ) -> Result<Self, Error> {
        let identity = check_identity(identity, &manifest, &config)?;
        if !names.iter().any(|name| name == META) {
            return Err(Damage::new(META, 0, "missing").into());
        }
        let meta_file = disk
            .open(META)
            .map_err(|error| Error::io("open", META, error))?;
        // Cut short by somebody: the copies that are left count, and the next mark needs its place.
        meta_file
            .allocate(META_BYTES)
            .map_err(|error| Error::io("allocate", META, error))?;
        let mark = meta::read(&*meta_file, identity.directory)
            .ok_or_else(|| Error::from(Damage::new(META, 0, "no copy is valid")))?;
        let stale = mark.manifest > manifest.version;
        if stale && !mutant::on(Mutant::StaleManifestAccepted) {
            let why = format!(
                "stale: version {}, but version {} was the truth",
                manifest.version, mark.manifest
            );
            return Err(Damage::new("manifest", 0, why).into());
        }
        let meta = Meta {
            file: meta_file,
            directory: identity.directory,
            mark,
        };
        let slots = Slots::open(&*disk, names)?;
        let mut start = Self {
            disk,
            config,
            identity,
            files,
            manifest,
            meta,
            slots,
            spares: Spares::default(),
            named: BTreeMap::new(),
            file_count: 0,
        };
        start.open_segments(names)?;
        Ok(start)
    }

    /// Opens every segment file and holds its header against the manifest.
    fn open_segments(&mut self, names: &[String]) -> Result<(), Error> {
        for named in &self.manifest.segments {
            let name = segment_name(named.number);
            if !names.contains(&name) {
                return Err(Damage::new(&name, 0, "named by the manifest, but missing").into());
            }
        }
        for name in names {
            let Some(number) = segment_number(name) else {
                continue;
            };
            self.file_count += 1;
            self.spares.next_number = self.spares.next_number.max(number + 1);
            let file = self
                .disk
                .open(name)
                .map_err(|error| Error::io("open", name, error))?;
            let named = self
                .manifest
                .segments
                .iter()
                .find(|named| named.number == number)
                .copied();
            match named {
                Some(named) => self.open_named(name, file, named)?,
                None => self.open_spare(name, file, number)?,
            }
        }
        Ok(())
    }

    fn open_named(&mut self, name: &str, file: Arc<dyn File>, named: Named) -> Result<(), Error> {
        let size = file
            .size()
            .map_err(|error| Error::io("measure", name, error))?;
        if size != self.config.segment_bytes {
            let why = format!("{size} bytes instead of {}", self.config.segment_bytes);
            return Err(Damage::new(name, size, why).into());
        }
        let header = self.header(name, &*file)?;
        let may_be_older = matches!(named.state, SegmentRole::Prepared | SegmentRole::Output);
        match header {
            Some(header) if (header.sequence, header.seed) == (named.sequence, named.seed) => {}
            Some(header) if may_be_older && header.sequence < named.sequence => {}
            // The manifest knows sequence and seed as well: both copies may be damaged and every round still readable.
            None if may_be_older => {}
            None => tracing::error!(name, "both copies of the segment's header are damaged"),
            Some(header) => {
                let why = format!(
                    "life {} instead of {}: the manifest is stale",
                    header.sequence, named.sequence
                );
                return Err(Damage::new(name, 0, why).into());
            }
        }
        let segment = Segment::new(named.number, named.sequence, named.seed, file);
        self.named.insert(named.sequence, (segment, named.state));
        Ok(())
    }

    fn open_spare(&mut self, name: &str, file: Arc<dyn File>, number: u64) -> Result<(), Error> {
        let size = file
            .size()
            .map_err(|error| Error::io("measure", name, error))?;
        let bytes = self.config.segment_bytes;
        let mut zeroed = self.manifest.zeroed.contains(&number);
        if size == bytes {
            self.header(name, &*file)?;
        } else {
            // Its making was cut short: nothing was ever written to it.
            zeroed = false;
            if size > bytes || file.allocate(bytes).is_err() {
                self.disk
                    .remove(name)
                    .map_err(|error| Error::io("remove", name, error))?;
                self.file_count -= 1;
                return Ok(());
            }
        }
        self.spares.put(Spare {
            number,
            file,
            zeroed,
        });
        Ok(())
    }

    /// A segment's header, if it is a life of this directory. A sequence never given out proves the manifest stale.
    fn header(&self, name: &str, file: &dyn File) -> Result<Option<SegmentHeader>, Error> {
        let mut pages = Pages::zeroed(2 * PAGE_BYTES);
        if let Err(error) = file.read_at(0, &mut pages) {
            tracing::error!(name, %error, "a segment's header cannot be read");
            return Ok(None);
        }
        let Some(header) = decode_header(name, &pages)? else {
            return Ok(None);
        };
        if header.identity.directory != self.identity.directory {
            return Err(Damage::new(name, 0, "belongs to another data directory").into());
        }
        let unknown = header.sequence >= self.manifest.next_sequence;
        if unknown && !mutant::on(Mutant::StaleManifestAccepted) {
            let why = format!(
                "life {} was never given out: the manifest is stale",
                header.sequence
            );
            return Err(Damage::new(name, 0, why).into());
        }
        Ok(Some(header))
    }

    fn recover(self) -> Result<(Log, Recovery), Error> {
        let mut directory = Directory {
            run_bytes_max: self.config.run_bytes_max,
            ..Directory::default()
        };
        let id = self.identity.directory;
        let point = checkpoint::load(&self.slots, &self.manifest.chain, id, &mut directory)?;
        fill_segments(&self.named, &mut directory);
        if let Some(sequence) = directory.account_all() {
            let why = format!("refers to segment {sequence}, which the manifest does not name");
            return Err(Damage::new("checkpoint", 0, why).into());
        }
        let segments = log_segments(&self.named, point)?;
        let mark = highest_mark(&self.named, self.meta.mark.round, point);
        for log in segments.iter().filter(|log| log.sealed_end.is_none()) {
            let failed = |error| Error::io("sync", &log.segment.name(), error);
            // What a crashed process left in the page cache is either made durable now or seen to be lost.
            log.segment.file.sync().map_err(failed)?;
            if !mutant::on(Mutant::CacheBelieved) {
                log.segment.file.evict().map_err(failed)?;
            }
        }
        let replay = Replay {
            directory: &mut directory,
            point,
            manifest: self.manifest.version,
            mark,
            segment_bytes: self.config.segment_bytes,
            scan: Scan::default(),
        };
        let scan = replay.run(&segments)?;
        // Pins: what the first cleaning frees is to be used at once.
        drop(segments);
        let unclean = !self.manifest.clean
            || scan.rounds_replayed > 0
            || scan.torn.is_some()
            || !scan.damages.is_empty();
        let recovery = recovery_of(&directory, &scan, unclean);
        let log = self.into_log(directory, point, &scan, unclean)?;
        Ok((log, recovery))
    }

    /// Builds the log around what was read.
    fn into_log(
        self,
        mut directory: Directory,
        point: Point,
        scan: &Scan,
        unclean: bool,
    ) -> Result<Log, Error> {
        let last = scan.last.unwrap_or((point.round, point.crc));
        let parts = divide(&self.named, &mut directory, point, scan, last);
        drop(self.named);
        let mut spares = self.spares;
        for segment in parts.unused {
            let file = Arc::clone(&segment.file);
            spares.put(Spare {
                number: segment.number,
                file,
                zeroed: false,
            });
        }
        let number = self.manifest.chain.last().map_or(0, |(_, number)| *number);
        let now = self.disk.elapsed();
        let mut log = Log {
            shared: Shared::new(directory, &self.config),
            pool: Pool::new(POOL_BYTES),
            open: parts.open,
            full: parts.full,
            prepared: parts.prepared,
            outputs: Vec::new(),
            donated: BTreeMap::new(),
            healed_segment: None,
            nothing_to_clean: None,
            sealed: parts.sealed,
            spares,
            last_round: last.0,
            last_crc: last.1,
            last_round_bytes: 0,
            idle: !unclean,
            manifests: self.files,
            manifest_version: self.manifest.version,
            next_sequence: self.manifest.next_sequence,
            slots: self.slots,
            chain: self.manifest.chain,
            chain_before: Vec::new(),
            checkpoint_number: number,
            checkpoint_due: unclean,
            whole_next: unclean,
            last_resort: false,
            checkpoint_at: now,
            meta: Arc::new(Mutex::new(self.meta)),
            meta_at: now,
            urgent: None,
            leisure: None,
            zeroing: None,
            spares_rest_until: std::time::Duration::ZERO,
            filled_at: now,
            files: self.file_count,
            free_bytes: 0,
            counters: Stats::default(),
            poisoned: None,
            disk: self.disk,
            config: self.config,
            identity: self.identity,
        };
        for segment in &scan.damaged {
            log.shared.quarantine().note_segment(*segment);
        }
        log.look_at_free_bytes();
        log.start(unclean)?;
        Ok(log)
    }
}

impl Log {
    /// The first commit of this life. After a clean stop the log goes on where it was. Otherwise what was read is made
    /// durable and sealed, and the log goes on in a new segment: no page is written twice.
    fn start(&mut self, unclean: bool) -> Result<(), Error> {
        if let Some(next) = &self.prepared {
            // The crash may have come between the manifest and the header.
            write_header(next, self.identity, self.config.segment_bytes)
                .map_err(|error| self.poison("write a segment's header", &error))?;
        }
        if !unclean {
            return self.commit(false);
        }
        let read = self
            .full
            .iter()
            .map(|full| &full.segment)
            .chain([&self.open.segment]);
        let files: Vec<Arc<dyn File>> = read.map(|segment| Arc::clone(&segment.file)).collect();
        for file in files {
            file.sync()
                .map_err(|error| self.poison("sync what was recovered", &error))?;
        }
        self.prepare_segment_at_start()?;
        if !mutant::on(Mutant::TailGoesOn) {
            self.roll(Taker::Housekeeping)?;
        }
        self.finish_urgent()
    }
}

impl Log {
    /// Every unclean start takes a segment. Before that comes out of what the cleaner needs, the cleaner makes room:
    /// starts that follow each other quickly would use up all there is, and the last could not write a word.
    fn prepare_segment_at_start(&mut self) -> Result<(), Error> {
        for _ in 0..CLEANINGS_AT_START {
            let enough = self.prepared.is_some() || self.spares.len() > CLEANER_RESERVE;
            if enough || self.may_create() || !self.clean_here()? {
                break;
            }
        }
        for taker in [Taker::Housekeeping, Taker::Cleaner] {
            if self.prepared.is_none() {
                self.prepare_segment(taker)?;
            }
        }
        Ok(())
    }
}

fn recovery_of(directory: &Directory, scan: &Scan, unclean: bool) -> Recovery {
    Recovery {
        groups: directory
            .groups
            .iter()
            .map(|(id, group)| group.recovered(*id))
            .collect(),
        torn: scan.torn.clone(),
        unclean,
        damages: scan.damages.clone(),
        suspect: directory.suspect,
        rounds_replayed: scan.rounds_replayed,
        bytes_read: scan.bytes_read,
        removed: directory
            .removed
            .iter()
            .map(|(group, replica)| (*group, *replica))
            .collect(),
        formatted: false,
    }
}

/// Whose directory it is; a cluster that was not known when it was formatted is taken over.
fn check_identity(
    given: Identity,
    manifest: &Manifest,
    config: &Config,
) -> Result<Identity, Error> {
    let found = manifest.identity;
    let wrong = |what: &str, expected: String, found: String| Error::WrongIdentity {
        expected: format!("{what} {expected}"),
        found: format!("{what} {found}"),
    };
    if found.directory != given.directory {
        let (expected, found) = (given.directory.to_string(), found.directory.to_string());
        return Err(wrong("directory", expected, found));
    }
    if found.node != given.node {
        return Err(wrong(
            "node",
            given.node.to_string(),
            found.node.to_string(),
        ));
    }
    if found.cluster != 0 && given.cluster != 0 && found.cluster != given.cluster {
        let (expected, found) = (given.cluster, found.cluster);
        return Err(wrong(
            "cluster",
            format!("{expected:032x}"),
            format!("{found:032x}"),
        ));
    }
    if manifest.segment_bytes != config.segment_bytes {
        return Err(Error::Config(
            "segment_bytes differs from what the directory was made with",
        ));
    }
    Ok(Identity {
        cluster: found.cluster.max(given.cluster),
        ..given
    })
}
