//! A folder as a store: local to a broker, or shared by all.
//!
//! An object is written under a temporary name, synced, and then linked or renamed to its own; the folder is synced
//! before anybody is told. Conditional writes of one object take a lock on the store's lock file, so that they are atomic
//! between processes too.
//!
//! What an earlier process made and did not live to sync can be seen, and yet may be gone after the next loss of power: no
//! folder and no name is relied upon before this process, too, has synced it.

mod files;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Condition, Error, Later, Listed, Store, Upload, Version};
use crate::digest::Digest;
use crate::key::Key;
use files::{Files, System};

/// What is being written. No object's name begins with a point.
const TEMPORARY: &str = ".writing";
const LOCK: &str = ".lock";
/// So old, what is being written has been given up.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// So many folders are remembered as durable; then all are synced once more.
const KNOWN_MAX: usize = 4096;

/// See the module.
#[derive(Clone, Debug)]
pub struct Folder {
    root: Arc<Path>,
    files: Arc<dyn Files>,
    /// Folders whose names this process has synced.
    known: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Folder {
    /// Opens a folder, and makes it when it is not there. What a process that died was writing is removed once it is a
    /// day old. All that is seen afterwards is durable, but for what others write meanwhile.
    ///
    /// # Errors
    /// When it cannot be made, read, cleaned up or synced.
    pub fn open(root: &Path) -> std::io::Result<Self> {
        Self::open_with(root, Arc::new(System))
    }

    /// Opens a folder that no other process writes to: whatever was being written was given up.
    ///
    /// # Errors
    /// When it cannot be made, read, cleaned up or synced.
    pub fn open_own(root: &Path) -> std::io::Result<Self> {
        Self::open_own_with(root, Arc::new(System))
    }

    fn open_with(root: &Path, files: Arc<dyn Files>) -> std::io::Result<Self> {
        let root = std::path::absolute(root)?;
        let temporary = root.join(TEMPORARY);
        let folder = Self {
            root: root.into(),
            files,
            known: Arc::default(),
        };
        folder.make_folders(&temporary)?;
        for entry in fs::read_dir(&temporary)? {
            match folder.remove_if_old(&entry?) {
                // Another process finished it meanwhile.
                Err(why) if why.kind() == ErrorKind::NotFound => {}
                done => done?,
            }
        }
        folder.files.sync_all(&folder.root)?;
        Ok(folder)
    }

    fn open_own_with(root: &Path, files: Arc<dyn Files>) -> std::io::Result<Self> {
        let folder = Self::open_with(root, files)?;
        for entry in fs::read_dir(folder.root.join(TEMPORARY))? {
            folder.files.remove(&entry?.path())?;
        }
        Ok(folder)
    }

    fn remove_if_old(&self, entry: &fs::DirEntry) -> std::io::Result<()> {
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > ABANDONED_AFTER {
            self.files.remove(&entry.path())?;
        }
        Ok(())
    }

    /// Makes a folder and those above it, each synced into the one above it.
    fn make_folders(&self, folder: &Path) -> std::io::Result<()> {
        let is_ours = folder.starts_with(&self.root);
        let is_known = |known: &mut HashSet<PathBuf>| !is_ours || known.contains(folder);
        if self.with_known(is_known) && folder.is_dir() {
            return Ok(());
        }
        let Some(above) = folder.parent() else {
            return Ok(());
        };
        self.make_folders(above)?;
        self.files.make_folder(folder)?;
        match self.files.sync_folder(above) {
            // Made by somebody who may do more than this process.
            Err(why) if why.kind() == ErrorKind::PermissionDenied && folder == &*self.root => {}
            synced => synced?,
        }
        self.with_known(|known| {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(folder.to_owned());
        });
        Ok(())
    }

    fn with_known<T>(&self, work: impl FnOnce(&mut HashSet<PathBuf>) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Runs blocking work where it may block.
    fn run<'a, T: Send + 'static>(
        &self,
        key: &Key,
        work: impl FnOnce(&Self) -> std::io::Result<T> + Send + 'static,
    ) -> Later<'a, T> {
        let (folder, key) = (self.clone(), key.clone());
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&folder)).await;
            done.map_err(std::io::Error::other)
                .flatten()
                .map_err(|why| error_of(&key, &why))
        })
    }

    /// Gives a temporary file its name.
    fn publish(&self, from: &Path, key: &Key, condition: &Condition) -> std::io::Result<()> {
        let to = self.path(key);
        let parent = to.parent().expect("an object lies in the store");
        self.make_folders(parent)?;
        match condition {
            Condition::None => self.files.rename(from, &to)?,
            // A link is made by one only, on every file system, also by two machines.
            Condition::Absent => {
                let linked = self.files.link(from, &to);
                if matches!(&linked, Err(why) if why.kind() == ErrorKind::AlreadyExists) {
                    // NB: who made it may have died before this.
                    self.files.sync_folder(parent)?;
                }
                linked?;
                self.files.remove(from)?;
            }
            Condition::Unchanged(version) => {
                let lock = OpenOptions::new()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .open(self.root.join(LOCK))?;
                flock(&lock, FlockOperation::LockExclusive)?;
                if version_of(&mut File::open(&to)?)? != *version {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                self.files.rename(from, &to)?;
            }
        }
        self.files.sync_folder(parent)
    }
}

