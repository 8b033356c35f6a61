//! The data directory: whose it is, and that nobody else uses it.
//!
//! An empty directory is formatted: it gets a UUID of its own, and with it this node a new identity. From then on it
//! belongs to one node id and, once known, to one cluster, and is refused to every other. Nothing that is not
//! understood is ever removed or overwritten.
//!
//! ```text
//! identity.json    format version, node id, directory UUID, cluster id
//! bootstrap.json   the bootstrap record, where this node has adopted one
//! lock             held by the running process, with its process id
//! log/             the write-ahead log's own
//! ```
//!
//! Each JSON file is replaced as a whole: new file, sync, rename, sync of the directory; its last line is a CRC-32 of
//! the rest. A damaged one is an error, never an empty directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use raft::types::{DirectoryId, NodeId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::formation::{BootstrapRecord, ClusterId};

pub mod look;
#[cfg(test)]
mod tests;

const FORMAT: u32 = 1;
const IDENTITY: &str = "identity.json";
const BOOTSTRAP: &str = "bootstrap.json";
const LOCK: &str = "lock";
const LOG: &str = "log";
/// What a directory may contain and still be formatted: an interrupted format, and what file systems put there.
const OF_NOBODY: &[&str] = &[LOCK, "identity.json.new", "lost+found"];

/// Whose a data directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    format: u32,
    /// The node.
    #[serde(with = "crate::formation::node_text")]
    pub node: NodeId,
    /// The directory itself.
    #[serde(with = "crate::formation::directory_text")]
    pub directory: DirectoryId,
    /// The cluster, once known.
    pub cluster: Option<ClusterId>,
    /// The log in `log/` has been made: from then on a missing one is a loss, not a beginning.
    pub log_made: bool,
}

/// Why a data directory cannot be used. None of these is cured by trying again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was accessed.
        path: PathBuf,
        /// How it was refused.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the data directory {} is in use by {}: stop that process, or set another data.dir",
        path.display(), process.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process id, if it could be read.
        process: Option<u32>,
    },
    /// It has contents, but no identity.
    #[error("the directory {} is not empty ('{found}') and has no {IDENTITY}, so it is no data directory of Walser: \
        set data.dir to an empty directory, or restore that file", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Something that is in it.
        found: String,
    },
    /// It is another node's.
    #[error("the data directory {} belongs to node {owner}, and this is node {node}: set node.id to {owner}, or data.dir \
        to this node's own directory", path.display())]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: NodeId,
        /// Who asked.
        node: NodeId,
    },
    /// It is another cluster's.
    #[error("the data directory {} belongs to the cluster {owner}, not to {cluster}: check cluster.seeds and data.dir",
        path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: ClusterId,
        /// The cluster that was found.
        cluster: ClusterId,
    },
    /// It is of a version that this program does not know.
    #[error("{} has the format {found}, and this program knows {FORMAT} only: use the newer program", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A file of it is damaged.
    #[error("{} is damaged ({problem}): restore it from a copy, or give the node an empty data.dir, with which it \
        returns as a new replica", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Its log is gone.
    #[error("the data directory {} has lost its log: restore {}, or give the node an empty data.dir, with which it \
        returns as a new replica", path.display(), path.join(LOG).display())]
    LogMissing {
        /// The directory.
        path: PathBuf,
    },
}

/// A formatted data directory, locked for this process until it is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    identity: Identity,
    bootstrap: Option<BootstrapRecord>,
    _lock: Lock,
}

impl DataDirectory {
    /// Opens the directory of this node, or formats an empty one (made if it is missing) with the identity `fresh`.
    ///
    /// # Errors
    /// It is not this node's, in use, damaged, or not accessible.
    pub fn open(path: &Path, node: NodeId, fresh: DirectoryId) -> Result<Self, Error> {
        make_directory(path)?;
        let identity_path = path.join(IDENTITY);
        // NB: looked at before the lock file is made, which would leave a trace in somebody else's directory.
        if !identity_path
            .try_exists()
            .map_err(|error| io_error(&identity_path, error))?
        {
            refuse_foreign(path)?;
        }
        let lock = lock(path)?;
        let identity = match read::<Identity>(&identity_path)? {
            Some(identity) => identity,
            None => {
                refuse_foreign(path)?;
                let identity = Identity {
                    format: FORMAT,
                    node,
                    directory: fresh,
                    cluster: None,
                    log_made: false,
                };
                replace(path, IDENTITY, &identity)?;
                identity
            }
        };
        if identity.node != node {
            return Err(Error::OtherNode {
                path: path.to_owned(),
                owner: identity.node,
                node,
            });
        }
        let bootstrap = read::<Bootstrap>(&path.join(BOOTSTRAP))?.map(|file| file.record);
        let mut directory = Self {
            path: path.to_owned(),
            identity,
            bootstrap,
            _lock: lock,
        };
        directory.check()?;
        Ok(directory)
    }

