//! A data directory as somebody else's: looked at without being changed, and without becoming its owner.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{
    BOOTSTRAP, Bootstrap, Error, IDENTITY, Identity, LOCK, LOG, OF_NOBODY, io_error, read,
};
use crate::formation::BootstrapRecord;

/// What is in a data directory beside its log. Until it is dropped no broker starts there.
#[derive(Debug)]
pub struct Look {
    /// Whose it is, if that can be read.
    pub identity: Option<Identity>,
    /// The record that its node has adopted.
    pub bootstrap: Option<BootstrapRecord>,
    /// What is not as it should be: the file's name and why.
    pub damages: Vec<(String, String)>,
    /// Names that nobody here knows.
    pub strange: Vec<String>,
    /// Where its log is, if there is one.
    pub log: Option<PathBuf>,
    _lock: Option<File>,
}

impl Look {
    /// Reads everything but the log.
    ///
    /// # Errors
    /// [`Error::InUse`] while a broker runs there, [`Error::Foreign`] when it is no data directory, [`Error::Version`],
    /// [`Error::Io`].
    pub fn at(path: &Path) -> Result<Self, Error> {
        let names = names(path)?;
        if !names.iter().any(|name| name == IDENTITY) {
            let found = names
                .first()
                .cloned()
                .unwrap_or_else(|| "nothing".to_owned());
            let path = path.to_owned();
            return Err(Error::Foreign { path, found });
        }
        let mut look = Self {
            _lock: share_lock(path)?,
            identity: None,
            bootstrap: None,
            damages: Vec::new(),
            strange: names.into_iter().filter(|name| !is_known(name)).collect(),
            log: Some(path.join(LOG)).filter(|log| log.is_dir()),
        };
        look.identity = look.taken(IDENTITY, read(&path.join(IDENTITY)))?;
        let bootstrap: Option<Bootstrap> = look.taken(BOOTSTRAP, read(&path.join(BOOTSTRAP)))?;
        look.bootstrap = bootstrap.map(|file| file.record);
        look.compare();
        Ok(look)
    }

    /// Damage is noted, any other error is one.
    fn taken<T>(&mut self, name: &str, read: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
        match read {
            Err(Error::Damaged { problem, .. }) => {
                self.damages.push((name.to_owned(), problem));
                Ok(None)
            }
            other => other,
        }
    }

    fn compare(&mut self) {
        if let Some(defect) = self.bootstrap.as_ref().and_then(BootstrapRecord::defect) {
            self.damages.push((BOOTSTRAP.to_owned(), defect.to_owned()));
        }
        let Some(identity) = &self.identity else {
            return;
        };
        let record = self.bootstrap.as_ref().map(|record| record.cluster);
        if let (Some(owner), Some(cluster)) = (identity.cluster, record)
            && owner != cluster
        {
            let what = format!("is of the cluster {cluster}, the directory of {owner}");
            self.damages.push((BOOTSTRAP.to_owned(), what));
        }
        if identity.log_made && self.log.is_none() {
            let what = "is gone, though it was made".to_owned();
            self.damages.push((LOG.to_owned(), what));
        }
    }
}

fn is_known(name: &str) -> bool {
    let unfinished = name.strip_suffix(".new");
    let unfinished = unfinished.is_some_and(|name| [IDENTITY, BOOTSTRAP].contains(&name));
    let known = [IDENTITY, BOOTSTRAP, LOCK, LOG, crate::snapshots::OWN_FOLDER];
    unfinished || known.contains(&name) || OF_NOBODY.contains(&name)
}

fn names(path: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| io_error(path, error))? {
        let name = entry.map_err(|error| io_error(path, error))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Others may look, too; who runs a broker here has the lock for itself. A copied directory may be without the file.
fn share_lock(directory: &Path) -> Result<Option<File>, Error> {
    let path = directory.join(LOCK);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(&path, error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            let process = read.ok().and_then(|_| text.trim().parse().ok());
            let path = directory.to_owned();
            Err(Error::InUse { path, process })
        }
        Err(TryLockError::Error(error)) => Err(io_error(&path, error)),
    }
}
