//! What a folder does to the file system, call by call, so that a test can end a process before each of them.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, syncfs};

pub(super) const PAGE_BYTES: usize = 4096;

/// The calls that leave something behind. What is read is read directly.
pub(super) trait Files: Debug + Send + Sync {
    /// Makes a file that was not there, to be written past the page cache where that can be.
    fn create(&self, path: &Path) -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let direct = OFlags::DIRECT.bits().cast_signed();
        match options.clone().custom_flags(direct).open(path) {
            // Some make the file before they refuse the flag.
            Err(why) if why.kind() == ErrorKind::InvalidInput => {
                let _ = fs::remove_file(path);
                options.open(path)
            }
            made => made,
        }
    }

    /// Adds bytes to a file. They lie at the beginning of a page of memory; less than whole pages are the last ones.
    fn write(&self, file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
        if !bytes.len().is_multiple_of(PAGE_BYTES) {
            write_by_cache(file)?;
        }
        match file.write_all(bytes) {
            Err(why) if why.kind() == ErrorKind::InvalidInput && is_direct(file)? => {
                write_by_cache(file)?;
                file.write_all(bytes)
            }
            done => done,
        }
    }

    /// The bytes of a file are durable; its name may not be.
    fn sync(&self, file: &File) -> std::io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        fs::remove_file(path)
    }

    /// Makes a folder, unless it is there.
    fn make_folder(&self, path: &Path) -> std::io::Result<()> {
        match fs::create_dir(path) {
            Err(why) if why.kind() != ErrorKind::AlreadyExists => Err(why),
            _ => Ok(()),
        }
    }

    /// The names in a folder are durable.
    fn sync_folder(&self, path: &Path) -> std::io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// Everything that can be seen in the file system of this folder is durable.
    fn sync_all(&self, path: &Path) -> std::io::Result<()> {
        Ok(syncfs(File::open(path)?)?)
    }
}

/// Whether what is written to it goes past the page cache.
pub(super) fn is_direct(file: &File) -> std::io::Result<bool> {
    Ok(fcntl_getfl(file)?.contains(OFlags::DIRECT))
}

fn write_by_cache(file: &File) -> std::io::Result<()> {
    Ok(fcntl_setfl(file, fcntl_getfl(file)? - OFlags::DIRECT)?)
}

/// Those of the operating system.
#[derive(Debug)]
pub(super) struct System;

impl Files for System {}