    /// The bootstrap record is written before the cluster id: a crash between them is completed here.
    fn check(&mut self) -> Result<(), Error> {
        if let Some(record) = &self.bootstrap {
            if let Some(defect) = record.defect() {
                let problem = defect.to_owned();
                return Err(Error::Damaged {
                    path: self.path.join(BOOTSTRAP),
                    problem,
                });
            }
            self.set_cluster(record.cluster)?;
        }
        let log = self.log_path();
        let there = log.try_exists().map_err(|error| io_error(&log, error))?;
        if self.identity.log_made && !there {
            return Err(Error::LogMissing {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The record that this node has adopted.
    #[must_use]
    pub fn bootstrap(&self) -> Option<&BootstrapRecord> {
        self.bootstrap.as_ref()
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log is to be. When [`Identity::log_made`], one must be found there.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Notes that the log has been made, durably: call it before anything in the log is relied upon.
    ///
    /// # Errors
    /// It could not be written; nothing may rest on it then.
    pub fn note_log_made(&mut self) -> Result<(), Error> {
        if self.identity.log_made {
            return Ok(());
        }
        self.update(Identity {
            log_made: true,
            ..self.identity.clone()
        })
    }

    /// Stores the cluster id, durably. Does nothing when it is stored already.
    ///
    /// # Errors
    /// The directory belongs to another cluster, or the write failed.
    pub fn set_cluster(&mut self, cluster: ClusterId) -> Result<(), Error> {
        match self.identity.cluster {
            Some(owner) if owner == cluster => Ok(()),
            Some(owner) => Err(Error::OtherCluster {
                path: self.path.clone(),
                owner,
                cluster,
            }),
            None => self.update(Identity {
                cluster: Some(cluster),
                ..self.identity.clone()
            }),
        }
    }

    /// Stores the bootstrap record and its cluster id, durably. Does nothing when it is stored already.
    ///
    /// # Errors
    /// The directory belongs to another cluster, or the write failed; then nothing may rest on it.
    pub fn store_bootstrap(&mut self, record: &BootstrapRecord) -> Result<(), Error> {
        let owner = self.identity.cluster.unwrap_or(record.cluster);
        let other = self.bootstrap.as_ref().is_some_and(|held| held != record);
        if owner != record.cluster || other {
            let path = self.path.clone();
            return Err(Error::OtherCluster {
                path,
                owner,
                cluster: record.cluster,
            });
        }
        if self.bootstrap.is_none() {
            let file = Bootstrap {
                format: FORMAT,
                record: record.clone(),
            };
            replace(&self.path, BOOTSTRAP, &file)?;
            self.bootstrap = Some(record.clone());
        }
        self.set_cluster(record.cluster)
    }

    fn update(&mut self, identity: Identity) -> Result<(), Error> {
        replace(&self.path, IDENTITY, &identity)?;
        self.identity = identity;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Bootstrap {
    format: u32,
    record: BootstrapRecord,
}

fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        source,
    }
}

fn make_directory(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| io_error(path, error))?;
    // A directory whose name is lost in a power cut takes everything in it along.
    for ancestor in path.ancestors().skip(1) {
        let ancestor = if ancestor.as_os_str().is_empty() {
            Path::new(".")
        } else {
            ancestor
        };
        sync_directory(ancestor)?;
    }
    Ok(())
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    match File::open(path).and_then(|directory| directory.sync_all()) {
        // An ancestor that may not be read was not made here.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done.map_err(|error| io_error(path, error)),
    }
}

fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let entries = std::fs::read_dir(path).map_err(|error| io_error(path, error))?;
    for entry in entries {
        let name = entry.map_err(|error| io_error(path, error))?.file_name();
        let found = name.to_string_lossy().into_owned();
        if !OF_NOBODY.contains(&found.as_str()) {
            return Err(Error::Foreign {
                path: path.to_owned(),
                found,
            });
        }
    }
    Ok(())
}

/// The lock goes with the process, however it ends; and when it is dropped, also where a child that was just forked
/// still has the file.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(target: "broker", %error, "the data directory stays locked until the process ends");
        }
    }
}

fn lock(directory: &Path) -> Result<Lock, Error> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options
        .open(&path)
        .map_err(|error| io_error(&path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            let process = read.ok().and_then(|_| text.trim().parse().ok());
            return Err(Error::InUse {
                path: directory.to_owned(),
                process,
            });
        }
        Err(TryLockError::Error(error)) => return Err(io_error(&path, error)),
    }
    let id = format!("{}\n", std::process::id());
    let written = file.set_len(0).and_then(|()| file.write_all(id.as_bytes()));
    let lock = Lock(file);
    written.map_err(|error| io_error(&path, error))?;
    Ok(lock)
}

fn replace(directory: &Path, name: &str, contents: &impl Serialize) -> Result<(), Error> {
    let new = directory.join(format!("{name}.new"));
    let json = serde_json::to_string_pretty(contents);
    let mut text = json.expect("numbers, strings and lists always have a JSON form");
    text.push('\n');
    text += &format!("crc32 {:08x}\n", crc32fast::hash(text.as_bytes()));
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, directory.join(name))
    };
    write().map_err(|error| io_error(&new, error))?;
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| io_error(directory, error))
}

/// `None`: there is no such file.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, error)),
    };
    let damaged = |problem: String| Error::Damaged {
        path: path.to_owned(),
        problem,
    };
    let text = String::from_utf8(bytes).map_err(|_| damaged("it is not text".to_owned()))?;
    let body = text.rfind("crc32 ").map_or("", |at| &text[..at]);
    if text[body.len()..] != format!("crc32 {:08x}\n", crc32fast::hash(body.as_bytes())) {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    let value: serde_json::Value =
        serde_json::from_str(body).map_err(|error| damaged(error.to_string()))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found == u64::from(FORMAT) => {}
        Some(found) => {
            return Err(Error::Version {
                path: path.to_owned(),
                found,
            });
        }
        None => return Err(damaged("it has no format version".to_owned())),
    }
    let parsed = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(parsed))
}
