//! A process dies before every call to the file system, another one goes on, and the power goes after every call of it: what
//! anybody was told is there, whole.
//!
//! The calls are made for real, but for the syncs, and written down. What a loss of power leaves is worked out from that: names
//! of a folder that was not synced since are kept or lost, each for itself, and so are bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::files::{Files, System};
use super::{Folder, TEMPORARY};
use crate::key::Key;
use crate::store::{Condition, Store, put_once};

/// A call that was made. Files are numbered as they are made.
#[derive(Clone, Debug)]
enum Call {
    Write { file: usize, bytes: Vec<u8> },
    Sync { file: usize },
    Name(Naming),
    SyncFolder(PathBuf),
    SyncAll,
}

#[derive(Clone, Debug)]
enum Naming {
    Folder(PathBuf),
    /// A file has this name, and no longer that one.
    File {
        to: PathBuf,
        from: Option<PathBuf>,
        file: usize,
    },
    None(PathBuf),
}

impl Naming {
    fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::None(path) | Self::File { to: path, .. } => path,
        }
    }
}

/// What an object may be after a loss of power, from this call on.
#[derive(Clone, Debug)]
enum Claim {
    /// Also this.
    May(&'static str, Option<Bytes>),
    /// Only this.
    Must(&'static str, Option<Bytes>),
}

#[derive(Debug, Default)]
struct Notes {
    calls: Vec<Call>,
    /// Each with the number of calls before it.
    claims: Vec<(usize, Claim)>,
    dies_at: Option<usize>,
    /// By inode.
    numbers: HashMap<u64, usize>,
    files: usize,
}

/// A file system that is told when its process dies.
#[derive(Clone, Debug, Default)]
struct Mortal(Arc<Mutex<Notes>>);

impl Mortal {
    /// Makes a call, unless the process is dead, and writes it down when something has come of it.
    fn call<T>(
        &self,
        make: impl FnOnce(&mut Notes) -> std::io::Result<(T, Option<Call>)>,
    ) -> std::io::Result<T> {
        let mut notes = self.0.lock().expect("no panic");
        if notes.dies_at.is_some_and(|at| notes.calls.len() >= at) {
            return Err(std::io::Error::other("the process is dead"));
        }
        let (made, call) = make(&mut notes)?;
        notes.calls.extend(call);
        Ok(made)
    }

    fn claim(&self, claim: Claim) {
        let mut notes = self.0.lock().expect("no panic");
        let at = notes.calls.len();
        notes.claims.push((at, claim));
    }

    fn calls(&self) -> usize {
        self.0.lock().expect("no panic").calls.len()
    }

    fn live_until(&self, call: Option<usize>) {
        self.0.lock().expect("no panic").dies_at = call;
    }
}

fn number(notes: &Notes, file: &File) -> std::io::Result<usize> {
    Ok(notes.numbers[&file.metadata()?.ino()])
}

fn number_at(notes: &Notes, path: &Path) -> std::io::Result<usize> {
    number(notes, &File::open(path)?)
}

impl Files for Mortal {
    fn create(&self, path: &Path) -> std::io::Result<File> {
        self.call(|notes| {
            let made = System.create(path)?;
            let file = notes.files;
            notes.files += 1;
            notes.numbers.insert(made.metadata()?.ino(), file);
            let (to, from) = (path.to_owned(), None);
            let naming = Naming::File { to, from, file };
            Ok((made, Some(Call::Name(naming))))
        })
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
        self.call(|notes| {
            System.write(file, bytes)?;
            let (file, bytes) = (number(notes, file)?, bytes.to_vec());
            Ok(((), Some(Call::Write { file, bytes })))
        })
    }

    fn sync(&self, file: &File) -> std::io::Result<()> {
        self.call(|notes| {
            let file = number(notes, file)?;
            Ok(((), Some(Call::Sync { file })))
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.call(|notes| {
            let file = number_at(notes, from)?;
            System.rename(from, to)?;
            let (to, from) = (to.to_owned(), Some(from.to_owned()));
            Ok(((), Some(Call::Name(Naming::File { to, from, file }))))
        })
    }

    fn link(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.call(|notes| {
            let file = number_at(notes, from)?;
            System.link(from, to)?;
            let (to, from) = (to.to_owned(), None);
            Ok(((), Some(Call::Name(Naming::File { to, from, file }))))
        })
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.call(|_| {
            System.remove(path)?;
            Ok(((), Some(Call::Name(Naming::None(path.to_owned())))))
        })
    }

    fn make_folder(&self, path: &Path) -> std::io::Result<()> {
        self.call(|_| {
            let was_there = path.is_dir();
            System.make_folder(path)?;
            let made = || Call::Name(Naming::Folder(path.to_owned()));
            Ok(((), (!was_there).then(made)))
        })
    }

    fn sync_folder(&self, path: &Path) -> std::io::Result<()> {
        self.call(|_| Ok(((), Some(Call::SyncFolder(path.to_owned())))))
    }

    fn sync_all(&self, _: &Path) -> std::io::Result<()> {
        self.call(|_| Ok(((), Some(Call::SyncAll))))
    }
}

/// What becomes of bytes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unsynced {
    Kept,
    Lost,
    Zeros,
}

/// The file system as a loss of power finds it.
struct Disk<'a> {
    namings: Vec<(&'a Naming, bool)>,
    /// Bytes, and how many of them were synced.
    files: Vec<(Vec<u8>, usize)>,
}

impl<'a> Disk<'a> {
    fn after(calls: &'a [Call]) -> Self {
        let (mut namings, mut files) = (Vec::new(), Vec::new());
        for call in calls {
            match call {
                Call::Name(naming) => {
                    if let Naming::File { file, .. } = naming
                        && *file == files.len()
                    {
                        files.push((Vec::new(), 0));
                    }
                    namings.push((naming, false));
                }
                Call::Write { file, bytes } => files[*file].0.extend(bytes),
                Call::Sync { file } => files[*file].1 = files[*file].0.len(),
                Call::SyncFolder(folder) => {
                    for (naming, is_durable) in &mut namings {
                        *is_durable |= naming.path().parent() == Some(folder);
                    }
                }
                Call::SyncAll => {
                    namings
                        .iter_mut()
                        .for_each(|(_, is_durable)| *is_durable = true);
                    files
                        .iter_mut()
                        .for_each(|(bytes, synced)| *synced = bytes.len());
                }
            }
        }
        Self { namings, files }
    }

    /// The names that may be lost. What has a temporary name does not matter.
    fn unsure(&self) -> Vec<usize> {
        let is_unsure = |at: &usize| {
            let (naming, is_durable) = &self.namings[*at];
            let is_temporary = naming.path().iter().any(|part| part == TEMPORARY);
            !is_durable && !is_temporary
        };
        (0..self.namings.len()).filter(is_unsure).collect()
    }

    /// Those of the unsure names that are kept: none, all, one, all but one.
    fn fates(&self) -> BTreeSet<Vec<usize>> {
        let unsure = self.unsure();
        let one = unsure.iter().map(|at| vec![*at]);
        let all_but = |out: &usize| unsure.iter().copied().filter(|at| at != out).collect();
        let but_one = unsure.iter().map(all_but);
        let mut fates: BTreeSet<Vec<usize>> = one.chain(but_one).collect();
        fates.extend([Vec::new(), unsure.clone()]);
        fates
    }

    /// Folders and files that are left below a folder.
    fn left(
        &self,
        base: &Path,
        kept: &[usize],
        unsynced: Unsynced,
    ) -> (BTreeSet<PathBuf>, BTreeMap<PathBuf, Vec<u8>>) {
        let (mut folders, mut names) = (BTreeSet::from([base.to_owned()]), BTreeMap::new());
        for (at, (naming, is_durable)) in self.namings.iter().enumerate() {
            if !is_durable && !kept.contains(&at) {
                continue;
            }
            match naming {
                Naming::Folder(path) => {
                    folders.insert(path.clone());
                }
                Naming::File { to, from, file } => {
                    names.insert(to.clone(), *file);
                    from.as_ref().map(|from| names.remove(from));
                }
                Naming::None(path) => {
                    names.remove(path);
                }
            }
        }
        let folders: BTreeSet<PathBuf> = {
            let is_reached = |path: &PathBuf| {
                let mut above = path.ancestors().take_while(|path| path.starts_with(base));
                above.all(|path| folders.contains(path))
            };
            folders
                .iter()
                .filter(|path| is_reached(path))
                .cloned()
                .collect()
        };
        names.retain(|path, _| path.parent().is_some_and(|above| folders.contains(above)));
        let bytes = |file: usize| {
            let (mut bytes, synced) = self.files[file].clone();
            match unsynced {
                Unsynced::Kept => {}
                Unsynced::Lost => bytes.truncate(synced),
                Unsynced::Zeros => bytes[synced..].fill(0),
            }
            bytes
        };
        let files = names.into_iter().map(|(path, file)| (path, bytes(file)));
        (folders, files.collect())
    }
}

const CHUNK: &str = "topics/a/1/chunk";
const PIECES: &str = "topics/a/1/pieces";
const OWNER: &str = "owner.json";
const ALL: [&str; 3] = [CHUNK, PIECES, OWNER];

fn key(name: &str) -> Key {
    Key::parse(name).expect("a name")
}

/// Looks at every object as a process does that has just begun.
async fn seen(folder: &Folder, name: &str) -> Option<Bytes> {
    folder
        .get(&key(name), 100)
        .await
        .ok()
        .map(|(bytes, _)| bytes)
}

/// Which process goes on when one has died.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    /// The same broker's, which nobody else writes beside.
    Own,
    /// Another one, that begins now.
    Other,
    /// Another one, that ran already.
    Beside,
}

fn open(root: &Path, files: &Mortal, next: Next) -> Option<Folder> {
    let files = Arc::new(files.clone());
    let opened = match next {
        Next::Own => Folder::open_own_with(root, files),
        Next::Other | Next::Beside => Folder::open_with(root, files),
    };
    opened.ok()
}

/// What a process does that has just begun: what it sees it relies upon.
async fn look(folder: &Folder, files: &Mortal) {
    for name in ALL {
        files.claim(Claim::Must(name, seen(folder, name).await));
    }
}

/// Does everything that is done to a store. Ends where the process dies.
async fn live(folder: &Folder, files: &Mortal) -> Option<()> {
    let once = |name: &'static str, body: &'static str| async move {
        files.claim(Claim::May(name, Some(body.into())));
        let found = put_once(folder, &key(name), body.into(), 100).await.ok()?;
        let is = found.unwrap_or(body.into());
        files.claim(Claim::Must(name, Some(is)));
        Some(())
    };
    once(CHUNK, "a chunk").await?;

    files.claim(Claim::May(PIECES, Some("in pieces".into())));
    let name = key(PIECES);
    let mut upload = folder.upload(&name).await.ok()?;
    for piece in ["in ", "pieces"] {
        upload.write(piece.into()).await.ok()?;
    }
    match upload.finish(Condition::Absent).await {
        Ok(_) | Err(crate::store::Error::Conflict(_)) => {
            files.claim(Claim::Must(PIECES, Some("in pieces".into())));
        }
        Err(_) => return None,
    }

    let owner = key(OWNER);
    for body in ["one", "two"] {
        files.claim(Claim::May(OWNER, Some(body.into())));
        let put = folder.put(&owner, body.into(), Condition::None);
        let version = put.await.ok()?;
        files.claim(Claim::Must(OWNER, Some(body.into())));
        let body = if body == "one" {
            "more than one"
        } else {
            "more"
        };
        files.claim(Claim::May(OWNER, Some(body.into())));
        let unchanged = Condition::Unchanged(version);
        folder.put(&owner, body.into(), unchanged).await.ok()?;
        files.claim(Claim::Must(OWNER, Some(body.into())));
    }

    files.claim(Claim::May(CHUNK, None));
    folder.delete(&key(CHUNK)).await.ok()?;
    files.claim(Claim::Must(CHUNK, None));
    once(CHUNK, "another chunk").await
}

/// The power goes after every call from one on, with every fate.
fn expect_claims_to_hold(notes: &Notes, base: &Path, root: &Path, from: usize) -> usize {
    let mut checked = 0;
    for at in from..=notes.calls.len() {
        let mut may: HashMap<&str, Vec<Option<Bytes>>> = HashMap::new();
        for name in ALL {
            may.insert(name, vec![None]);
        }
        for (_, claim) in notes.claims.iter().filter(|(made, _)| *made <= at) {
            match claim {
                Claim::May(name, bytes) => may.get_mut(name).expect("known").push(bytes.clone()),
                Claim::Must(name, bytes) => {
                    may.insert(name, vec![bytes.clone()]);
                }
            }
        }
        let disk = Disk::after(&notes.calls[..at]);
        for kept in disk.fates() {
            for unsynced in [Unsynced::Kept, Unsynced::Lost, Unsynced::Zeros] {
                let (_, left) = disk.left(base, &kept, unsynced);
                for (name, may) in &may {
                    let is = left.get(&root.join(name)).cloned().map(Bytes::from);
                    assert!(
                        may.contains(&is),
                        "{name} is {is:?} after {at} calls, and may be {may:?}; unsynced bytes {unsynced:?}; of the \
                         names {kept:?} are kept: {:#?}",
                        disk.namings
                    );
                }
                checked += 1;
            }
        }
    }
    checked
}

/// A process that dies before a call, and the next one, that does not. The number of calls before, and whether it died.
async fn two_lives(root: &Path, files: &Mortal, next: Next, death: usize) -> (usize, bool) {
    let beside = (next == Next::Beside).then(|| open(root, files, next));
    files.live_until(Some(death));
    let survived = match open(root, files, next) {
        Some(folder) => live(&folder, files).await.is_some(),
        None => false,
    };
    let calls = files.calls();
    files.live_until(None);
    let folder = beside.unwrap_or_else(|| open(root, files, next));
    let folder = folder.expect("opened");
    if next != Next::Beside {
        look(&folder, files).await;
    }
    assert_eq!(live(&folder, files).await, Some(()), "after {death}");
    (calls, survived)
}

async fn at_every_call(next: Next) {
    let (mut checked, mut death) = (0, 0);
    loop {
        let base = tempfile::tempdir().expect("a folder");
        let root = base.path().join("data/store");
        let files = Mortal::default();
        let (before, survived) = two_lives(&root, &files, next, death).await;
        let notes = files.0.lock().expect("no panic");
        let from = if survived { 0 } else { before };
        checked += expect_claims_to_hold(&notes, base.path(), &root, from);
        if survived {
            break;
        }
        death += 1;
    }
    assert!(death > 50 && checked > 5000, "{death}, {checked}");
}

#[tokio::test]
async fn at_every_call_of_a_broker_that_starts_again() {
    at_every_call(Next::Own).await;
}

#[tokio::test]
async fn at_every_call_of_one_of_two_processes() {
    at_every_call(Next::Other).await;
    at_every_call(Next::Beside).await;
}

/// What a loss of power leaves is a store in which everything can be done again.
#[tokio::test]
async fn a_store_goes_on_after_a_loss_of_power() {
    let first = tempfile::tempdir().expect("a folder");
    let files = Mortal::default();
    let folder = open(&first.path().join("data/store"), &files, Next::Own).expect("opened");
    assert_eq!(live(&folder, &files).await, Some(()));
    let calls = std::mem::take(&mut files.0.lock().expect("no panic").calls);
    for at in 0..=calls.len() {
        let disk = Disk::after(&calls[..at]);
        for kept in disk.fates() {
            let (folders, left) = disk.left(first.path(), &kept, Unsynced::Lost);
            let base = tempfile::tempdir().expect("a folder");
            let moved = |path: &Path| {
                base.path()
                    .join(path.strip_prefix(first.path()).expect("below"))
            };
            for folder in &folders {
                std::fs::create_dir_all(moved(folder)).expect("made");
            }
            for (path, bytes) in left {
                std::fs::write(moved(&path), bytes).expect("written");
            }
            let root = base.path().join("data/store");
            let folder = Folder::open_own(&root).expect("opened");
            folder.list("", None, 10).await.expect("a list");
            if let Some(bytes) = seen(&folder, CHUNK).await {
                assert!(
                    ["a chunk", "another chunk"]
                        .map(Bytes::from)
                        .contains(&bytes)
                );
            }
            let name = key(CHUNK);
            folder.delete(&name).await.expect("gone");
            let put = folder.put(&name, "x".into(), Condition::Absent);
            put.await.expect("written");
        }
    }
}
