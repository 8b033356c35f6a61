//! What the brokers' disks hold, and what the store lacks.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tests::cluster::Cluster;

/// Between two looks at the disks.
const LOOK: Duration = Duration::from_millis(500);

/// Bytes on the disks of all nodes.
pub fn used(cluster: &Cluster) -> u64 {
    cluster.nodes().iter().map(|node| below(&node.data())).sum()
}

fn below(folder: &Path) -> u64 {
    // What goes meanwhile takes no room.
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let size = |path: PathBuf| match std::fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => below(&path),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(|entry| size(entry.path())).sum()
}

/// Looks at the disks all the time.
pub struct Watch {
    /// Dropped, it ends.
    looking: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<u64>,
}

impl Watch {
    pub fn start(cluster: &Cluster) -> Self {
        let folders: Vec<PathBuf> = cluster.nodes().iter().map(|node| node.data()).collect();
        let (looking, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                most = most.max(folders.iter().map(|folder| below(folder)).sum());
            }
            most
        });
        Self { looking, thread }
    }

    /// The most that all of them held at once.
    pub fn end(self) -> u64 {
        drop(self.looking);
        self.thread.join().expect("it only looks")
    }
}
