//! What a folder does to the file system, call by call, so that a test can end a process before each of them.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use rustix::fs::syncfs;

/// The calls that leave something behind. What is read is read directly.
pub(super) trait Files: Debug + Send + Sync {
    /// Makes a file that was not there.
    fn create(&self, path: &Path) -> std::io::Result<File> {
        File::create_new(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
        file.write_all(bytes)
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

/// Those of the operating system.
#[derive(Debug)]
pub(super) struct System;

impl Files for System {}