impl Store for Folder {
    fn put<'a>(&'a self, key: &'a Key, body: Bytes, condition: Condition) -> Later<'a, Version> {
        let name = key.clone();
        self.run(key, move |folder| {
            let mut writing = Writing::begin(folder, &name)?;
            writing.write(&body)?;
            writing.finish(&condition)
        })
    }

    fn upload<'a>(&'a self, key: &'a Key) -> Later<'a, Box<dyn Upload>> {
        let name = key.clone();
        self.run(key, move |folder| {
            let writing = Some(Writing::begin(folder, &name)?);
            let upload: Box<dyn Upload> = Box::new(FolderUpload {
                folder: folder.clone(),
                key: name,
                writing,
            });
            Ok(upload)
        })
    }

    fn get<'a>(&'a self, key: &'a Key, bytes_max: usize) -> Later<'a, (Bytes, Version)> {
        let name = key.clone();
        let read = self.run(key, move |folder| {
            let mut file = File::open(folder.path(&name))?;
            let mut bytes = Vec::new();
            (&mut file)
                .take(bytes_max as u64 + 1)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        Box::pin(async move {
            let bytes = read.await?;
            if bytes.len() > bytes_max {
                return Err(Error::longer(key, bytes_max));
            }
            let version = Digest::of(&bytes).into();
            Ok((bytes.into(), version))
        })
    }

    fn range<'a>(&'a self, key: &'a Key, position: u64, length: usize) -> Later<'a, Bytes> {
        let name = key.clone();
        let read = self.run(key, move |folder| {
            let mut file = File::open(folder.path(&name))?;
            let end = file.metadata()?.len();
            if position
                .checked_add(length as u64)
                .is_none_or(|wanted| wanted > end)
            {
                return Ok(Err(end));
            }
            file.seek(SeekFrom::Start(position))?;
            let mut bytes = BytesMut::zeroed(length);
            file.read_exact(&mut bytes)?;
            Ok(Ok(bytes.freeze()))
        });
        Box::pin(async move {
            let read = read.await?;
            read.map_err(|end| Error::shorter(key, position, length, end))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Later<'a, Vec<Listed>> {
        let (folder, prefix, after) = (self.clone(), prefix.to_owned(), after.cloned());
        Box::pin(async move {
            let wanted = prefix.clone();
            let done = tokio::task::spawn_blocking(move || {
                let mut found = Vec::new();
                walk(&folder.root, &wanted, &mut found)?;
                found.sort_by(|a: &Listed, b| a.key.cmp(&b.key));
                found.retain(|listed| after.as_ref().is_none_or(|after| listed.key > *after));
                found.truncate(limit);
                Ok(found)
            });
            let done = done.await.map_err(std::io::Error::other).flatten();
            done.map_err(|why| Error::Unavailable {
                key: prefix,
                why: why.to_string(),
            })
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Later<'a, ()> {
        let name = key.clone();
        self.run(key, move |folder| {
            let path = folder.path(&name);
            match folder.files.remove(&path) {
                Err(why) if why.kind() == ErrorKind::NotFound => return Ok(()),
                done => done?,
            }
            let parent = path.parent().expect("an object lies in the store");
            folder.files.sync_folder(parent)
        })
    }
}

/// A temporary file that becomes an object, or is removed.
#[derive(Debug)]
struct Writing {
    folder: Folder,
    key: Key,
    path: PathBuf,
    file: File,
    hash: Sha256,
    /// Since the last sync.
    unsynced_bytes: usize,
}

/// A sync after so many bytes, so that the last one is short: whoever syncs something else on this disk meanwhile, a log,
/// would wait for all of it.
const SYNC_BYTES: usize = 2 << 20;

impl Writing {
    fn begin(folder: &Folder, key: &Key) -> std::io::Result<Self> {
        let path = folder.root.join(TEMPORARY).join(Uuid::new_v4().to_string());
        Ok(Self {
            file: folder.files.create(&path)?,
            folder: folder.clone(),
            key: key.clone(),
            path,
            hash: Sha256::new(),
            unsynced_bytes: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        for piece in bytes.chunks(SYNC_BYTES) {
            self.folder.files.write(&mut self.file, piece)?;
            self.unsynced_bytes += piece.len();
            if self.unsynced_bytes >= SYNC_BYTES {
                self.folder.files.sync(&self.file)?;
                self.unsynced_bytes = 0;
            }
        }
        Ok(())
    }

    fn finish(mut self, condition: &Condition) -> std::io::Result<Version> {
        self.folder.files.sync(&self.file)?;
        self.folder.publish(&self.path, &self.key, condition)?;
        let digest = Digest(std::mem::take(&mut self.hash).finalize().into());
        Ok(digest.into())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Gone already when it has its name. What stays is removed at a later start.
        let _ = self.folder.files.remove(&self.path);
    }
}

#[derive(Debug)]
struct FolderUpload {
    folder: Folder,
    key: Key,
    /// None while a write is under way, and after one that failed.
    writing: Option<Writing>,
}

impl Upload for FolderUpload {
    fn write(&mut self, bytes: Bytes) -> Later<'_, ()> {
        let taken = self.writing.take();
        let done = self.folder.run(&self.key, move |_| {
            let mut writing = taken.ok_or_else(broken)?;
            writing.write(&bytes)?;
            Ok(writing)
        });
        Box::pin(async move {
            self.writing = Some(done.await?);
            Ok(())
        })
    }

    fn finish(self: Box<Self>, condition: Condition) -> Later<'static, Version> {
        let Self {
            folder,
            key,
            writing,
        } = *self;
        folder.run(&key, move |_| {
            writing.ok_or_else(broken)?.finish(&condition)
        })
    }
}

fn broken() -> std::io::Error {
    std::io::Error::other("an earlier write of this upload failed or was given up")
}

fn error_of(key: &Key, why: &std::io::Error) -> Error {
    let (named, text) = (key.to_string(), why.to_string());
    match why.kind() {
        ErrorKind::NotFound => Error::NotFound(key.clone()),
        ErrorKind::AlreadyExists => Error::Conflict(key.clone()),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::Refused {
            key: named,
            why: text,
        },
        _ => Error::Unavailable {
            key: named,
            why: text,
        },
    }
}

fn version_of(file: &mut File) -> std::io::Result<Version> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    Ok(Digest(hash.finalize().into()).into())
}

/// Everything below the root whose name begins so.
fn walk(root: &Path, prefix: &str, found: &mut Vec<Listed>) -> std::io::Result<()> {
    let (folder, _) = prefix.rsplit_once('/').unwrap_or_default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Err(why) if why.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let name = if folder.is_empty() {
                name.to_owned()
            } else {
                format!("{folder}/{name}")
            };
            let metadata = match entry.metadata() {
                // Removed since.
                Err(why) if why.kind() == ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.is_dir() {
                folders.push(name);
            } else if name.starts_with(prefix)
                && let Some(key) = Key::parse(&name)
            {
                let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
                let modified_ms = modified.map_or(0, |since| since.as_millis());
                found.push(Listed {
                    key,
                    bytes: metadata.len(),
                    modified_ms: i64::try_from(modified_ms).unwrap_or(i64::MAX),
                });
            }
        }
    }
    Ok(())
}
