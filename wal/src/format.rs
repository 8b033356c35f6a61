//! Formatting an empty data directory. The marker comes first and goes last: a format that was cut short is begun
//! again, a directory that lost its manifests is not.

use crate::checkpoint::Slots;
use crate::commit::write_header;
use crate::config::Config;
use crate::directory::{Directory, SegmentState};
use crate::disk::Disk;
use crate::error::Error;
use crate::layout::{
    CLEANER_RESERVE, DATA_START, FORMATTING, HOUSEKEEPING_RESERVE, META, is_ours, segment_name,
};
use crate::log::{Log, OpenSegment, Shared};
use crate::manifest::ManifestFiles;
use crate::meta::{META_BYTES, Mark, Meta};
use crate::open::{POOL_BYTES, remove_marker};
use crate::pages::{PAGE_BYTES, Pool};
use crate::record::{Identity, Recovery, Stats};
use crate::segment::Segment;
use crate::spares::{Spare, Spares, Taker};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Formats an empty directory, or one whose formatting was cut short.
pub(crate) fn format(
    disk: Arc<dyn Disk>,
    config: Config,
    identity: Identity,
    names: &[String],
) -> Result<(Log, Recovery), Error> {
    let io = |doing, name: &str| {
        let name = name.to_owned();
        move |error| Error::io(doing, &name, error)
    };
    if !names.iter().any(|name| name == FORMATTING) {
        let marker = disk
            .create(FORMATTING, PAGE_BYTES as u64)
            .map_err(io("create", FORMATTING))?;
        marker.sync().map_err(io("sync", FORMATTING))?;
    }
    disk.sync_directory().map_err(io("sync", "."))?;
    for name in names
        .iter()
        .filter(|name| is_ours(name) || name.ends_with(".new"))
    {
        disk.remove(name).map_err(io("remove", name))?;
    }
    let file = disk.create(META, META_BYTES).map_err(io("create", META))?;
    let mut meta = Meta {
        file,
        directory: identity.directory,
        mark: Mark::default(),
    };
    for generation in 1..=2 {
        meta.write(Mark {
            generation,
            ..Mark::default()
        })
        .map_err(io("write", META))?;
    }
    let mut slots = Slots::default();
    slots
        .reserve(&*disk, (config.segment_bytes / 64).max(64 << 10))
        .map_err(io("create", "checkpoint"))?;
    let mut spares = Spares::default();
    let count = 2 + CLEANER_RESERVE + HOUSEKEEPING_RESERVE;
    for number in 0..count as u64 {
        let name = segment_name(number);
        let file = disk
            .create(&name, config.segment_bytes)
            .map_err(io("create", &name))?;
        file.sync().map_err(io("sync", &name))?;
        spares.put(Spare {
            number,
            file,
            zeroed: false,
        });
    }
    disk.sync_directory().map_err(io("sync", "."))?;
    let first = spares
        .take(Taker::Entries)
        .expect("the pool holds more than its reserves");
    let segment = Segment::of_spare(first, 1, disk.random());
    write_header(&segment, identity, config.segment_bytes).map_err(io("write", "segment"))?;
    let mut directory = Directory {
        run_bytes_max: config.run_bytes_max,
        ..Directory::default()
    };
    directory
        .segments
        .insert(1, SegmentState::open(Arc::clone(&segment)));
    let mut log = Log {
        shared: Shared::new(directory, &config),
        pool: Pool::new(POOL_BYTES),
        open: OpenSegment::at(segment, DATA_START),
        full: VecDeque::new(),
        prepared: None,
        outputs: Vec::new(),
        donated: BTreeMap::new(),
        healed_segment: None,
        nothing_to_clean: None,
        sealed: BTreeMap::new(),
        spares,
        last_round: 0,
        last_crc: 0,
        last_round_bytes: 0,
        idle: true,
        manifests: ManifestFiles::none(),
        manifest_version: 0,
        next_sequence: 2,
        slots,
        chain: Vec::new(),
        chain_before: Vec::new(),
        checkpoint_number: 0,
        checkpoint_due: true,
        whole_next: false,
        last_resort: false,
        checkpoint_at: disk.elapsed(),
        meta: Arc::new(Mutex::new(meta)),
        meta_at: disk.elapsed(),
        urgent: None,
        leisure: None,
        zeroing: None,
        spares_rest_until: std::time::Duration::ZERO,
        filled_at: disk.elapsed(),
        files: count as u64,
        free_bytes: 0,
        counters: Stats::default(),
        poisoned: None,
        disk,
        config,
        identity,
    };
    log.look_at_free_bytes();
    log.finish_urgent()?;
    // Both slots hold a version before the marker goes.
    log.commit(false)?;
    remove_marker(&*log.disk)?;
    Ok((
        log,
        Recovery {
            formatted: true,
            ..Recovery::default()
        },
    ))
}
